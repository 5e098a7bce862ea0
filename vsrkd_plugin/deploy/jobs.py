"""Which picture file is made of which, before anything is read or written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vsrkd_plugin.deploy.picture_writing import FORMATS
from vsrkd_plugin.deploy.pictures import is_picture, list_pictures
from vsrkd_plugin.errors import UserError

_SHOWN = 3  # names in a line


@dataclass(frozen=True)
class Job:
    """A picture to be read and the file that is to be made of it."""

    source: Path
    target: Path


def plan_jobs(source: Path, target: Path, ext: str = 'auto', suffix: str = '') -> tuple[list[Job], list[str]]:
    """Which file is made of which; nothing is read or written yet.

    Args:
        source: a picture, or a folder of pictures (and of folders of them).
        target: a folder; of one picture also a file.
        ext: of the files made, without the dot; `auto`: those of the sources.
        suffix: put behind the names of the files made.

    Returns:
        The jobs, and what a person should know of what is left out.

    Raises:
        UserError: nothing to read, a result that would be a source, two sources of one result, an unknown format.
    """
    ending = None if ext == 'auto' else f'.{ext.lower().lstrip(".")}'
    if ending is not None and ending not in FORMATS:
        raise UserError(f'--ext {ext}: expected auto or one of {", ".join(name[1:] for name in FORMATS)}')
    if os.sep in suffix or '/' in suffix:
        raise UserError(f'--suffix {suffix}: expected a part of a file name')
    told: list[str] = []
    if source.is_dir():
        jobs, told = _jobs_of_folder(source, target, ending, suffix)
    elif source.is_file():
        jobs = [Job(source, _target_of_file(source, target, ending, suffix))]
    else:
        raise UserError(f'{source}: no such picture or folder')
    _refuse_clashes(jobs)
    return jobs, told


def _named(source: Path, ending: str | None, suffix: str) -> str:
    return f'{source.stem}{suffix}{ending or source.suffix}'


def _target_of_file(source: Path, target: Path, ending: str | None, suffix: str) -> Path:
    if not is_picture(source):
        raise UserError(f'{source}: expected a picture ({", ".join(FORMATS)}), a folder of them or a film')
    if target.is_dir() or not target.suffix:
        return target / _named(source, ending, suffix)
    if target.suffix.lower() not in FORMATS:
        raise UserError(f'-o {target}: expected a folder, or a file that ends in {", ".join(FORMATS)}')
    if ending not in (None, target.suffix.lower()):
        raise UserError(f'-o {target}: --ext says {ending}; leave one of them out')
    return target.with_name(f'{target.stem}{suffix}{target.suffix}')


def _jobs_of_folder(source: Path, target: Path, ending: str | None, suffix: str) -> tuple[list[Job], list[str]]:
    if target.is_file() or (is_picture(target) and not target.is_dir()):
        raise UserError(f'-o {target}: expected a folder, since {source} is one')
    inside = target.resolve() != source.resolve()
    pictures, others = list_pictures(source, leave_out=[target] if inside else [])
    told = []
    if others:
        told.append(f'{len(others)} file{"s are" if len(others) > 1 else " is"} no picture: {some_names(others)}')
    if not inside and suffix:  # those of an earlier run, beside their sources
        results = [path for path in pictures if path.stem.endswith(suffix)]
        pictures = [path for path in pictures if not path.stem.endswith(suffix)]
        if results:
            told.append(f'left out, since {suffix} ends the name of what is made: {some_names(results)}')
    if not pictures:
        raise UserError(f'{source}: holds no picture ({", ".join(FORMATS)})')
    jobs = [Job(path, target / path.relative_to(source).with_name(_named(path, ending, suffix))) for path in pictures]
    return jobs, told


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {_real(job.source): job.source for job in jobs}
    targets: dict[str, Path] = {}
    for job in jobs:
        real = _real(job.target)
        if real in sources:
            raise UserError(
                f'{job.target}: the result would overwrite {sources[real]}, which is to be read; name another -o, or '
                'a --suffix'
            )
        if real in targets:
            raise UserError(f'{targets[real]} and {job.source} would both become {job.target}; rename one, or leave '
                            'out --ext')  # fmt: skip
        targets[real] = job.source


def _real(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def some_names(paths: Sequence[Path]) -> str:
    """The first of the names, for a message."""
    return ', '.join(path.name for path in paths[:_SHOWN]) + (', …' if len(paths) > _SHOWN else '')
