"""Networks whose convolutions are pairs of low rank, told from their weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.low_rank import LowRankConv


def without_pairs(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int] | None:
    """A state dict with one weight in the place of each pair, and their rank; None if there is no pair, or several
    ranks."""
    found: dict[str, Tensor] = {}
    ranks = set()
    for name, value in weights.items():
        stem, _, half = name.rpartition('.0.weight')
        second = weights.get(f'{stem}.1.weight')
        if half == '' and stem and second is not None and _are_a_pair(value, second):
            pair = LowRankConv(value.shape[1], second.shape[0], len(value), value.shape[2], bias=False)
            with torch.no_grad():
                pair.first.weight.copy_(value)
                pair.second.weight.copy_(second)
                found[f'{stem}.weight'] = pair.weight.to(value.dtype)
            ranks.add(len(value))
    if len(ranks) != 1:
        return None
    stems = {name.removesuffix('.weight') for name in found}
    for name, value in weights.items():
        stem = next((name.removesuffix(end) for end in ('.0.weight', '.1.weight', '.1.bias') if name.endswith(end)), '')
        if stem not in stems:
            found[name] = value
        elif name.endswith('bias'):
            found[f'{stem}.bias'] = value
    return found, ranks.pop()


def _are_a_pair(first: Tensor, second: Tensor) -> bool:
    """(k x 1) to as many channels as a (1 x k) reads."""
    if first.ndim != 4 or second.ndim != 4 or not first.is_floating_point():
        return False
    k = first.shape[2]
    return first.shape[3] == 1 and second.shape[1:] == (len(first), 1, k) and k > 1 and k % 2 == 1


def of_low_rank(options: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """Options of a network with pairs, of those of the network without them."""
    if takes_rank(options):
        return {**options, 'rank': rank}
    return {'type': 'LowRankNetwork', 'network': dict(options), 'rank': rank}


def takes_rank(options: Mapping[str, Any]) -> bool:
    """Whether a network's own class has pairs; of other classes only this package builds such networks."""
    return options['type'] == 'VDSR'
