"""Outputs of a network's layers, recorded by hooks while the network is used."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import NetworkContract, RecurrentChain, innermost


class FeatureTaps:
    """Keeps the outputs of some modules of a network, from `listen` on until they are taken.

    A module that is called several times gives as many outputs, one after the other. Of a network that calls it for
    some windows of a clip at a time they are in order already; of one that goes frame by frame they are put in order.

    Args:
        network: bare.
        names: of its modules.
        frame_by_frame: whether it goes from the first frame of its clips to the last.

    Raises:
        ValueError: it has no such module; some that it has are told.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], frame_by_frame: bool = False) -> None:
        modules = dict(network.named_modules())
        for name in names:
            if not name or name not in modules:
                there = ', '.join(list(filter(None, modules))[:12])
                raise ValueError(f'{type(network).__name__} has no module {name!r}; it has {there}, …')
        self.names, self.frame_by_frame, self._listening = list(names), frame_by_frame, False
        self._outputs: dict[str, list[Tensor]] = {}
        for name in names:
            modules[name].register_forward_hook(partial(self._keep, name))

    def listen(self) -> None:
        """Keep from now on, nothing from before."""
        self._outputs, self._listening = {name: [] for name in self.names}, True

    def take(self) -> list[Tensor]:
        """What each module gave, `(n, c, h, w)` in the order of the names, clips' frames one after the other.

        Nothing is kept from now on.

        Raises:
            RuntimeError: a module was not called.
        """
        outputs, self._outputs, self._listening = self._outputs, {}, False
        silent = [name for name in self.names if not outputs[name]]
        if silent:
            raise RuntimeError(f'{", ".join(silent)} took no part in the last step')
        if self.frame_by_frame:
            return [torch.stack(outputs[name], 1).flatten(0, 1) for name in self.names]
        return [torch.cat(outputs[name]) for name in self.names]

    def _keep(self, name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if self._listening:
            self._outputs[name].append(output)


def tap_pair(student: nn.Module, teacher: nn.Module, layers: Mapping[str, str]) -> list[FeatureTaps]:
    """Taps of layers of the student, and of the teacher's to each.

    Raises:
        ValueError: no such layers; a recurrent network of whose order nothing is known.
    """
    taps = []
    for network, names in ((student, list(layers)), (teacher, list(layers.values()))):
        inner = innermost(network)
        forward = isinstance(inner, RecurrentChain)
        if NetworkContract.of(inner).recurrent and not forward:
            raise ValueError(f'{type(inner).__name__} does not tell in which order it sees frames')
        taps.append(FeatureTaps(inner, names, forward))
    return taps
