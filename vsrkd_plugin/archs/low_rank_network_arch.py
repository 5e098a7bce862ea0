"""Any network with its channels kept and its convolutions of low rank."""

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from vsrkd_plugin.ops.low_rank import lower_rank


@ARCH_REGISTRY.register()
def LowRankNetwork(*, network: Mapping[str, Any], rank: int) -> nn.Module:
    """A registered network, each of its k x k convolutions a (k x 1) to `rank` channels and a (1 x k) back.

    Only such of more than `rank` channels, so that first and last layers stay. What it takes and gives stays; in its
    state dict `NAME.weight` becomes `NAME.0.weight` and `NAME.1.weight`.

    Args:
        network: its options, with `type`.
        rank: channels between, fewer than the network has; two thirds of these have about as many weights as before.

    Raises:
        ValueError: `rank` below 1, or no convolution of the network gains by it.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f'rank must be a whole number from 1, got {rank!r}')
    options = dict(network)
    built = ARCH_REGISTRY.get(options.pop('type'))(**options)
    if not lower_rank(built, rank):
        raise ValueError(f'rank {rank} makes no convolution of {type(built).__name__} smaller; expected a lower one')
    return built
