"""The losses between two log lines: their means, what is kept, and which was not finite first."""

from pathlib import Path

import pytest
import torch

from vsrkd_plugin.errors import TrainingStopped
from vsrkd_plugin.models.loss_meter import LossMeter


def test_the_log_has_the_means_since_the_last_line() -> None:
    meter = LossMeter(torch.device('cpu'))
    for iteration, value in enumerate((1.0, 2.0, 6.0), 1):
        meter.add({'l_kd': torch.tensor(value)}, iteration)
    meter.add({'l_adv': torch.tensor(-4.0)}, 3)
    assert meter.read() == {'l_kd': 3.0, 'l_adv': -4.0}
    meter.add({'l_kd': torch.tensor(10.0)}, 4)
    # A loss without a new value (generators step seldom) keeps its last one.
    assert meter.read() == {'l_kd': 10.0, 'l_adv': -4.0}


def test_losses_are_summed_without_their_graphs() -> None:
    meter = LossMeter(torch.device('cpu'))
    meter.add({'l_kd': torch.ones((), requires_grad=True) * 2}, 1)
    assert meter.read() == {'l_kd': 2.0}


def test_the_first_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    meter = LossMeter(torch.device('cpu'))
    opt = {'path': {'training_states': str(tmp_path)}}
    for iteration, value in enumerate((1.0, float('nan'), float('inf')), 7):
        meter.add({'l_kd': torch.tensor(value), 'l_adv': torch.tensor(0.0)}, iteration)
    with pytest.raises(TrainingStopped, match=r'iteration 8: loss l_kd .*optim_g.*no state had been saved'):
        meter.check(opt)
    torch.save({'epoch': 0, 'iter': 5, 'optimizers': [], 'schedulers': []}, tmp_path / '5.state')
    (tmp_path / '6.state').write_bytes((tmp_path / '5.state').read_bytes()[:-50])  # cut short: not a good one
    torch.save({'params': {}}, tmp_path / '7.state')
    with pytest.raises(TrainingStopped, match=r'the last good state is .*5\.state'):
        meter.check(opt)
