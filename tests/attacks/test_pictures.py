"""Pictures that are damaged, too large, or none."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import smooth_image

from .forking import attack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / 'place'
    made.mkdir()
    return made


def encoded(suffix: str, image: np.ndarray | None = None) -> bytes:
    return cv2.imencode(suffix, smooth_image(64, 80, 0) if image is None else image)[1].tobytes()


def cut(suffix: str) -> Callable[[], bytes]:
    return lambda: encoded(suffix)[: len(encoded(suffix)) // 2]


def flipped(suffix: str, place: float) -> Callable[[], bytes]:
    def flip() -> bytes:
        content = bytearray(encoded(suffix))
        content[int(len(content) * place)] ^= 255
        return bytes(content)

    return flip


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    'half a PNG': ('a.png', cut('.png')),
    'half a JPEG': ('a.jpg', cut('.jpg')),
    'half a BMP': ('a.bmp', cut('.bmp')),
    'half a TIFF': ('a.tif', cut('.tif')),
    'half a WebP': ('a.webp', cut('.webp')),
    **{f'a flipped byte at {place:.0%} of a PNG': ('a.png', flipped('.png', place)) for place in (0.3, 0.5, 0.8)},
    'nothing': ('a.png', lambda: b''),
    'text': ('a.png', lambda: b'hello'),
    'a web page': ('a.jpg', lambda: b'<!DOCTYPE html><html>404</html>'),
    'zeros': ('a.png', lambda: bytes(10_000)),
    'a head alone': ('a.png', lambda: b'\x89PNG\r\n\x1a\n'),
    '400 megapixels in a little file': ('a.png', lambda: encoded('.png', np.zeros((20_000, 20_000), np.uint8))),
}


@pytest.mark.parametrize('case', FILES)
def test_upscale(case: str, folder: Path) -> None:
    name, make = FILES[case]
    (folder / name).write_bytes(make())
    line = attack(['upscale', '-m', 'zoo:vdsr_s_x234', '-i', name, '-o', 'out.png', '-s', '2'], folder).line
    assert name in line, line


@pytest.mark.parametrize('command', ['upscale', 'inspect', 'train'])
def test_a_pipe_among_pictures_is_passed_by(command: str, place: Path) -> None:
    (place / 'pictures').mkdir()
    os.mkfifo(place / 'pictures' / 'a.png')
    (place / 'pictures' / 'b.png').symlink_to(place / 'pictures' / 'a.png')
    arguments = {
        'upscale': ['upscale', '-m', 'zoo:vdsr_s_x234', '-i', 'pictures', '-o', 'out'],
        'inspect': ['inspect', '--inputs', 'pictures'],
        'train': ['train', '-opt', 'good.yml', '--force_yml', 'datasets:val_x2:dataroot_gt=pictures'],
    }[command]
    assert 'pictures' in attack(arguments, place).line


@pytest.mark.parametrize('what', ['nowhere', 'pipe.png', '/dev/zero', '.', '', 'a\x00b', 'x' * 3000])
def test_what_is_no_picture(what: str, folder: Path) -> None:
    os.mkfifo(folder / 'pipe.png')
    assert attack(['upscale', '-m', 'zoo:vdsr_s_x234', '-i', what, '-o', 'out.png'], folder).line
