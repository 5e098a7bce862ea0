"""A teacher is asked once for an image; whatever differs, it is asked again."""

import importlib
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from reports.conftest import STUDENT, small_vdsr
from torch import nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.reports import folder
from vsrkd_plugin.reports.evaluation import DEFAULT_METRICS, evaluate
from vsrkd_plugin.reports.folder import make_report
from vsrkd_plugin.reports.kept_outputs import FOLDER, KeptOutputs, drop_oldest, folder_of

CPU = torch.device('cpu')
SETTINGS = {'num_in_ch': 1, 'num_feat': 4, 'num_block': 1}


class Counted(nn.Module):
    """x2 by repetition, counting how often it is called."""

    def __init__(self, gain: float = 0.7, channels: int = 3) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.channels, self.calls = channels, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return nn.functional.interpolate(x, scale_factor=2) * self.gain


def keeping(where: Path, network: nn.Module, rounded: bool = True, options: object = None) -> KeptOutputs:
    adapter = ImageSRAdapter(network, 3)
    kept = KeptOutputs(adapter, options, where, rounded).eval()
    network.calls = 0  # without those that found out what it is
    return kept


@torch.no_grad()
@pytest.mark.parametrize('rounded', [True, False])
def test_the_second_time_nothing_is_run(tmp_path: Path, rounded: bool) -> None:
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.1
    first, second = (keeping(tmp_path / 'kept', Counted(), rounded) for _ in range(2))
    expected = first(image, 2)
    assert torch.equal(second(image, 2), expected)
    assert (first.network.calls, first.found, second.network.calls, second.found) == (1, 0, 0, 1)
    plain = ImageSRAdapter(Counted(), 3)(image, 2)
    assert torch.equal(expected, plain.clamp(0, 1).mul(255).round() / 255 if rounded else plain)
    assert not list((tmp_path / 'kept').glob('.*.part*'))


@torch.no_grad()
def test_a_network_whose_code_changed_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    outputs = []
    for factor in ('0.5', '0.25'):
        (tmp_path / 'my_changing_network.py').write_text(
            'import torch\n\n\nclass Mine(torch.nn.Upsample):\n    def forward(self, x):\n'
            f'        return super().forward(x) * {factor}\n'
        )
        monkeypatch.delitem(sys.modules, 'my_changing_network', raising=False)
        importlib.invalidate_caches()
        network = importlib.import_module('my_changing_network').Mine(scale_factor=2)
        outputs.append(keeping(tmp_path / 'kept', network)(torch.ones(1, 3, 4, 4), 2).mean())
    assert outputs[0] == pytest.approx(0.5, abs=0.01) and outputs[1] == pytest.approx(0.25, abs=0.01)


@torch.no_grad()
def test_whatever_differs_is_asked_for_again(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 8, 8)
    keeping(tmp_path, Counted())(image, 2)
    other = image.clone()
    other[0, 0, 0, 0] += 1e-6
    for network, options, given in (
        (Counted(0.7001), None, image), (Counted(), {'num_feat': 3}, image), (Counted(), None, other),
        (Counted(), None, image.transpose(2, 3)), (Counted(), None, image[:, :, :4].reshape(1, 3, 4, 8)),
    ):  # fmt: skip
        asked = keeping(tmp_path, network, options=options)
        asked(given, 2)
        assert asked.network.calls == 1
    exact = keeping(tmp_path, Counted(), rounded=False)
    exact(image, 2)
    assert exact.network.calls == 1


@torch.no_grad()
@pytest.mark.parametrize('spoil', [
    lambda file: file.write_bytes(file.read_bytes()[:-5]), lambda file: file.write_bytes(b''),
    lambda file: np.savez(file, values=np.zeros((1, 3, 4, 4), np.uint8)),
    lambda file: np.savez(file, values=np.zeros((1, 3, 16, 16))),
])  # fmt: skip
def test_a_broken_file_is_written_anew(tmp_path: Path, spoil) -> None:
    image = torch.rand(1, 3, 8, 8)
    expected = keeping(tmp_path, Counted())(image, 2)
    (file,) = tmp_path.iterdir()
    spoil(file)
    again = keeping(tmp_path, Counted())
    assert torch.equal(again(image, 2), expected) and again.network.calls == 1
    assert torch.equal(keeping(tmp_path, Counted())(image, 2), expected)


@torch.no_grad()
def test_where_nothing_can_be_written_it_works_all_the_same(tmp_path: Path) -> None:
    (tmp_path / 'file').write_bytes(b'')
    kept = keeping(tmp_path / 'file' / 'below', Counted())
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(kept(image, 2), kept(image, 2)) and kept.network.calls == 2
    drop_oldest(tmp_path / 'file' / 'below')


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    for number in range(5):
        np.savez(tmp_path / f'{number}.npz', values=np.zeros(1000, np.uint8))
        os.utime(tmp_path / f'{number}.npz', (number, number))
    size = (tmp_path / '0.npz').stat().st_size
    drop_oldest(tmp_path, 3 * size)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['2.npz', '3.npz', '4.npz']


@pytest.mark.parametrize('channels', [1, 3])
def test_figures_are_those_of_the_network_itself(tmp_path: Path, channels: int) -> None:
    """Of colour too, which a network of Y sees in parts."""
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(channels, 40, 36, generator=generator)
    sample = {'lq': torch.rand(channels, 20, 18, generator=generator), 'gt': gt, 'scale': 2, 'lq_path': 'a.png'}
    student = ImageSRAdapter(small_vdsr(SETTINGS, 1), 1)

    def figures(teacher: ImageSRAdapter) -> list[dict]:
        networks = {'teacher': teacher, 'student': student}
        return evaluate([sample], {'name': 'set', 'scale': 2}, networks, DEFAULT_METRICS, CPU).results

    expected = figures(ImageSRAdapter(small_vdsr(SETTINGS, 0), 1))
    for _ in range(2):
        teacher = KeptOutputs(ImageSRAdapter(small_vdsr(SETTINGS, 0), 1), None, tmp_path, True)
        assert figures(teacher) == expected
    assert teacher.found == 1


def test_outputs_are_shared_by_the_experiments_of_a_root(tmp_path: Path) -> None:
    of_both = {folder_of(tmp_path / 'experiments' / name) for name in 'ab'}
    assert of_both == {tmp_path / FOLDER}  # nothing of ours lies among the experiments
    assert folder_of(tmp_path / 'elsewhere') == tmp_path / 'elsewhere' / FOLDER


def test_a_report_made_again_says_the_same_without_asking_the_teacher(
    experiment: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is timed is the teacher, not the reading of a file."""
    timed: list[type] = []
    stock = folder.measure_complexity

    def measured(networks: dict, *rest: object) -> list[dict]:
        timed.extend(type(network) for network in networks.values())
        return costs

    costs = stock({'teacher': ImageSRAdapter(small_vdsr(SETTINGS, 0), 1)} | {
        'student': ImageSRAdapter(small_vdsr(SETTINGS, 0), 1)
    }, 2, CPU, lr_side=8)  # fmt: skip
    monkeypatch.setattr(folder, 'measure_complexity', measured)
    monkeypatch.setattr(folder, 'draw_report', lambda *args: None)
    first = make_report(experiment)
    asked: set[int] = set()
    forward = ImageSRAdapter.forward

    def counted(self: ImageSRAdapter, *rest: object) -> torch.Tensor:
        asked.add(sum(value.numel() for value in self.network.parameters()))
        return forward(self, *rest)

    monkeypatch.setattr(ImageSRAdapter, 'forward', counted)
    with caplog.at_level(logging.INFO, 'basicsr'):
        second = make_report(experiment)
    assert "the teacher's results of 68 images were there" in caplog.text  # 2 pictures and 32 made ones, 2 scales
    assert first == second
    assert asked == {sum(value.numel() for value in small_vdsr(STUDENT, 0).parameters())}
    assert timed == [ImageSRAdapter] * 4
    assert (experiment.parents[1] / FOLDER).is_dir()
