"""The end of a network kept in fp32 where the rest computes in bf16."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import UNFIT, NetworkContract, bare
from vsrkd_plugin.adapters.image_sr import in_eval_mode

_SIDES = (16, 64)  # of black images that a network is run on; some of BasicSR's take none below 64
_FRAMES = (5, 7, 3, 9)  # of black clips, where nothing tells the length of a network's window
_COLOURS = 4  # channels that an image has at most


class _InFp32(nn.Module):
    """What autocast leaves alone; to be inherited from before a convolution's class."""

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float(), *args, **kwargs)


class _Fp32Conv2d(_InFp32, nn.Conv2d):
    """A convolution in fp32."""


def keep_tail_in_fp32(network: nn.Module) -> nn.Module:
    """Have the last convolution run in fp32 under autocast, and give the network.

    Teacher and student differ by less than what bf16 can tell apart near 1, so their outputs must not be rounded to it.
    Networks with `pre_upsampling` add their detail to the bicubic image in fp32 themselves. The last one is that which
    runs last, found by running the network on a black image or clip (where none is taken, the one that was made last);
    if that merely mixes the colours of an image (a mean shift), the one before it is kept in fp32 too. The state dict
    stays as it is, and so does a deep copy's.
    """
    modules = list(bare(network).modules())
    if NetworkContract.of(network).pre_upsampling or any(isinstance(module, _InFp32) for module in modules):
        return network
    last_made = [module for module in modules if type(module) is nn.Conv2d][-1:]
    for convolution in _tail(_run_order(network) or last_made):
        # Not a new module: the network, its optimiser and whoever else holds it keep the same one.
        convolution.__class__ = _fp32_class(type(convolution))
    return network


def _tail(order: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """The convolutions at the end of a run up to the last one that makes an image of features."""
    for convolution in reversed(order):
        yield convolution
        assert isinstance(convolution, (nn.Conv2d, nn.ConvTranspose2d))
        mixes_colours = convolution.in_channels == convolution.out_channels <= _COLOURS
        if not (mixes_colours and convolution.kernel_size == (1, 1)):
            return


@torch.no_grad()
def _run_order(network: nn.Module) -> list[nn.Module]:
    """The convolutions in the order in which they run, each once, where it runs last; empty if nothing can be run."""
    order: dict[nn.Module, None] = {}

    def note(module: nn.Module, _inputs: Any, _output: Any) -> None:
        order.pop(module, None)
        order[module] = None

    inner = bare(network)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [module.register_forward_hook(note) for module in inner.modules() if isinstance(module, kinds)]
    arguments = {'scale': 2} if NetworkContract.of(network).multi_scale else {}
    try:
        with in_eval_mode(inner), torch.random.fork_rng(devices=[]):
            for x in _black_inputs(network):
                order.clear()
                try:
                    inner(x, **arguments)
                except UNFIT:
                    continue  # another kind of network: the next input may suit it
                return list(order)
    finally:
        for hook in hooks:
            hook.remove()
    return []


def _black_inputs(network: nn.Module) -> Iterator[Tensor]:
    """An image and clips, small ones first."""
    contract, parameter = NetworkContract.of(network), next(network.parameters(), None)
    device = None if parameter is None else parameter.device
    for side in _SIDES:
        if not contract.recurrent and contract.window is None:
            for channels in dict.fromkeys((contract.channels, 3, 1)):  # what the contract knows may be a guess
                yield torch.zeros(1, channels, side, side, device=device)
        for frames in [contract.window] if contract.window else _FRAMES:
            yield torch.zeros(1, frames, 3, side, side, device=device)


def _fp32_class(cls: type[nn.Module]) -> type[nn.Module]:
    """A class of convolutions, in fp32."""
    return _Fp32Conv2d if cls is nn.Conv2d else type(f'Fp32{cls.__name__}', (_InFp32, cls), {})
