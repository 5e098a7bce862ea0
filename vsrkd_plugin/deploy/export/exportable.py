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
from vsrkd_plugin.deploy.recurrent_step import RecurrentStep, can_step
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.model_file import ModelHeader
from vsrkd_plugin.synthesis.sources.dead_leaves import render_images

BATCH, HEIGHT, WIDTH = 'n', 'h', 'w'  # names of what is dynamic
_SEED = 2026  # of the made pictures
_FRAMES = 4  # of a made clip, a window on a picture that moves by one row and two columns a frame
_MOVED = _FRAMES - 1


@dataclass(frozen=True, eq=False)
class Exportable:
    """What is exported.

    Attributes:
        module: takes `inputs`, pictures in [0, 1], and gives `outputs`; in evaluation mode, on the CPU, fp32. It has no
            hooks and its parameters are copies: the model stays as it is.
        inputs: names of its inputs, in order, each with what is between batch and height: `(channels,)`, or
            `(frames, channels)` of a recurrent step, whose other inputs are its state.
        outputs: names of its outputs, `(n, c, h, w)` each, in order: SR first, then the next state.
        scale: the factor.
        header: of the file: one scale, and channels and range as the file takes them.
        size_multiple, min_size: of the sides of LR; a target that can pad takes any size all the same.
    """

    module: nn.Module
    inputs: dict[str, tuple[int, ...]]
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

    def copied(self, pads: bool = True) -> nn.Module:
        """A copy of the module, for a target to change; without `pads` it takes the network's own sizes alone."""
        module = copy.deepcopy(self.module)
        for part in module.modules():
            if isinstance(part, _Complying):
                part.pads &= pads
        return module

    @property
    def pads(self) -> bool:
        """Whether the network takes certain sizes alone."""
        return self.size_multiple > 1 or self.min_size > 1

    def fitting(self, side: int) -> int:
        """The least side of at least `side` that the network takes without padding."""
        return -(-max(side, self.min_size) // self.size_multiple) * self.size_multiple

    def outputs_of(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the module gives."""
        outputs = self.module(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def samples(self, count: int, height: int, width: int, batch: int = 1) -> Iterator[tuple[Tensor, ...]]:
        """`count` made inputs of `height` and `width`, a batch each: pictures of the procedural source.

        Of a recurrent step those of consecutive frames, the states being what the module itself made of the last ones.
        """
        shape, *states = self.inputs.values()
        if len(shape) == 1:
            for index in range(count):
                yield (made_pictures(index * batch, batch, shape[0], height, width),)
            return
        frames, channels = shape
        state = tuple(torch.zeros(batch, *middle, height, width) for middle in states)
        for index in range(count):
            moment = index % _FRAMES
            clip = made_pictures(index // _FRAMES * batch, batch, channels, height + _MOVED, width + 2 * _MOVED)
            times = [min(max(moment + step - frames // 2, 0), _FRAMES - 1) for step in range(frames)]
            window = torch.stack(
                [clip[..., time : time + height, 2 * time : 2 * time + width] for time in times], 1
            ).contiguous()
            if moment == 0:
                state = tuple(map(torch.zeros_like, state))
            yield window, *state
            with torch.no_grad():
                state = self.outputs_of((window, *state))[1:]


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
        module, {'input': (channels,)}, ('output',), scale, header, contract.size_multiple, contract.min_size
    )


def of_recurrent_model(model: Model) -> Exportable:
    """One step of a recurrent network: a frame with its neighbours and the state in, SR and the next state out.

    Raises:
        UserError: the network cannot be called frame by frame.
    """
    network = copy.deepcopy(model.network)
    if not can_step(network):
        raise UserError(
            f'{model.path}: {model.name} cannot be called for one frame at a time, so there is no step to export; '
            '--to safetensors keeps its weights'
        )
    step = RecurrentStep(network)
    states = {f'state{index}': (channels,) for index, channels in enumerate(step.state_channels)}
    header = replace(model.header, value_range=UNIT_RANGE)
    return Exportable(
        freeze(step),
        {'frames': (step.window, header.channels), **states},
        ('output', *(f'next_{name}' for name in states)),
        header.scales[0],
        header,
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
        self.pads = contract.size_multiple > 1 or contract.min_size > 1

    def forward(self, x: Tensor, **arguments: int) -> Tensor:
        height, width = x.shape[-2:]
        low, high = self.contract.value_range
        x = x * (high - low) + low
        if self.pads:
            x = self._padded(self._padded(x, -2), -1)
        output = self.network(x, **arguments)
        if self.pads:
            output = output[..., : self.factor * height, : self.factor * width]
        return (output - low) / (high - low)

    def _padded(self, x: Tensor, axis: int) -> Tensor:
        """As `pad_by_mirroring`; that has as many parts as a size needs, this one gathers."""
        least, multiple = self.contract.min_size, self.contract.size_multiple
        side = x.shape[axis]
        wanted = torch.sym_max(side, least) if least > 1 else side
        # As a tensor: ONNX has no remainder by a size.
        period = torch.scalar_tensor(2 * side, dtype=torch.int64, device=x.device)
        index = torch.arange((wanted + multiple - 1) // multiple * multiple, device=x.device) % period
        return x.index_select(axis, torch.where(index < side, index, period - 1 - index))
