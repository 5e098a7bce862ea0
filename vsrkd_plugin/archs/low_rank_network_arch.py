"""Any network with its channels kept and its convolutions of low rank."""

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from vsrkd_plugin.ops.low_rank import check_rank, lower_rank

_MOST = 1 << 16  # of channels that networks have


@ARCH_REGISTRY.register()
def LowRankNetwork(*, network: Mapping[str, Any], rank: int) -> nn.Module:
    """A registered network, each of its k x k convolutions a (k x 1) to `rank` channels and a (1 x k) back.

    Only such of more than `rank` channels, so that first and last layers stay. What it takes and gives stays; in its
    state dict `NAME.weight` becomes `NAME.0.weight` and `NAME.1.weight`.

    Args:
        network: its options, with `type`.
        rank: channels between, fewer than the network has; two thirds of these have about as many weights as before.

    Raises:
        ValueError: `rank` is no whole number from 1, `network` no mapping, or no convolution of it gains.
    """
    check_rank(rank, _MOST)
    if not isinstance(network, Mapping):
        raise ValueError(f'network: expected {{type: …}}, got {network!r}')
    options = dict(network)
    built = ARCH_REGISTRY.get(options.pop('type'))(**options)
    if not lower_rank(built, rank):
        raise ValueError(f'rank {rank} makes no convolution of {type(built).__name__} smaller; expected a lower one')
    return built
