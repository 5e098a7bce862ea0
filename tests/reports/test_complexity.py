"""Counting and timing."""

import logging

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from torch import nn

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.reports import complexity
from vsrkd_plugin.reports.complexity import count_macs, measure_complexity

CPU = torch.device('cpu')


@pytest.mark.parametrize('scale', [2, 3])
def test_vdsr_costs_its_weights_times_the_pixels_of_hr(scale, caplog, monkeypatch, capfd):
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    vdsr = ImageSRAdapter(VDSR(num_in_ch=1, num_feat=64, num_block=18), 1)
    assert sum(p.numel() for p in vdsr.parameters()) == 664_704
    assert count_macs(vdsr, torch.rand(1, 1, 8, 9), scale) == 664_704 * 8 * 9 * scale**2
    assert 'nsupported' not in caplog.text + ''.join(capfd.readouterr())


def test_edsr_costs_what_its_convolutions_cost():
    edsr = EDSR(3, 3, num_feat=4, num_block=2, upscale=2)
    at_lr = 9 * 3 * 4 + (2 * 2 + 1 + 4) * 9 * 4 * 4  # first, blocks and body, enlargement
    at_hr = 9 * 4 * 3
    assert count_macs(ImageSRAdapter(edsr, 3), torch.rand(1, 3, 8, 9), 2) == 72 * at_lr + 4 * 72 * at_hr


def test_networks_are_measured_on_their_own_channels():
    networks = {
        'teacher': ImageSRAdapter(VDSR(num_in_ch=3, num_feat=16, num_block=2), 3),
        'student': ImageSRAdapter(VDSR(num_in_ch=1, num_feat=4, num_block=2), 1),
    }
    teacher, student = measure_complexity(networks, 3, CPU)
    assert set(teacher) == {'network', 'params', 'macs', 'seconds_per_image', 'input', 'scale'}
    assert teacher['input'] == [1, 3, 64, 64] and student['input'] == [1, 1, 64, 64] and teacher['scale'] == 3
    assert teacher['params'] == 9 * (2 * 3 * 16 + 2 * 256)
    assert teacher['macs'] == teacher['params'] * 192 * 192
    assert student['macs'] == student['params'] * 192 * 192
    assert teacher['seconds_per_image'] > 0 < student['seconds_per_image']


def test_input_at_hr_size_is_told():
    networks = {'student': ImageSRAdapter(VDSR(num_in_ch=1, num_feat=4, num_block=1, upscale=1), 1)}
    (student,) = measure_complexity(networks, 2, CPU, interpolated=True)
    assert student['input'] == [1, 1, 128, 128]
    assert student['macs'] == student['params'] * 128 * 128


def test_a_network_that_cannot_be_traced_has_no_count():
    class Untraceable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError('not for tracing')
            return x

    assert count_macs(ImageSRAdapter(Untraceable(), 1), torch.rand(1, 1, 4, 4), 2) is None


def test_a_heavy_network_is_measured_in_fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    class Counted(VDSR):
        def forward(self, *args, **kwargs):
            passes.append(1)
            return super().forward(*args, **kwargs)

    networks = {'student': ImageSRAdapter(Counted(num_feat=4, num_block=2).eval(), 1)}
    monkeypatch.setattr(complexity, 'count_macs', lambda *args: None)
    measure_complexity(networks, 2, torch.device('cpu'), lr_side=8)
    assert len(passes) == complexity.WARM_UP + complexity.REPEATS
    passes.clear()
    monkeypatch.setattr(complexity, 'PATIENCE', 0.0)
    (entry,) = measure_complexity(networks, 2, torch.device('cpu'), lr_side=8)
    assert len(passes) == 1 and entry['seconds_per_image'] > 0
