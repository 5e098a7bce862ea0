"""What layers give on the way: taken from a network while somebody else calls it."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn


class FeatureTaps:
    """Keeps the outputs of some modules of a network, from `listen` on until they are taken.

    A module that is called several times (for every frame of a clip) gives as many outputs, one after the other.

    Args:
        network: bare.
        names: of its modules.

    Raises:
        ValueError: it has no such module; some that it has are told.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        modules = dict(network.named_modules())
        for name in names:
            if not name or name not in modules:
                there = ', '.join(list(filter(None, modules))[:12])
                raise ValueError(f'{type(network).__name__} has no module {name!r}; it has {there}, …')
        self.names, self._listening = list(names), False
        self._outputs: dict[str, list[Tensor]] = {}
        for name in names:
            modules[name].register_forward_hook(partial(self._keep, name))

    def listen(self) -> None:
        """Keep from now on, nothing from before."""
        self._outputs, self._listening = {name: [] for name in self.names}, True

    def take(self) -> list[Tensor]:
        """What each module gave, `(n, c, h, w)` in the order of the names; keep nothing from now on.

        Raises:
            RuntimeError: a module was not called.
        """
        taken, self._listening = [torch.cat(self._outputs[name] or [torch.zeros(0)]) for name in self.names], False
        silent = [name for name, outputs in self._outputs.items() if not outputs]
        self._outputs = {}
        if silent:
            raise RuntimeError(f'{", ".join(silent)} took no part in the last step')
        return taken

    def _keep(self, name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if self._listening:
            self._outputs[name].append(output)
