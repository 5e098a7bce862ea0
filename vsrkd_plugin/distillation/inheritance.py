"""The student's start from its teacher: channels chosen, then every layer refitted by least squares."""

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 16  # patches unfolded at a time: 9 copies of each activation


def spread(count: int, depth: int) -> list[int]:
    """`count` positions spread evenly over `depth`, first and last included."""
    if not 1 <= count <= depth:
        raise ValueError(f'cannot spread {count} positions over {depth}')
    return [round(i * (depth - 1) / max(count - 1, 1)) for i in range(count)]


@torch.no_grad()
def channel_importance(chain: Sequence[nn.Conv2d], x: Tensor) -> list[Tensor]:
    """How much each channel behind each hidden layer matters: (mean squared activation) x (squared norm of the weights
    that read it).

    Args:
        chain: convolutions in order, a ReLU behind each but the last.
        x: inputs, `(n, c, h, w)`.

    Returns:
        A `(channels,)` tensor for each layer but the last.
    """
    importance = []
    for layer, reader in itertools.pairwise(chain):
        x = _in_chunks(lambda part, layer=layer: F.relu(_convolve(layer, part)), x)
        importance.append(x.square().mean((0, 2, 3)) * reader.weight.square().sum((0, 2, 3)))
    return importance


@torch.no_grad()
def refit(layer: nn.Conv2d, x: Tensor, target: Tensor, ridge: float = 1e-4) -> None:
    """Set a convolution's weights (and bias) so that it maps `x` to `target` in the least-squares sense.

    Args:
        layer: stride 1, one group.
        x: `(n, in_channels, h, w)`.
        target: `(n, out_channels, h, w)`.
        ridge: penalty on the squared weights, relative to the mean squared input.
    """
    size = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    columns = size + (layer.bias is not None)
    gram = x.new_zeros(columns, columns, dtype=torch.float64)
    moment = x.new_zeros(columns, layer.out_channels, dtype=torch.float64)
    for part, wanted in zip(x.split(_CHUNK), target.split(_CHUNK), strict=True):
        rows = F.unfold(part, layer.kernel_size, layer.dilation, layer.padding).transpose(1, 2).reshape(-1, size)
        if layer.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        gram += (rows.T @ rows).double()
        moment += (rows.T @ wanted.permute(0, 2, 3, 1).reshape(-1, layer.out_channels)).double()
    penalty = ridge * gram.diagonal()[:size].mean() + torch.finfo(torch.float32).tiny
    gram.diagonal()[:size] += penalty
    solution = torch.linalg.lstsq(gram.cpu(), moment.cpu(), driver='gelsd').solution.to(layer.weight)
    layer.weight.copy_(solution[:size].T.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(solution[size])


@torch.no_grad()
def inherit(
    teacher: Sequence[nn.Conv2d],
    student: Sequence[nn.Conv2d],
    x: Tensor,
    active: int | None = None,
    ridge: float = 1e-4,
) -> list[Tensor]:
    """Start a student from the channels of its teacher.

    In each layer the most important channels are kept; then, walking forward, each of the student's layers is refitted
    from the *student's own* activations to the *teacher's* pre-activations of the kept channels, so that it makes good
    what the layers before it lost. Blocks beyond `active` are left alone (they are identity until they grow).

    Args:
        teacher, student: chains of convolutions: input, blocks, output; a ReLU behind each but the last.
        x: inputs of the chains, `(n, c, h, w)`; about a hundred patches.
        active: the student's blocks to fit; spread evenly over the teacher's. Default all.
        ridge: as in `refit`.

    Returns:
        The kept channels of each fitted hidden layer.

    Raises:
        ValueError: the student is deeper or wider than the teacher, or their inputs or outputs differ.
    """
    active = len(student) - 2 if active is None else active
    blocks = len(teacher) - 2
    if active > blocks:
        raise ValueError(f'a student of {active} blocks cannot start from a teacher of {blocks}')
    if (student[0].in_channels, student[-1].out_channels) != (teacher[0].in_channels, teacher[-1].out_channels):
        raise ValueError('teacher and student differ in the channels of their input or output')
    sources = [0, *(1 + i for i in spread(active, blocks)), len(teacher) - 1]
    layers = [student[0], *student[1 : 1 + active], student[-1]]
    importance = channel_importance(teacher, x)
    kept = []
    ours = theirs = x
    position = 0  # teacher layers that `theirs` has been through
    for layer, source in zip(layers, sources, strict=True):
        while position < source:
            theirs = _in_chunks(lambda part, i=position: F.relu(_convolve(teacher[i], part)), theirs)
            position += 1
        target = _in_chunks(lambda part, i=source: _convolve(teacher[i], part), theirs)
        if source < len(teacher) - 1:
            if layer.out_channels > target.shape[1]:
                raise ValueError(
                    f'a student of {layer.out_channels} channels cannot start from a teacher of {target.shape[1]}'
                )
            kept.append(importance[source].topk(layer.out_channels).indices.sort().values)
            target = target[:, kept[-1]]
        refit(layer, ours, target, ridge)
        if source < len(teacher) - 1:
            ours = _in_chunks(lambda part, layer=layer: F.relu(_convolve(layer, part)), ours)
    return kept


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def _in_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([function(part) for part in x.split(_CHUNK)])
