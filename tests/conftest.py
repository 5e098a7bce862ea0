"""What several tests need: the project's shared data, where it is there, and small pictures made on the spot."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:  # one of several: a thread each, or they fight for the cores
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import cv2
import numpy as np
import pytest

import vsrkd_plugin  # noqa: F401 - before any test imports basicsr, which does not import without it

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """`../shared/data` beside the repository: benchmarks, teachers. Tests that need it are skipped without it."""
    folder = ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'needs the data of {folder}')
    return folder


def smooth_image(height: int, width: int, seed: int) -> np.ndarray:
    """A picture-like uint8 BGR image `(height, width, 3)`: blurred noise over the full range."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    image = cv2.GaussianBlur(noise, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT)
    image = (image - image.min()) / np.ptp(image)
    return np.round(image * 255).astype(np.uint8)


@pytest.fixture(scope='session')
def make_images() -> Callable[..., Path]:
    """`make_images(folder, sizes)` writes `0.png`, `1.png`, … of the given `(height, width)`; gives the folder."""

    def make(folder: Path, sizes: tuple[tuple[int, int], ...] = ((48, 60), (50, 49), (53, 64))) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, (height, width) in enumerate(sizes):
            cv2.imwrite(str(folder / f'{index}.png'), smooth_image(height, width, index))
        return folder

    return make


@pytest.fixture(autouse=True)
def _log_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """BasicSR turns the propagation of its log off, for good; then `caplog` hears nothing."""
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)


@pytest.fixture
def image_folder(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    """Three small smooth PNGs of odd and even sizes."""
    return make_images(tmp_path / 'images')
