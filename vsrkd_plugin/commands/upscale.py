"""`upscale`: pictures and films enlarged by any network."""

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsrkd_plugin.commands.inspect import named
from vsrkd_plugin.deploy.batch import Summary, upscale_pictures
from vsrkd_plugin.deploy.film_encoding import DEFAULT_CODEC
from vsrkd_plugin.deploy.films import is_film, upscale_film
from vsrkd_plugin.deploy.jobs import plan_jobs, some_names
from vsrkd_plugin.deploy.memory import parse_size
from vsrkd_plugin.deploy.upscaling import Tile, Upscaler, choose_device
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.run.whole_files import check_writable


def run(args: argparse.Namespace) -> int:
    """Enlarge `args.source` into `args.target`; gives the exit status: 1 where something could not be enlarged."""
    source, target = Path(args.source).expanduser(), Path(args.target).expanduser()
    if not source.exists():
        raise UserError(f'-i {source}: no such picture, folder or film')
    check_writable(target if target.is_dir() else target.parent, f'-o {target}')
    settings: dict[str, Any] = {
        'scale': args.scale,
        'tile': _tile(args.tile),
        'memory_limit': parse_size(args.memory) if args.memory else None,
        'device': choose_device(args.device),
        'precision': args.precision,
    }
    fps = _fps(args.fps)
    with unnoticed():
        model = open_model(args.model, *named(args), say=lambda text: _say(f'{text} …'))
    if is_film(source) or (source.is_dir() and (model.is_video or is_film(target))):
        if args.skip_existing and target.is_file():
            _say(f'{target} is there already')
            return 0
        codec = args.codec or DEFAULT_CODEC
        film = upscale_film(model, source, target, **settings, codec=codec, crf=args.crf, fps=fps, say=_say)
        _say(f'{film.frames:,} frames written to {target}, {film.frames_per_second:.2f} a second')
        return 1 if film.cut_short else 0
    upscaler = Upscaler(model, **settings, say=_say)
    jobs, told = plan_jobs(source, target, args.ext, args.suffix)
    for text in told:
        _say(text)
    is_folder = source.is_dir()
    summary = upscale_pictures(upscaler, jobs, args.skip_existing, _say if is_folder else lambda text: None)
    if summary.failed and not is_folder:
        raise UserError(next(iter(summary.failed.values())))
    for text in in_words(summary):
        _say(text)
    return 1 if summary.failed else 0


def in_words(summary: Summary) -> list[str]:
    """What became of pictures: what was converted, then one line of figures."""
    lines = [f'{note}: {some_names(sources)}' for note, sources in summary.notes.items()]
    figures = [_count(len(summary.done), 'picture') + ' written']
    if summary.done:
        figures[0] += f' to {summary.done[0]}' if len(summary.done) == 1 else ''
        figures.append(f'{summary.pixels / 1e6:.1f} megapixels in {summary.seconds:.1f} s')
    if summary.skipped:
        figures.append(f'{len(summary.skipped)} there already')
    if summary.failed:
        figures.append(f'{len(summary.failed)} failed: {some_names(list(summary.failed))}')
    return [*lines, ', '.join(figures)]


def _count(number: int, noun: str) -> str:
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def _tile(text: str) -> Tile:
    if text == 'auto':
        return 'auto'
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f'--tile: expected auto or a side in pixels from 1, got {text!r}')
    return int(text)


def _fps(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise UserError(f'--fps: expected a number from 0.001 to 1000, such as 25 or 30000/1001, got {text!r}')
    return rate


def _say(text: str) -> None:
    print(f'upscale: {text}', file=sys.stderr, flush=True)
