"""One network tried on one data set for validation: small black images first, large ones only where small do not do."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.adapters.image_sr import in_eval_mode
from vsrkd_plugin.errors import first_line

SMALL, LARGE = 16, 64  # pixels: sides that most networks take, and that all of BasicSR's take
_GRID = 64  # a crop keeps what is left of a side by 64: some networks want sides of a multiple of 8, 16, …
_MOST_SIZES = 16  # of a data set that are tried


@dataclass(frozen=True)
class Trial:
    """A data set and a network that it will be put through.

    Attributes:
        place: of the data set in the options (`datasets, val_x2`), for errors.
        dataset: the data set's options.
        key: of the network in the options (`network_g`), for errors.
        network: as the run builds it.
        arguments: the options that the network was built with.
    """

    place: str
    dataset: Mapping[str, Any]
    key: str
    network: nn.Module
    arguments: Mapping[str, Any]

    @torch.no_grad()
    def run(self, call: Callable[[Tensor], Any], shape: Sequence[int]) -> tuple[Tensor, Any]:
        """Call with black LR of a shape `(…, h, w)`, a batch of one: cropped, or, if it cannot take that, larger.

        Returns:
            The LR that did, and what the call gave.

        Raises:
            RuntimeError, ValueError, … (`UNFIT`): the call cannot take the whole either.
        """
        *tries, whole = _crops(shape)
        with in_eval_mode(self.network):
            for lq in tries:
                try:
                    return lq, call(lq)
                except UNFIT:  # perhaps it is too small; if not, the whole one fails alike
                    continue
            return whole, call(whole)


def cropped(side: int, to: int = SMALL) -> int:
    """A side to try with in the place of a larger one, pixels: the smallest of at least `to` with its remainder."""
    return min(to + (side - to) % _GRID, side)


def telling_sizes(sizes: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Of all LR sizes `(h, w)` of a data set those to try: one of each that are cropped alike, 16 at most.

    If there are more, those go first whose sides have the least power of two in common: they suit the fewest networks.
    """
    kinds: dict[tuple[int, ...], tuple[int, int]] = {}
    for size in sizes:
        kinds.setdefault(tuple(map(cropped, size)), size)
    return tuple(sorted(kinds.values(), key=lambda size: math.gcd(*size, _GRID))[:_MOST_SIZES])


def described(error: BaseException) -> str:
    """An error in one line; with its type where the text alone would be a mere key."""
    return f'{type(error).__name__} {first_line(error)}' if isinstance(error, LookupError) else first_line(error)


def _crops(shape: Sequence[int]) -> Iterator[Tensor]:
    *others, height, width = shape
    crops = [(cropped(height, to), cropped(width, to)) for to in (SMALL, LARGE)]
    for size in dict.fromkeys([*crops, (height, width)]):
        yield torch.zeros(1, *others, *size)
