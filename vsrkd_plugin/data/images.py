"""Where HR images come from: a folder, an LMDB, or the pictures of scikit-image's wheel; one clear error a flaw."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vsrkd_plugin.data.listing import EXTENSIONS, read_folder, tell_skipped
from vsrkd_plugin.errors import UserError

BUNDLED = 'skimage'
# Photographs in scikit-image's wheel, no drawings: what a data set of natural images looks like.
BUNDLED_PICTURES = ('astronaut.png', 'camera.png', 'chelsea.png', 'coffee.png', 'rocket.jpg')

# What belongs into the folders that our options files name; told where one is missing.
BENCHMARKS = {
    'Set5': 'the 5 HR images of Set5 (Bevilacqua et al. 2012)',
    'Set14': 'the 14 HR images of Set14 (Zeyde et al. 2010)',
    'B100': 'the 100 HR test images of BSD (Martin et al. 2001)',
    'Urban100': 'the 100 HR images of Urban100 (Huang et al. 2015)',
    'T91': 'the 91 images of Yang et al. 2010',
    'BSD200': "the 200 training images of Berkeley's segmentation data set",
}
_ORIGIN = 'Set5, Set14, B100 and Urban100 come with github.com/jbhuang0604/SelfExSR, T91 and BSD200 with VDSR'

Reader = Callable[[], np.ndarray]


def list_images(root: str, key: str) -> list[tuple[str, Reader]]:
    """The images in `root`, in the order of their names; hidden files and whatever is no image are left out.

    Args:
        root: a folder, a BasicSR LMDB (`*.lmdb`), or `skimage` for a few photographs of scikit-image's wheel.
        key: the option that named `root`, for errors.

    Returns:
        `(name, reader)` pairs, the names unique within `root`; a reader gives uint8 BGR `(h, w, 3)` (of a grey image
        too) and raises `UserError` on a corrupt image.

    Raises:
        UserError: `root` is missing, unreadable or holds no image.
    """
    if root == BUNDLED:
        import skimage

        folder = Path(skimage.__file__).parent / 'data'
        return [(Path(name).stem, FileReader(folder / name)) for name in BUNDLED_PICTURES]
    path = Path(root).expanduser()
    if path.suffix == '.lmdb':
        return _list_lmdb(path, key)
    if not path.is_dir():
        what = BENCHMARKS.get(path.name)
        hint = f': put {what} there ({_ORIGIN})' if what else ': expected a folder of HR images'
        raise UserError(f'{key}: no folder {root}{hint}')
    files, folders, others = read_folder(path, key)
    if not files:
        raise UserError(f'{key}: folder {root} holds no image ({", ".join(EXTENSIONS)})')
    tell_skipped(path, [*others, *folders])
    stems = Counter(file.stem for file in files)
    # a.png and a.jpg become a_png and a_jpg: results are saved under these names, and one would overwrite the other.
    return [(file.stem if stems[file.stem] == 1 else file.name.replace('.', '_'), FileReader(file)) for file in files]


def list_images_of(roots: Sequence[str], key: str) -> list[tuple[str, Reader]]:
    """`list_images` of several folders; images of one name get their folder's in front, or results would overwrite
    each other."""
    found = [(root, name, read) for root in roots for name, read in list_images(root, key)]
    times = Counter(name for _, name, _ in found)
    longer = [name if times[name] == 1 else f'{Path(root).name}_{name}' for root, name, _ in found]
    times = Counter(longer)
    numbered = [
        name if times[name] == 1 else f'{roots.index(root) + 1}_{name}'
        for name, (root, *_) in zip(longer, found, strict=True)
    ]
    return [(name, read) for name, (*_, read) in zip(numbered, found, strict=True)]


@dataclass(frozen=True)
class FileReader:
    """Reads one image file; like every reader it can be sent to another process."""

    file: Path

    def __call__(self) -> np.ndarray:
        try:
            return _decode(self.file.read_bytes(), str(self.file))
        except OSError as error:
            raise UserError(f'{self.file}: cannot be read ({error.strerror})') from error


@dataclass(frozen=True)
class LmdbReader:
    """Reads one image of a BasicSR LMDB."""

    path: Path
    name: str

    def __call__(self) -> np.ndarray:
        import lmdb

        # Opened for each read: an environment must not cross a fork, and images are cached decoded anyway.
        try:
            with lmdb.open(str(self.path), readonly=True, lock=False, readahead=False) as env, env.begin() as reading:
                content = reading.get(self.name.encode())
        except lmdb.Error as error:
            raise UserError(f'{self.path}: cannot be read as an LMDB ({error})') from error
        if content is None:
            raise UserError(f'{self.path}: has no key {self.name!r}, which its meta_info.txt lists')
        return _decode(content, f'{self.path}:{self.name}')


def _decode(content: bytes, name: str) -> np.ndarray:
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # ours is the one line to read
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:  # a size beyond OpenCV's limit, say
        image = None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    if image is None:
        raise UserError(f'{name}: not a readable image (empty, truncated or of an unknown format)')
    return image


def _list_lmdb(path: Path, key: str) -> list[tuple[str, Reader]]:
    meta = path / 'meta_info.txt'
    if not meta.is_file():
        raise UserError(f'{key}: {path} is not a BasicSR LMDB: it has no meta_info.txt')
    # 'KEY.png (h,w,c) compression', where KEY may hold dots.
    lines = meta.read_text(encoding='utf-8').splitlines()
    names = [line.split(' (')[0].strip().removesuffix('.png') for line in lines if line.strip()]
    if not names:
        raise UserError(f'{key}: {meta} lists no image')

    return [(name, LmdbReader(path, name)) for name in names]
