"""Pictures that are damaged, too large, or none."""

import os
import subprocess
import sys
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


@pytest.mark.parametrize('rate', ['1e-300', '1e12', '0', '-1', '1/0', 'nan'])
def test_a_rate_of_no_film(rate: str, folder: Path) -> None:
    (folder / 'frames').mkdir()
    for number in range(5):
        (folder / 'frames' / f'{number}.png').write_bytes(encoded('.png'))
    line = ['upscale', '-m', 'zoo:vdsr_s_x234', '-i', 'frames', '-o', 'a.mp4', f'--fps={rate}']
    assert attack(line, folder).line.startswith('--fps: expected a number from 0.001 to 1000')


def test_a_link_to_itself_is_told_and_the_others_are_enlarged(folder: Path) -> None:
    (folder / 'pictures').mkdir()
    (folder / 'pictures' / 'a.png').write_bytes(encoded('.png'))
    (folder / 'pictures' / 'self.png').symlink_to('self.png')
    line = ['upscale', '-m', 'zoo:vdsr_s_x234', '-i', 'pictures', '-o', 'out', '-s', '2']
    done = subprocess.run([sys.executable, '-m', 'vsrkd_plugin', *line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1 and (folder / 'out' / 'a.png').is_file() and '1 failed: self.png' in done.stderr


@pytest.mark.parametrize('option', ['-i', '-o'])
def test_a_path_of_no_letters(option: str, folder: Path) -> None:
    (folder / 'a.png').write_bytes(encoded('.png'))
    paths = {'-i': 'a.png', '-o': 'b.png', option: ''}
    line = ['upscale', '-m', 'zoo:vdsr_s_x234', *(text for pair in paths.items() for text in pair)]
    assert attack(line, folder).line.startswith(f'argument {option}: expected a path, got an empty text')


def test_a_device_without_numbers(folder: Path) -> None:
    (folder / 'a.png').write_bytes(encoded('.png'))
    line = ['upscale', '-m', 'zoo:vdsr_s_x234', '-i', 'a.png', '-o', 'b.png', '--device', 'meta']
    assert attack(line, folder).line.startswith('--device meta: cannot be used')


def test_a_folder_that_is_gone(folder: Path) -> None:
    code = (
        'import os, sys; from vsrkd_plugin.cli import main\n'
        'os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")\n'
        'sys.exit(main(["info"]))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and 'the current folder' in done.stderr


@pytest.mark.parametrize(('most', 'told'), [(4095, True), (65535, False), (255, False)])
def test_twelve_bits_in_sixteen_are_told(most: int, told: bool, folder: Path) -> None:
    """Whether it is dark or of other numbers the file does not say."""
    deep = (smooth_image(40, 48, 0).astype(np.float64) / 255 * most).astype(np.uint16)
    deep[0, 0] = most
    (folder / 'a.png').write_bytes(encoded('.png', deep))
    line = ['upscale', '-m', 'zoo:vdsr_s_x234', '-i', 'a.png', '-o', 'b.png', '-s', '2']
    done = subprocess.run([sys.executable, '-m', 'vsrkd_plugin', *line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and ('is it of 12?' in done.stderr) == told, done.stderr
