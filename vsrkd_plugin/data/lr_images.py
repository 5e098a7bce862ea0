"""LR images of the user's own: folders of pictures of any size, of which a bounded part is held in memory."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.images import BUNDLED, Reader, list_images
from vsrkd_plugin.data.listing import EXTENSIONS, read_folder
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.colour import rgb_to_y

MOST_IMAGES = 2000  # that are read of larger collections
HELD_BYTES = 512 << 20  # in each process; of what does not fit windows are held

logger = logging.getLogger('basicsr')


def read_own_lr_images(
    roots: str | list[str],
    sizes: Mapping[int, int],
    channels: int,
    seed: int,
    held_bytes: int = HELD_BYTES,
    key: str = 'dataroot_lq',
) -> list[Tensor]:
    """LR images `(c, h, w)`, uint8, RGB or Y, of one folder or several, and of the folders in them.

    Of each no more than its share of `held_bytes`: of a larger one a window at random. Of more than `MOST_IMAGES` so
    many are chosen at random. An image that is smaller than every patch or cannot be read is left out, which the log
    says in one line.

    Args:
        roots: folders, LMDBs, or `skimage`.
        sizes: scale → side of the LR patches.
        channels: 1 (Y) or 3 (RGB).
        seed: of what is chosen; the same in every process.
        held_bytes: the most that is held.
        key: the option or argument that named `roots`, for errors.

    Raises:
        UserError: a missing folder, no image, none that can be read, none that is as large as a patch of some scale.
    """
    listed = [entry for root in ([roots] if isinstance(roots, str) else roots) for entry in list_in_folders(root, key)]
    rng = np.random.default_rng(seed)
    if len(listed) > MOST_IMAGES:
        chosen = sorted(rng.choice(len(listed), MOST_IMAGES, replace=False).tolist())
        logger.info(f'{roots}: {MOST_IMAGES:,} of {len(listed):,} images are used, chosen at random')
        listed = [listed[index] for index in chosen]
    images, unreadable, small = [], [], []
    smallest, largest = min(sizes.values()), max(sizes.values())
    seen = (0, 0)  # the size of the one with the longest short side
    for name, read in listed:
        try:
            picture = read()
        except UserError:
            unreadable.append(name)
            continue
        seen = max(seen, picture.shape[:2], key=min)
        if min(picture.shape[:2]) < smallest:
            small.append(name)
            continue
        images.append(_held(picture, channels, held_bytes // len(listed), largest, rng))
    left_out = [
        f'{len(names)} {why} ({names[0]}{", …" if len(names) > 1 else ""})'
        for names, why in ((small, f'smaller than a patch, {smallest}x{smallest}'), (unreadable, 'not readable'))
        if names
    ]
    for scale, size in sizes.items():
        if not any(min(image.shape[1:]) >= size for image in images):
            found = '; '.join(
                [f'found {len(listed)}', *([f'the largest {seen[1]}x{seen[0]}'] if any(seen) else []), *left_out]
            )
            patch = f'an LR patch of x{scale}, ' if len(sizes) > 1 or scale > 1 else ''
            raise UserError(f'{roots}: no image is as large as {patch}{size}x{size}; {found}')
    if left_out:
        logger.warning(f'{roots}: of {len(listed):,} images are left out: {"; ".join(left_out)}')
    return images


def list_in_folders(root: str, key: str) -> Iterator[tuple[str, Reader]]:
    """Names and readers of the images of a folder, and of those in it; of an LMDB, or of `skimage`."""
    top = Path(root).expanduser()
    if root == BUNDLED or top.suffix == '.lmdb':
        yield from list_images(root, key)
        return
    if not top.is_dir():
        raise UserError(f'{key}: no folder {root}: expected a folder of LR images')
    found, seen, left = False, set(), [top]
    while left:
        folder = left.pop(0)
        if (real := folder.resolve()) in seen:  # a link to a folder above it
            continue
        seen.add(real)
        entries = read_folder(folder, key)
        left += entries.folders
        if entries.images:
            found = True
            yield from ((str(folder / name), read) for name, read in list_images(str(folder), key))
    if not found:
        raise UserError(f'{key}: folder {root} holds no image ({", ".join(EXTENSIONS)}), nor do the folders in it')


def _held(picture: np.ndarray, channels: int, most: int, size: int, rng: np.random.Generator) -> Tensor:
    """What is held of a BGR picture `(h, w, 3)`: at most `most` bytes, but no window smaller than a patch of `size`."""
    sides = list(picture.shape[:2])
    shrink = (most / (channels * sides[0] * sides[1])) ** 0.5
    if shrink < 1:
        windows = [min(side, max(size, int(side * shrink))) for side in sides]
        top, left = (int(rng.integers(side - window + 1)) for side, window in zip(sides, windows, strict=True))
        picture = picture[top : top + windows[0], left : left + windows[1]]
    rgb = torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1])).permute(2, 0, 1)
    if channels == 3:
        return rgb.contiguous()
    return (rgb_to_y(rgb[None].float() / 255)[0] * 255).round().to(torch.uint8)
