"""Any SR network made to look alike: LR in, SR out, whatever size it works at and whatever scales it knows."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import UNFIT, NetworkContract, bare
from vsrkd_plugin.errors import first_line
from vsrkd_plugin.ops.colour import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from vsrkd_plugin.ops.resize import bicubic_resize


class ImageSRAdapter(nn.Module):
    """Calls an SR network as its contract asks for; from then on the network keeps to it (`comply`).

    Networks say by attributes whether they are `pre_upsampling` (input at HR size) or `multi_scale` (`forward` takes a
    `scale`); one that says neither is run once on a few pixels to see whether it enlarges.

    Args:
        network: the network, bare or in DataParallel or DistributedDataParallel.
        in_channels: channels of its input. With one channel, RGB is taken too: chroma is enlarged by bicubic.
        lr_size: side of the image that an unknown network is tried with.

    Raises:
        ValueError: an unknown network's output has neither the size of its input nor a multiple of it.
    """

    def __init__(self, network: nn.Module, in_channels: int, lr_size: int = 16) -> None:
        super().__init__()
        self.network = comply(network)
        self.in_channels = in_channels
        contract = NetworkContract.of(network)
        self.multi_scale, self.pre_upsampling = contract.multi_scale, contract.pre_upsampling
        if not self.multi_scale and not self.pre_upsampling:
            self.pre_upsampling = probe(bare(network), in_channels, lr_size)

    def forward(self, lr: Tensor, scale: int, base: Tensor | None = None) -> Tensor:
        """Super-resolve.

        Args:
            lr: `(n, c, h, w)` in [0, 1].
            scale: the factor.
            base: `bicubic_resize(lr, scale)`, if it is there already; made here where it is needed.

        Returns:
            `(n, c, scale * h, scale * w)`, fp32, not clipped.

        Raises:
            ValueError: `lr` has other channels than the network, or the network does not enlarge by `scale`.
        """
        if lr.shape[1] == 3 and self.in_channels == 1:
            base = rgb_to_ycbcr(bicubic_resize(lr, scale) if base is None else base)
            y = self(rgb_to_y(lr), scale, base[:, :1])
            return ycbcr_to_rgb(torch.cat([y, base[:, 1:]], 1))
        if lr.shape[1] != self.in_channels:
            raise ValueError(f'the network takes {self.in_channels} channels, got {lr.shape[1]}')
        x, arguments = lr, {'scale': scale} if self.multi_scale else {}
        if self.pre_upsampling:
            x = bicubic_resize(lr, scale) if base is None else base
            arguments = {'scale': 1} if self.multi_scale else {}
        output = self.network(x, **arguments)
        expected = (*lr.shape[:2], lr.shape[2] * scale, lr.shape[3] * scale)
        if output.shape != expected:
            raise ValueError(f'gives {tuple(output.shape)} for x{scale} of {tuple(lr.shape)}, expected {expected}')
        return output.float()


def with_chroma(lr: Tensor, luma: Tensor) -> Tensor:
    """RGB of Y that was super-resolved, and of the chroma of LR, enlarged by bicubic.

    Args:
        lr: RGB, `(n, 3, h, w)` in [0, 1].
        luma: `(n, 1, scale * h, scale * w)`.
    """
    chroma = bicubic_resize(rgb_to_ycbcr(lr)[:, 1:], luma.shape[-1] // lr.shape[-1])
    return ycbcr_to_rgb(torch.cat([luma.float(), chroma], 1))


@torch.no_grad()
def probe(network: nn.Module, channels: int, lr_size: int = 16, scale: int | None = None) -> bool:
    """Whether a network wants its input enlarged before: run it on a black image and look at the size.

    Args:
        network: called with one tensor.
        channels: of its input.
        lr_size: side of the image.
        scale: the factor it is to enlarge by; any if None.

    Returns:
        True if the output has the size of the input, False if it is `scale` times as large.

    Raises:
        ValueError: neither, or another number of channels, or the network cannot run on such an image.
    """
    parameter = next(network.parameters(), None)
    x = torch.zeros(1, channels, lr_size, lr_size, device=None if parameter is None else parameter.device)
    with in_eval_mode(network):
        try:
            output = network(x)
        except UNFIT as error:
            reason = first_line(error)
            raise ValueError(f'cannot run on an image {channels}x{lr_size}x{lr_size}: {reason}') from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    expected = f'{scale} times the size, or the same' if scale else 'the same size, or a multiple of it'
    wrong = ValueError(f'turns an image {tuple(x.shape)} into {shape}; expected as many channels and {expected}')
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[:2] != x.shape[:2]:
        raise wrong
    height, width = output.shape[-2:]
    factor = height // lr_size
    if height != width or factor * lr_size != height or factor not in ((1, scale) if scale else range(1, lr_size + 1)):
        raise wrong
    return factor == 1


def freeze(network: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients for its weights; gradients may flow through. Gives the network."""
    return network.eval().requires_grad_(False)


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: batch norm must not learn from a probe."""
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
