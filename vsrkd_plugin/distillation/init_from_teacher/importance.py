"""Which channels of a layer matter: how active they are, and how strongly the next layer reads them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vsrkd_plugin.ops.low_rank import Layer


def energy(x: Tensor) -> Tensor:
    """Mean square of each channel of `(n, c, h, w)`: `(c,)`."""
    return x.square().mean((0, 2, 3))


def reading_strength(layer: Layer) -> Tensor:
    """Squared norm of the weights by which a layer reads each of its input channels: `(in_channels,)`."""
    return layer.weight.square().sum((0, 2, 3))


def most_important(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of `(c,)`, in ascending order."""
    return importance.topk(count).indices.sort().values


class Reading(NamedTuple):
    """Channels as one layer reads them: their covariance, and the products of the weights that read them; `(c, c)`."""

    covariance: Tensor
    weights: Tensor

    @classmethod
    def of(cls, rows: Tensor, weight: Tensor | None = None) -> 'Reading':
        """Of what a layer of this weight, `(outputs, c, …)`, reads: `(rows, c)`. No weight: each for itself."""
        centred = rows - rows.mean(0)
        covariance = (centred.T @ centred / len(rows)).double().cpu()
        if weight is None:
            return cls(covariance, torch.eye(len(covariance), dtype=torch.float64))
        taps = weight.movedim(1, 0).flatten(1)
        return cls(covariance, (taps @ taps.T).double().cpu())

    def at(self, channels: Sequence[int]) -> 'Reading':
        """Of some of the channels."""
        index = torch.tensor(channels)
        return Reading(self.covariance[index][:, index], self.weights[index][:, index])


def most_telling(readings: Sequence[Reading], count: int) -> Tensor:
    """Indices of `count` channels from which the others can best be told, in ascending order.

    Each layer that reads them is refitted on those that are kept; what it loses is what they do not tell of the others,
    as far as it reads that. They are taken one after the other, each the one that lessens the sum of the losses most
    (greedy column subset selection; what is left of a covariance is its Schur complement).

    Args:
        readings: the same channels, as each layer reads them.
        count: how many to keep.
    """
    covariances = torch.stack([reading.covariance for reading in readings])
    weights = torch.stack([reading.weights for reading in readings])
    whole = covariances.diagonal(dim1=1, dim2=2).clone()
    floor = 1e-6 * whole.amax(1, keepdim=True) + torch.finfo(torch.float64).tiny
    kept: list[int] = []
    for _ in range(count):
        left = covariances.diagonal(dim1=1, dim2=2)
        gains = ((covariances * (weights @ covariances)).sum(1) / (left + floor)).sum(0)
        gains[kept] = -1
        kept.append(int(gains.argmax()))
        column = covariances[:, :, kept[-1]]
        covariances = covariances - column[:, :, None] * column[:, None, :] / (
            column[:, kept[-1], None, None] + floor[..., None]
        )
    return torch.tensor(sorted(kept))
