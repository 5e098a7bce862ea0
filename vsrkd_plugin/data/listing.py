"""What a folder holds: which of its entries are images, which are clips, and in which order frames come."""

import itertools
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vsrkd_plugin.errors import UserError

EXTENSIONS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
_SHOWN = 5  # names in a message

logger = logging.getLogger('basicsr')
_told: set[str] = set()  # so that data sets of several scales do not say the same several times


class Entries(NamedTuple):
    """The entries of a folder, each kind in the order of the names."""

    images: list[Path]
    folders: list[Path]
    others: list[Path]  # hidden ones, pipes, and files that are no images


def read_folder(folder: Path, key: str) -> Entries:
    """Sort a folder's entries by what they are. Hidden names (`.…`) and `__MACOSX` are neither images nor folders.

    Args:
        key: the option that named the folder, for errors.

    Raises:
        UserError: the folder cannot be read.
    """
    found = Entries([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if entry.name.startswith('.') or entry.name == '__MACOSX' or _waits(entry):
                    found.others.append(path)
                elif path.is_dir():
                    found.folders.append(path)
                elif path.suffix.lower() in EXTENSIONS:
                    found.images.append(path)
                else:
                    found.others.append(path)
    except OSError as error:
        raise UserError(f'{key}: cannot read folder {folder} ({error.strerror})') from error
    return found


def _waits(entry: os.DirEntry) -> bool:
    """Whether it is a pipe, a socket or a device, of which reading may never end."""
    try:
        if entry.is_file() or entry.is_dir():  # which costs nothing
            return False
        entry.stat()
    except OSError:  # a link to nothing or to itself: told when it is read
        return False
    return True


def list_frames(root: Path, wanted: Sequence[str] | None, key: str) -> list[tuple[Path, list[Path]]]:
    """The clips below a folder, each with its frames in order.

    A clip is a folder with images in it, or numbered ones in a folder without (Vimeo-90K: `00001/0001/im1.png`). Where
    there are such folders, images beside them are none of the frames (a preview, say); where there are none, the images
    are the frames of one clip.

    Args:
        root: the folder.
        wanted: names of the clips to take, as `short_names` has them; all if None.
        key: the option that named the folder, for errors.

    Raises:
        UserError: no clip, a clip that is wanted but not there, names of frames that fit no order.
    """
    top = read_folder(root, key)
    inside = {folder: read_folder(folder, key) for folder in top.folders}
    numbered = [f for entries in inside.values() if not entries.images for f in entries.folders if f.name.isdecimal()]
    inside.update({folder: read_folder(folder, key) for folder in numbered})
    clips = {folder: entries for folder, entries in inside.items() if entries.images}
    within = {folder.parent for folder in clips}
    skipped = top.others + [folder for folder in inside if folder not in clips and folder not in within]
    if clips:
        skipped += top.images
    elif top.images:
        clips, skipped = {root: Entries(top.images, [], [])}, top.others + top.folders
    names = short_names([str(folder) for folder in clips])
    missing = sorted(set(wanted or ()) - set(names))
    if missing:
        raise UserError(f'{key}: {root} has no clips {", ".join(missing)}; it has {", ".join(names) or "none"}')
    if not clips:
        raise UserError(f'{key}: {root} holds neither frames nor folders of frames')
    named = zip(names, clips.items(), strict=True)
    chosen = {folder: entries for name, (folder, entries) in named if wanted is None or name in wanted}
    for entries in chosen.values():
        skipped += entries.others + entries.folders
    tell_skipped(root, skipped)
    return [(folder, order_frames(folder, entries.images)) for folder, entries in chosen.items()]


def short_names(paths: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as tell them all apart: `0001`, or `00001/0001`."""
    parts = [Path(path).parts for path in paths]
    for length in range(1, max(map(len, parts), default=0)):
        names = ['/'.join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def order_frames(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Frames in the order of the numbers in their names, the first number in a name first.

    Raises:
        UserError: a name without a number; one that is built otherwise than the rest (a title among numbered frames);
            numbers that plainly count, but with gaps or one of them twice.
    """
    shapes: dict[str, list[Path]] = {}
    for file in files:
        if not re.search(r'\d', file.stem):
            raise UserError(f'{folder}: frame {file.name} has no number in its name')
        shapes.setdefault(re.sub(r'\d+', '#', file.stem), []).append(file)
    if len(shapes) > 1:
        usual, odd = max(shapes.values(), key=len)[0], min(shapes.values(), key=len)[0]
        raise UserError(f'{folder}: frame {odd.name} is not named like the others ({usual.name}); expected one clip')
    numbers = {file: tuple(int(digits) for digits in re.findall(r'\d+', file.stem)) for file in files}
    ordered = sorted(files, key=lambda file: (numbers[file], file.name))
    for file, following in itertools.pairwise(ordered):
        if numbers[file] == numbers[following]:
            raise UserError(f'{folder}: frame {file.stem} is there twice ({file.name}, {following.name})')
    _check_gaps(folder, [numbers[file] for file in ordered])
    return ordered


def _check_gaps(folder: Path, numbers: list[tuple[int, ...]]) -> None:
    """Refuse a count with gaps. Timestamps, say, are no count: more than one number differs, or they lie far apart."""
    varying = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(varying) != 1:
        return
    (count,) = varying
    first, last = count[0], count[-1]
    if last - first >= 2 * len(count):
        return
    gaps = sorted(set(range(first, last + 1)) - set(count))
    if gaps:
        raise UserError(f'{folder}: frames {first} to {last}, but {_some(gaps)} missing')


def tell_skipped(root: Path, skipped: Sequence[Path]) -> None:
    """Name in the log, once, what a data set leaves out. Where nothing is logged yet (preflight) nothing is told."""
    if not skipped or not logger.isEnabledFor(logging.INFO):
        return
    entries = 'entry is' if len(skipped) == 1 else 'entries are'
    text = f'{root}: {len(skipped)} {entries} left out as no data: {_some([p.relative_to(root) for p in skipped])}'
    if text not in _told:
        _told.add(text)
        logger.info(text)


def _some(values: Sequence[object]) -> str:
    """The first of them, for a message."""
    return ', '.join(map(str, values[:_SHOWN])) + (', …' if len(values) > _SHOWN else '')
