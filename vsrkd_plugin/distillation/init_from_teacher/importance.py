"""Which channels of a layer matter: how active they are, and how strongly the next layer reads them."""

from torch import Tensor, nn


def energy(x: Tensor) -> Tensor:
    """Mean square of each channel of `(n, c, h, w)`: `(c,)`."""
    return x.square().mean((0, 2, 3))


def reading_strength(layer: nn.Conv2d) -> Tensor:
    """Squared norm of the weights by which a layer reads each of its input channels: `(in_channels,)`."""
    return layer.weight.square().sum((0, 2, 3))


def most_important(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest of `(c,)`, in ascending order."""
    return importance.topk(count).indices.sort().values
