"""`vsrkd export` as it is typed; files that it cannot export."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import smooth_image

from vsrkd_plugin.cli import main
from vsrkd_plugin.inspection.opening import open_model

ROOT = Path(__file__).resolve().parents[2]


def test_a_model_of_the_zoo_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for library in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(library, reason='needs the extra onnx')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('vsrkd_plugin.deploy.export.table._SIDE', 32)
    assert main(['export', 'zoo:vdsr_s_x234', '--to', 'onnx', '-s', '3']) == 0
    printed = capsys.readouterr()
    assert [file.name for file in tmp_path.iterdir()] == ['vdsr_s_x234_x3.onnx']
    assert 'vdsr_s_x234_x3.onnx: verified; takes Y in [0, 1]' in printed.out and '32x32 x3, one thread' in printed.out
    assert 'export: verifying it in onnxruntime' in printed.err
    import onnxruntime

    session = onnxruntime.InferenceSession('vdsr_s_x234_x3.onnx')
    x = torch.from_numpy(smooth_image(41, 30, 1)[None, None, ..., 0].astype(np.float32) / 255)
    expected = open_model('zoo:vdsr_s_x234').adapter(x, 3).detach().numpy()
    assert np.abs(session.run(None, {'input': x.numpy()})[0] - expected).max() <= 1e-5


@pytest.mark.parametrize('target', ['safetensors', 'pth'])
def test_weights_open_again(target: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / f'student.{target}'
    assert main(['export', 'zoo:vdsr_s_x234', '--to', target, '-o', str(path)]) == 0
    from vsrkd_plugin import __version__

    opened = open_model(str(path))
    assert opened.header.version == __version__ and opened.header.scales == (2, 3, 4)
    x = torch.rand(1, 1, 12, 17)
    assert torch.equal(opened.adapter(x, 4), open_model('zoo:vdsr_s_x234').adapter(x, 4))


def _training_state(path: Path) -> None:
    torch.save({'epoch': 0, 'iter': 8, 'optimizers': [{'state': {}, 'param_groups': []}], 'schedulers': []}, path)


def _bank(path: Path) -> None:
    path.mkdir()
    (path / 'data.mdb').write_bytes(b'\0' * 4096)


def _foreign(path: Path) -> None:
    torch.save({'params': {'encoder.weight': torch.rand(3, 7), 'encoder.bias': torch.rand(3)}}, path)


@pytest.mark.parametrize(
    ('name', 'make'),
    [
        ('8.state', _training_state),
        ('bank.lmdb', _bank),
        ('foreign.pth', _foreign),
        ('text.pth', lambda path: path.write_text('hello')),
        ('none.pth', lambda path: None),
    ],
)
def test_what_is_no_model_is_told_in_one_line(
    name: str, make: object, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out = tmp_path / name, tmp_path / 'out.pt2'
    make(path)  # type: ignore[operator]
    assert main(['export', str(path), '--to', 'torch', '-o', str(out)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith('export:')]
    assert len(lines) == 1 and lines[0].startswith('basicsr: error: ') and name in lines[0]
    assert not out.exists()


def test_the_help_shows_an_example(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(['export', '--help'])
    assert 'vsrkd export runs/anime/student.pth --to onnx' in capsys.readouterr().out


def test_the_example_enlarges_a_film_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(library, reason='needs the extra onnx')
    monkeypatch.setattr('vsrkd_plugin.deploy.export.table._SIDE', 16)
    picture = smooth_image(40, 50, 2)
    (tmp_path / 'frames').mkdir()
    for index in range(5):
        cv2.imwrite(str(tmp_path / 'frames' / f'{index:04d}.png'), picture[index : index + 24, 2 * index :][:, :33])
    assert main(['export', 'zoo:rlsp_x4', '--to', 'onnx', '-o', str(tmp_path / 'rlsp.onnx')]) == 0
    example = ROOT / 'examples' / 'film_with_onnxruntime.py'
    assert len([line for line in example.read_text(encoding='utf-8').splitlines() if line.strip()]) <= 40
    program = (
        'import runpy, sys\n'
        'sys.argv = sys.argv[1:]\n'
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "assert not {'torch', 'basicsr', 'vsrkd_plugin'} & set(sys.modules)\n"
    )
    arguments = [str(example), 'rlsp.onnx', 'frames', 'out']
    subprocess.run([sys.executable, '-c', program, *arguments], check=True, timeout=200, cwd=tmp_path)
    frames = [cv2.imread(str(tmp_path / 'frames' / f'{index:04d}.png')) for index in range(5)]
    clip = torch.from_numpy(np.stack(frames)[..., ::-1].copy()).permute(0, 3, 1, 2)[None].float() / 255
    with torch.no_grad():
        expected = (open_model('zoo:rlsp_x4').adapter(clip)[0].clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    for index in range(5):
        written = cv2.imread(str(tmp_path / 'out' / f'{index:04d}.png'))[..., ::-1]
        assert np.abs(written - expected[index]).max() <= 1  # a value halfway between two levels
        assert (written != expected[index]).mean() < 1e-3
