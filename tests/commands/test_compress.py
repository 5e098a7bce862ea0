"""`basicsr compress`: seconds instead of a training."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_training import tiny_options

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.cli import main
from vsrkd_plugin.run.model_file import read_header
from vsrkd_plugin.synthesis.sources.dead_leaves import render_images


@pytest.fixture
def options(tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return tiny_options(tmp_path, image_folder)


def _compress(options: dict[str, Any], folder: Path) -> int:
    (folder / 'options.yml').write_text(yaml.safe_dump(options))
    return main(['compress', '-opt', str(folder / 'options.yml'), '-o', str(folder / 'student.pth')])


def test_student_has_every_block_and_is_nearer_than_a_fresh_one(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert _compress(options, tmp_path) == 0
    told = capsys.readouterr().out
    assert 'times fewer' in told and f'The teacher is params of {tmp_path / "teacher.pth"}\n' in told
    assert not (tmp_path / 'experiments').exists()
    header = read_header(tmp_path / 'student.pth')
    assert header is not None and header.network['type'] == 'VDSR' and header.network['num_feat'] == 4
    assert header.scales == (2, 3) and header.distilled_from == 'VDSR (teacher.pth)'
    teacher, student, fresh = (
        VDSR(num_feat=8, num_block=4),
        VDSR(num_feat=4, num_block=4),
        VDSR(num_feat=4, num_block=4),
    )
    for network, file in ((teacher, 'teacher.pth'), (student, 'student.pth')):
        network.load_state_dict(torch.load(tmp_path / file, weights_only=True)['params'])
    lr = render_images(5, range(8), 16, 1)
    with torch.no_grad():
        errors = [(network(lr, scale=2) - teacher(lr, scale=2)).square().mean() for network in (student, fresh)]
    assert errors[0] < 0.5 * errors[1]


def test_nothing_is_overwritten(options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'student.pth').write_text('mine')
    assert _compress(options, tmp_path) == 2
    assert 'is there already' in capsys.readouterr().err
    assert (tmp_path / 'student.pth').read_text() == 'mine'
