"""Losses between two log lines, averaged on the device."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.errors import TrainingStopped
from vsrkd_plugin.ops.parallel import average
from vsrkd_plugin.run.training_states import newest_state

_ADVICE = {
    'l_kd': 'lower train, optim_g, lr, set train, grad_clip, or precision: fp32',
    'l_adv': 'lower train, optim_z, lr or train, adversarial_opt, loss_weight',
    'l_rec': 'lower train, optim_z, lr',
    'l_g_gan': 'lower train, gan_opt, loss_weight or train, optim_d, lr',
    'l_d_real': 'lower train, optim_d, lr',
    'l_d_fake': 'lower train, optim_d, lr',
}


class LossMeter:
    """Sums named losses without reading them, so that a training step never waits for the device.

    Args:
        device: where the losses are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._first_bad: dict[str, Tensor] = {}
        self._last: dict[str, float] = {}

    def add(self, losses: dict[str, Tensor], iteration: int) -> None:
        """Add the losses of an iteration (scalars on the device)."""
        for name, value in losses.items():
            value = value.detach().float()
            bad = torch.where(torch.isfinite(value), torch.inf, float(iteration))
            if name not in self._sums:
                self._sums[name], self._counts[name] = torch.zeros_like(value), 0
            self._sums[name] += value
            self._counts[name] += 1
            self._first_bad[name] = torch.minimum(self._first_bad[name], bad) if name in self._first_bad else bad

    def read(self) -> dict[str, float]:
        """Means since the last call, over all processes; a loss without a new value keeps its last one."""
        for name, total in self._sums.items():
            self._last[name] = float(average(total / self._counts[name]))
        self._sums, self._counts = {}, {}
        return dict(self._last)

    def check(self, opt: dict[str, Any]) -> None:
        """Raise where a loss was not finite.

        Raises:
            TrainingStopped: with the iteration, the loss, what to try and where the last good state is.
        """
        for name, first in self._first_bad.items():
            iteration = float(first)
            if iteration != float('inf'):
                good = newest_state(Path(opt['path']['training_states']))
                kept = f'the last good state is {good[0]}' if good else 'no state had been saved'
                raise TrainingStopped(
                    f'iteration {iteration:.0f}: loss {name} is not finite; '
                    f'{_ADVICE.get(name, "lower the learning rate")}; {kept}'
                )
