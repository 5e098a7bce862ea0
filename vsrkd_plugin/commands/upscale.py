"""`upscale`: pictures and films enlarged by any network."""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

from vsrkd_plugin.commands.inspect import named
from vsrkd_plugin.deploy.batch import Summary, upscale_pictures
from vsrkd_plugin.deploy.films import is_film, upscale_film
from vsrkd_plugin.deploy.jobs import plan_jobs, some_names
from vsrkd_plugin.deploy.memory import parse_size
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.upscaling import Tile, Upscaler, choose_device
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.preflight.sandbox import unnoticed


def run(args: argparse.Namespace) -> int:
    """Enlarge `args.source` into `args.target`; gives the exit status: 1 where some pictures could not be."""
    source, target = Path(args.source).expanduser(), Path(args.target).expanduser()
    tile, fps = _tile(args.tile), _fps(args.fps)
    memory = parse_size(args.memory) if args.memory else None
    device = choose_device(args.device)
    if not source.exists():
        raise UserError(f'-i {source}: no such picture, folder or film')
    # What can be wrong with names is told before a network is opened.
    jobs, told = ([], []) if is_film(source) else plan_jobs(source, target, args.ext, args.suffix)
    with unnoticed():
        model = open_model(args.model, *named(args), say=_say)
    if is_film(source) or (model.is_video and source.is_dir()):
        result = upscale_film(
            model, source, target, scale=args.scale, tile=tile, memory_limit=memory, device=device,
            precision=args.precision, codec=args.codec, crf=args.crf, fps=fps, say=_say,
        )  # fmt: skip
        _say(f'{result.frames} frames into {target}, {result.frames_per_second:.2f} a second')
        return 1 if result.cut_short else 0
    return _upscale_pictures(model, args, jobs, told, tile, memory, device)
