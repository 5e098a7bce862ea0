"""Quantisation-aware distillation without data: the weights learn to give in 8 bits what they gave in fp32.

The network's own fp32 answers on made pictures are what is learned, so neither its teacher nor a data set is needed.
Rounding is simulated where onnxruntime's quantiser will put it, by PyTorch's own functions, whose gradient passes
through; that quantiser then works on the weights that were learned.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.deploy.quantise import PERCENTILE, Layers, check_layers
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_BATCH, _SIDE, _RATE, _SEED = 4, 32, 1e-4, 2027
_OBSERVED = 16  # batches that tell the ranges
_TOLD_EVERY = 50


def tune(
    exportable: Exportable, layers: Layers, steps: int, say: Callable[[str], None], outputs: bool = True
) -> Exportable:
    """Train for 8 bits.

    Args:
        exportable: of a network of pictures; stays as it is.
        layers: of its graph: those that will be in 8 bits.
        steps: of Adam, a batch of 4 pictures each.
        say: is told how near the answers in 8 bits are.
        outputs: of convolutions will be in 8 bits too.

    Returns:
        The same with other weights.

    Raises:
        UserError: it has a state, or no layers for 8 bits.
    """
    if len(exportable.inputs) > 1:
        raise UserError('--tune: is for networks of pictures')
    check_layers(layers, exportable)
    ((channels,),) = exportable.inputs.values()
    side = exportable.fitting(_SIDE)
    source = ProceduralSource(
        channels=channels, lr_sizes={exportable.scale: side}, seed=_SEED, num_images=512, image_size=max(96, side)
    )
    learning = exportable.copied().requires_grad_(True)
    convolutions = [(learning.get_submodule(layer.module), layer.is_activated) for layer in layers.modules]
    points = [_Point(convolution, outputs and not is_activated) for convolution, is_activated in convolutions]
    with torch.no_grad():
        for _ in range(_OBSERVED):
            learning(source.next(_BATCH, exportable.scale).lr)
    for point in points:
        point.round_from_now_on()
    parameters = [parameter for parameter in learning.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    squares: list[Tensor] = []
    for step in range(1, steps + 1):
        lr = source.next(_BATCH, exportable.scale).lr
        with torch.no_grad():
            target = exportable.module(lr)
        difference = learning(lr) - target
        optimizer.zero_grad()
        difference.abs().mean().backward()
        optimizer.step()
        schedule.step()
        squares.append(difference.detach().square().mean())
        if step % _TOLD_EVERY == 0 or step == steps:
            near = -10 * torch.log10(torch.stack(squares).mean().clamp_min(1e-20))
            squares.clear()
            say(f'learning 8 bits: step {step} of {steps}, {float(near):.1f} dB from fp32')
    for point in points:
        point.remove()
    return replace(exportable, module=learning.eval().requires_grad_(False))


class _Point:
    """A convolution whose input and weight, and output if it is to be, are rounded to 8 bits."""

    def __init__(self, convolution: nn.Module, output: bool) -> None:
        self.convolution = convolution
        self.ranges: dict[str, list[tuple[Tensor, Tensor]]] = {'input': [], 'output': []}
        self.fixed: dict[str, tuple[float, int]] = {}
        self.hooks = [convolution.register_forward_pre_hook(lambda module, inputs: (self._seen('input', inputs[0]),))]
        if output:
            self.hooks.append(
                convolution.register_forward_hook(lambda module, inputs, output: self._seen('output', output))
            )

    def round_from_now_on(self) -> None:
        for place, ranges in self.ranges.items():
            if ranges:
                low = min(float(torch.stack([one for one, _ in ranges]).mean()), 0.0)
                high = max(float(torch.stack([one for _, one in ranges]).mean()), 0.0)
                step = max((high - low) / 255, 1e-8)
                self.fixed[place] = step, min(max(round(-low / step), 0), 255)
        # Transposed convolutions keep their output channels second, as onnxruntime's quantiser knows.
        axis = int(isinstance(self.convolution, nn.ConvTranspose2d))
        parametrize.register_parametrization(self.convolution, 'weight', _Rounded(axis))

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()
        parametrize.remove_parametrizations(self.convolution, 'weight', leave_parametrized=False)

    def _seen(self, place: str, x: Tensor) -> Tensor:
        if place in self.fixed:
            return torch.fake_quantize_per_tensor_affine(x, *self.fixed[place], 0, 255)
        left_out = max(int(x.numel() * (100 - PERCENTILE) / 200), 1)  # at each end
        values = x.detach().flatten()
        self.ranges[place].append((-torch.topk(-values, left_out)[0][-1], torch.topk(values, left_out)[0][-1]))
        return x


class _Rounded(nn.Module):
    """A weight in 8 bits, a scale for each output channel; these lie along `axis`."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        step = weight.detach().abs().transpose(0, self.axis).flatten(1).amax(1).clamp_min(1e-8) / 127
        zero = torch.zeros(len(step), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, step, zero, self.axis, -127, 127)
