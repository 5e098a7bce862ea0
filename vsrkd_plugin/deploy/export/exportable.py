"""A model as what an exporter traces: one function of tensors, without hooks, for images of any size."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply, needs_hooks
from vsrkd_plugin.adapters.contract import UNIT_RANGE, NetworkContract, noted
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.model_file import ModelHeader
from vsrkd_plugin.synthesis.sources.dead_leaves import render_images

BATCH, HEIGHT, WIDTH = 'n', 'h', 'w'  # names of what is dynamic
_SEED = 2026  # of the made pictures


@dataclass(frozen=True, eq=False)
class Exportable:
    """What is exported.

    Attributes:
        module: takes `inputs`, `(n, c, h, w)` each, in [0, 1] where they are pictures, and gives `outputs`; in
            evaluation mode, on the CPU, fp32. It has no hooks and its parameters are copies: the model stays as it is.
        inputs: names of its inputs, in order, each with its channels.
        outputs: names of its outputs, in order.
        scale: the factor.
        header: of the file: one scale, and channels and range as the file takes them.
        size_multiple, min_size: of the sides of LR; a target that can pad takes any size all the same.
    """

    module: nn.Module
    inputs: dict[str, int]
    outputs: tuple[str, ...]
    scale: int
    header: ModelHeader
    size_multiple: int = 1
    min_size: int = 1

    @property
    def factors(self) -> dict[str, int]:
        """How many times larger than LR each output is."""
        return {name: self.scale if index == 0 else 1 for index, name in enumerate(self.outputs)}

    def file_header(self, precision: str) -> ModelHeader:
        """The header of a file of it."""
        return replace(self.header, precision=precision)

    def copied(self) -> nn.Module:
        """A copy of the module, for a target to change."""
        return copy.deepcopy(self.module)

    def fitting(self, side: int) -> int:
        """The least side of at least `side` that the network takes without padding."""
        return -(-max(side, self.min_size) // self.size_multiple) * self.size_multiple

    def outputs_of(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the module gives."""
        outputs = self.module(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def samples(
        self, count: int, height: int, width: int, batch: int = 1, first: int = 0
    ) -> Iterator[tuple[Tensor, ...]]:
        """`count` made inputs, `(batch, c, height, width)` each: pictures of the procedural source, from number `first`.

        Of a recurrent step those of consecutive frames, the states being what the module itself made of the last ones.
        """
        (channels,) = self.inputs.values()
        for index in range(first, first + count):
            yield (made_pictures(index * batch, batch, channels, height, width),)


def made_pictures(first: int, count: int, channels: int, height: int, width: int) -> Tensor:
    """Pictures of the procedural source: `(count, channels, height, width)`, fp32 in [0, 1]."""
    pictures = render_images(_SEED, range(first, first + count), max(height, width), channels)
    return pictures[..., :height, :width].contiguous()


def of_image_model(model: Model, scale: int, rgb: bool = False) -> Exportable:
    """The part of an image model that a file holds: LR in, SR out, bicubic included where the network wants it.

    Args:
        model: of images.
        scale: one of its scales.
        rgb: have a network of Y take RGB, chroma by bicubic.
    """
    adapter = model.adapter
    assert isinstance(adapter, ImageSRAdapter)
    contract = NetworkContract.of(adapter.network)
    channels = 3 if rgb else adapter.in_channels
    inner = copy.deepcopy(adapter)
    if needs_hooks(contract):
        inner.network = _Complying(without_hooks(inner.network), contract, 1 if inner.pre_upsampling else scale)
    header = replace(model.header, scales=(scale,), channels=channels, value_range=UNIT_RANGE)
    module = freeze(_AtScale(inner, scale))
    return Exportable(
        module, {'input': channels}, ('output',), scale, header, contract.size_multiple, contract.min_size
    )


def without_hooks(network: nn.Module) -> nn.Module:
    """Have a network take its own range and sizes alone; gives the network."""
    return comply(network, {**noted(network).said, 'value_range': UNIT_RANGE, 'size_multiple': 1, 'min_size': 1})


def chosen_scale(model: Model, scale: int | None) -> int:
    """The one scale of a file.

    Raises:
        UserError: the model has several and none is named, or not this one.
    """
    scales = model.header.scales
    told = ', '.join(map(str, scales))
    if scale is None:
        if len(scales) > 1:
            raise UserError(f'{model.path}: enlarges by {told}; a file has one scale: name it (-s {scales[0]})')
        return scales[0]
    if scale not in scales:
        raise UserError(f'{model.path}: enlarges by {told}, not by {scale} (-s)')
    return scale


class _AtScale(nn.Module):
    """An adapter with its scale."""

    def __init__(self, adapter: nn.Module, scale: int) -> None:
        super().__init__()
        self.adapter, self.scale = adapter, scale

    def forward(self, lr: Tensor) -> Tensor:
        return self.adapter(lr, self.scale)


class _Complying(nn.Module):
    """Does what the hooks of `comply` do, in operations that a graph of any size can hold.

    Args:
        network: without hooks.
        contract: what its hooks kept to.
        factor: by which it enlarges what it is given.
    """

    def __init__(self, network: nn.Module, contract: NetworkContract, factor: int) -> None:
        super().__init__()
        self.network, self.contract, self.factor = network, contract, factor

    def forward(self, x: Tensor, **arguments: int) -> Tensor:
        height, width = x.shape[-2:]
        low, high = self.contract.value_range
        x = x * (high - low) + low
        x = self._padded(self._padded(x, -2), -1)
        output = self.network(x, **arguments)
        output = output[..., : self.factor * height, : self.factor * width]
        return (output - low) / (high - low)

    def _padded(self, x: Tensor, axis: int) -> Tensor:
        """As `pad_by_mirroring`; that has as many parts as a size needs, this one gathers."""
        least, multiple = self.contract.min_size, self.contract.size_multiple
        if least == multiple == 1:
            return x
        side = x.shape[axis]
        wanted = torch.sym_max(side, least) if least > 1 else side
        # As a tensor: ONNX has no remainder by a size.
        period = torch.scalar_tensor(2 * side, dtype=torch.int64, device=x.device)
        index = torch.arange((wanted + multiple - 1) // multiple * multiple, device=x.device) % period
        return x.index_select(axis, torch.where(index < side, index, period - 1 - index))
