"""Least squares for single layers."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsrkd_plugin.distillation.init_from_teacher.gram import can_sum, gram_of, moment_of
from vsrkd_plugin.ops.low_rank import Layer, LowRankConv

_CHUNK = 16  # patches unfolded at a time: 9 copies of each activation


def spread(count: int, depth: int) -> list[int]:
    """`count` positions spread evenly over `depth`, first and last included."""
    if not 1 <= count <= depth:
        raise ValueError(f'cannot spread {count} positions over {depth}')
    return [round(i * (depth - 1) / max(count - 1, 1)) for i in range(count)]


@torch.no_grad()
def refit(layer: Layer, x: Tensor, target: Tensor, ridge: float = 1e-4) -> None:
    """Set a convolution's weights (and bias) so that it maps `x` to `target` in the least-squares sense.

    A pair of low rank takes what is nearest to the whole convolution's weights, in what comes out; then its second
    half is fitted again, to what the first one has left.

    Args:
        layer: stride 1, one group, padded with zeros by a number of pixels.
        x: `(n, in_channels, h, w)`.
        target: `(n, out_channels, h, w)`.
        ridge: penalty on the squared weights, relative to the mean squared input.

    Raises:
        ValueError: a layer of another kind.
    """
    if isinstance(layer, LowRankConv):
        whole = layer.merged()
        refit(whole, x, target, ridge)
        layer.set_weight(whole.weight, _column_products(layer.first, x))
        refit(layer.second, in_chunks(partial(convolve, layer.first), x), target, ridge)
        layer.balance()
        return
    padding: str | tuple[int, ...] = layer.padding
    if isinstance(padding, str) or layer.padding_mode != 'zeros' or layer.groups != 1 or set(layer.stride) != {1}:
        raise ValueError(f'cannot refit {layer}; expected stride 1, one group and zero padding given in pixels')
    size = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    fit = _NormalEquations(layer, x, target)
    solution = fit.solve(size, ridge).to(layer.weight)
    layer.weight.copy_(solution[:size].T.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(solution[size])


@torch.no_grad()
def compensate(layer: nn.Conv2d | nn.Linear, x: Tensor, target: Tensor, ridge: float = 1e-4) -> bool:
    """Correct a layer's weights (and bias) towards mapping `x` to `target`, unless there is too little to learn from.

    The correction, not the weights, is penalised, so that what is right already stays. A sixth of `x` judges it: it is
    made only if the error there becomes smaller.

    Args:
        layer: of one group.
        x: of a convolution `(n, in_channels, h, w)`, else `(…, in_features)`.
        target: what the layer gives, in its shape.
        ridge: penalty on the squared correction, relative to the mean squared input.

    Returns:
        Whether the layer was corrected.
    """
    size = layer.weight[0].numel()
    if getattr(layer, 'groups', 1) != 1 or target.numel() // len(layer.weight) < 4 * size or len(x) < 2:
        return False
    missing = target - in_chunks(layer.forward, x)
    held = max(len(x) // 6, 1)
    solution = _NormalEquations(layer, x[held:], missing[held:]).solve(size, ridge).to(layer.weight)
    weight = layer.weight + solution[:size].T.reshape(layer.weight.shape)
    bias = None if layer.bias is None else layer.bias + solution[size]
    before = layer.weight.clone(), None if layer.bias is None else layer.bias.clone()
    _set(layer, weight, bias)
    # Written so that an error that is not finite counts as a larger one.
    if (target[:held] - in_chunks(layer.forward, x[:held])).square().sum() < missing[:held].square().sum():
        return True
    _set(layer, *before)
    return False


def _set(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight.copy_(weight)
    if layer.bias is not None and bias is not None:
        layer.bias.copy_(bias)


def _column_products(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The mean outer product of what a convolution reads for an output."""
    total = x.new_zeros(layer.weight[0].numel(), layer.weight[0].numel(), dtype=torch.float64)
    for part in x.float().split(_CHUNK):
        total += gram_of(layer, part).double()
    return total / (x.shape[0] * x.shape[2] * x.shape[3])


class _NormalEquations:
    """Of the least squares for a layer that maps `x` to `target`."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, x: Tensor, target: Tensor) -> None:
        size, outputs = layer.weight[0].numel(), len(layer.weight)
        columns = size + (layer.bias is not None)
        self.gram = x.new_zeros(columns, columns, dtype=torch.float64)
        self.moment = x.new_zeros(columns, outputs, dtype=torch.float64)
        for part, wanted in zip(x.split(_CHUNK), target.split(_CHUNK), strict=True):
            if isinstance(layer, nn.Conv2d) and can_sum(layer):
                self._add_sums(layer, part, wanted)
            else:
                self._add_rows(layer, part, wanted.permute(0, 2, 3, 1) if isinstance(layer, nn.Conv2d) else wanted)

    def _add_sums(self, layer: nn.Conv2d, x: Tensor, target: Tensor) -> None:
        if layer.bias is None:
            self.gram += gram_of(layer, x).double()
            self.moment += moment_of(layer, x, target).double()
            return
        ones = target.new_ones(len(target), 1, *target.shape[2:])
        moment = moment_of(layer, x, torch.cat([target, ones], 1)).double()
        self.gram[:-1, :-1] += gram_of(layer, x).double()
        self.gram[:-1, -1] += moment[:, -1]
        self.gram[-1, :-1] += moment[:, -1]
        self.gram[-1, -1] += ones.numel()
        self.moment[:-1] += moment[:, :-1]
        self.moment[-1] += target.sum((0, 2, 3)).double()

    def _add_rows(self, layer: nn.Conv2d | nn.Linear, x: Tensor, target: Tensor) -> None:
        rows = _rows(layer, x)
        if layer.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        self.gram += (rows.T @ rows).double()
        self.moment += (rows.T @ target.reshape(-1, len(layer.weight))).double()

    def solve(self, size: int, ridge: float) -> Tensor:
        """Weights, and below them the bias, which is not penalised: `(columns, outputs)`."""
        penalty = ridge * self.gram.diagonal()[:size].mean() + torch.finfo(torch.float32).tiny
        self.gram.diagonal()[:size] += penalty
        return torch.linalg.lstsq(self.gram.cpu(), self.moment.cpu(), driver='gelsd').solution


def _rows(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """What a layer reads for each of its outputs: `(rows, size)`."""
    size = layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, size)
    padding: str | tuple[int, ...] = layer.padding
    if isinstance(padding, str) or layer.padding_mode != 'zeros':
        mode = 'constant' if layer.padding_mode == 'zeros' else layer.padding_mode
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode), (0, 0)
    assert not isinstance(padding, str)
    return F.unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride).transpose(1, 2).reshape(-1, size)


def convolve(layer: Layer, x: Tensor) -> Tensor:
    """A layer in fp32, whatever autocast says."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of patches, a few at a time."""
    return torch.cat([function(part) for part in x.split(_CHUNK)])
