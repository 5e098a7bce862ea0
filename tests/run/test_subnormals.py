"""Subnormal numbers are zero for a while, and an optimiser's averages of dead channels end at zero."""

import pytest
import torch
from torch import nn

from vsrkd_plugin.cli import main
from vsrkd_plugin.commands import info
from vsrkd_plugin.optim.muon import Muon
from vsrkd_plugin.run.subnormals import _are_zero, subnormals_as_zero

TINY = torch.finfo(torch.float32).tiny


@pytest.fixture
def able() -> None:
    with subnormals_as_zero() as able:
        if not able:
            pytest.skip('this CPU cannot')


def test_it_is_as_before_afterwards(able: None) -> None:
    for before in (False, True):
        torch.set_flush_denormal(before)
        with subnormals_as_zero():
            assert _are_zero()
        assert _are_zero() == before
    torch.set_flush_denormal(False)


@pytest.mark.parametrize('flushed', [True, False])
def test_averages_of_dead_channels_end_at_zero(able: None, flushed: bool) -> None:
    weight = nn.Parameter(torch.randn(8, 8))
    optimizer = Muon([weight], momentum=0.9)
    weight.grad = torch.randn(8, 8)
    optimizer.step()
    weight.grad = torch.zeros(8, 8)

    def steps() -> None:
        for _ in range(1000):
            optimizer.step()

    if flushed:
        with subnormals_as_zero():
            steps()
    else:
        steps()
    momentum = optimizer.state[weight]['momentum']
    subnormal = (momentum != 0) & (momentum.abs() < TINY)
    # Without it they are what this is about: they do not go away by themselves.
    assert bool(subnormal.any()) is not flushed


def test_every_command_runs_so(able: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(info, 'run', lambda args: seen.append(_are_zero()) or 0)
    assert main(['info']) == 0 and seen == [True] and not _are_zero()
