"""`vsrkd upscale` as it is typed: pictures and folders, figures told, exit statuses."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vsrkd_plugin.cli import main
from vsrkd_plugin.deploy.pictures import read_picture
from vsrkd_plugin.deploy.upscaling import Upscaler
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.model_file import ModelHeader, write_model


@pytest.fixture(scope='module')
def compact(tmp_path_factory: pytest.TempPathFactory) -> str:
    register()
    from basicsr.archs import build_network

    options = {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = build_network(dict(options)).state_dict()
    path = tmp_path_factory.mktemp('model') / 'compact.safetensors'
    write_model(weights, ModelHeader(options, (4,), 3), path)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / 'in' / 'sub').mkdir(parents=True)
    for index, name in enumerate(('a.png', 'b.png', 'sub/c.png')):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'in' / name)
    return tmp_path / 'in'


def upscale(model: str, source: Path, target: Path, *more: str) -> int:
    return main(['upscale', '-m', model, '-i', str(source), '-o', str(target), *more])


def test_a_folder(compact: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert upscale(compact, folder, tmp_path / 'out') == 0
    for name in ('a.png', 'b.png', 'sub/c.png'):
        assert Image.open(tmp_path / 'out' / name).size == (120, 80)
    assert '3 pictures written, 0.0 megapixels in' in capsys.readouterr().err


def test_one_picture_and_a_factor_that_the_network_has_not(
    compact: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert upscale(compact, folder / 'a.png', tmp_path / 'made' / 'big.webp', '-s', '2.5', '--tile', '16') == 0
    assert Image.open(tmp_path / 'made' / 'big.webp').size == (75, 50)
    told = capsys.readouterr().err
    assert 'x2.5 is not of the network: its x4 is resized after it by bicubic' in told and 'big.webp' in told


def test_tiles_and_memory_change_no_pixel(compact: str, folder: Path, tmp_path: Path) -> None:
    for name, more in {'whole': [], 'tiles': ['--tile', '9']}.items():
        assert upscale(compact, folder / 'a.png', tmp_path / f'{name}.png', '--precision', 'fp32', *more) == 0
    whole, tiles = (read_picture(tmp_path / f'{name}.png').pixels.astype(int) for name in ('whole', 'tiles'))
    assert np.abs(whole - tiles).max() <= 1  # where 1e-7 decides of the rounding


def test_a_network_of_y_from_the_zoo(folder: Path, tmp_path: Path) -> None:
    assert upscale('zoo:vdsr_s_x234', folder / 'a.png', tmp_path / 'out.png', '-s', '3') == 0
    assert Image.open(tmp_path / 'out.png').size == (90, 60)
    Image.open(folder / 'a.png').convert('L').save(tmp_path / 'grey.png')
    assert upscale('zoo:vdsr_s_x234', tmp_path / 'grey.png', tmp_path / 'out', '-s', '2') == 0
    assert Image.open(tmp_path / 'out' / 'grey.png').mode == 'L'


def test_a_network_that_is_recognised(shared_data: Path, folder: Path, tmp_path: Path) -> None:
    model = shared_data / 'teachers' / 'realesr-animevideov3.pth'
    if not model.is_file():
        pytest.skip(f'needs {model}')
    assert upscale(str(model), folder / 'a.png', tmp_path / 'out.png') == 0
    assert Image.open(tmp_path / 'out.png').size == (120, 80)


def test_a_bad_picture_is_named_and_the_status_says_so(
    compact: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / 'b.png').write_bytes(b'')
    assert upscale(compact, folder, tmp_path / 'out') == 1
    told = capsys.readouterr().err
    assert 'failed: ' in told and '2 pictures written' in told and '1 failed: b.png' in told
    assert upscale(compact, folder / 'b.png', tmp_path / 'out') == 2
    assert 'error: ' in (told := capsys.readouterr().err) and told.count('b.png') == 1


def test_a_second_run_goes_on(compact: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert upscale(compact, folder, tmp_path / 'out', '--suffix', '_x4', '--ext', 'jpg') == 0
    assert (tmp_path / 'out' / 'sub' / 'c_x4.jpg').is_file()
    (tmp_path / 'out' / 'a_x4.jpg').unlink()
    assert upscale(compact, folder, tmp_path / 'out', '--suffix', '_x4', '--ext', 'jpg', '--skip-existing') == 0
    assert '1 picture written' in (told := capsys.readouterr().err) and '2 there already' in told


@pytest.mark.parametrize(
    ('more', 'told'),
    [
        (['-s', '0.5'], 'scale: expected a factor from 1'),
        (['--tile', 'big'], "--tile: expected auto or a side in pixels from 1, got 'big'"),
        (['--memory', 'much'], '--memory: expected a size such as 2G'),
        (['--memory', '1M'], 'pixels need'),
        (['--device', 'nonsense'], '--device nonsense: cannot be used'),
        (['--ext', 'gif'], '--ext gif: expected'),
        (['--fps', '0'], '--fps: expected a number from 0.001 to 1000'),
        (['--contract', '{x: 1}'], '--contract'),
    ],
)
def test_bad_arguments(
    compact: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], told: str
) -> None:
    assert upscale(compact, folder / 'a.png', tmp_path / 'out', *more) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.glob('out/*'))


def test_what_is_no_model_or_no_input(
    compact: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert upscale(compact, tmp_path / 'missing', tmp_path / 'out') == 2
    assert 'missing: no such picture, folder or film' in capsys.readouterr().err
    assert upscale(str(folder / 'a.png'), folder, tmp_path / 'out') == 2
    assert 'a.png' in capsys.readouterr().err
    assert upscale('zoo:rlsp_x4', folder / 'a.png', tmp_path / 'out') == 2
    assert 'RLSP is a network of films; expected one of images' in capsys.readouterr().err
    assert upscale(compact, folder, folder) == 2
    assert 'would overwrite' in capsys.readouterr().err


def test_a_terminated_run_leaves_no_half_file(
    compact: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    calls = []
    stock = Upscaler._enlarge

    def terminated(self: Upscaler, lr: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 8:  # in the middle of a picture
            os.kill(os.getpid(), signal.SIGTERM)
        return stock(self, lr)

    monkeypatch.setattr(Upscaler, '_enlarge', terminated)
    before = signal.getsignal(signal.SIGTERM)
    assert upscale(compact, folder, tmp_path / 'out', '--tile', '5') == 128 + signal.SIGTERM
    assert capsys.readouterr().err.splitlines()[-1] == 'basicsr: interrupted (SIGTERM)'
    assert signal.getsignal(signal.SIGTERM) == before and len(calls) == 8
    assert not any(path.is_file() for path in (tmp_path / 'out').rglob('*'))
