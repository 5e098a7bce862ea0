"""`test -m MODEL`: stock BasicSR's test of a model file, without an options file."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_psnr
from tiny_training import few_threads

from vsrkd_plugin.cli import main
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.model_file import ModelHeader, write_model

register()
COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2, 'upscale': 2,
           'act_type': 'prelu'}  # fmt: skip


def make_pictures(folder: Path) -> None:
    folder.mkdir()
    for name, seed in (('a', 0), ('b', 1)):
        small = np.random.default_rng(seed).uniform(0, 255, (6, 7, 3)).astype(np.float32)
        cv2.imwrite(str(folder / f'{name}.png'), cv2.resize(small, (56, 48)).round().astype(np.uint8))


@pytest.mark.parametrize('name', ['student.safetensors', 'foreign.pth'])
def test_figures_are_those_of_the_network(name: str, tmp_path: Path) -> None:
    make_pictures(tmp_path / 'pictures')
    torch.manual_seed(0)
    network = build_network(dict(COMPACT)).eval()
    if name == 'foreign.pth':  # nothing but weights
        torch.save(network.state_dict(), tmp_path / name)
    else:
        write_model(network.state_dict(), ModelHeader(COMPACT, (2,), 3), tmp_path / name)
    done = subprocess.run(
        [sys.executable, '-m', 'vsrkd_plugin', 'test', '-m', name, '-i', 'pictures', '--force_yml', 'num_gpu=0'],
        cwd=tmp_path, env=few_threads(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = float(re.search(r'psnr: ([\d.]+)', done.stdout + done.stderr)[1])
    values = []
    for file in sorted((tmp_path / 'pictures').iterdir()):
        hr = torch.from_numpy(cv2.imread(str(file))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            sr = network(bicubic_resize(hr, 1 / 2)).clamp(0, 1)
        images = [(rgb_to_y((image * 255).round() / 255) * 255)[0, 0].numpy() for image in (sr, hr)]
        values.append(calculate_psnr(*images, crop_border=2, input_order='HWC'))
    assert told == pytest.approx(np.mean(values), abs=0.01)
    (log,) = (tmp_path / 'results').rglob('*.log')
    assert 'psnr' in log.read_text()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], r'an options file \(-opt FILE\) or a model file \(-m MODEL\), neither was given'),
        (['-opt', 'a.yml', '-m', 'zoo:vdsr_s_x234'], 'both were given'),
        (['-opt', 'a.yml', '-i', 'pictures'], '-i: goes with a model file'),
        (['-m', 'zoo:vdsr_s_x234', '-i', 'none'], 'none'),
        (['-m', 'none.pth'], r'none\.pth: no such checkpoint file'),
    ],
)
def test_what_does_not_go_together_is_told(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['test', *arguments]) == 2
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / 'results').exists()
