"""The names and shapes of a state dict, asked by those who find out which network it is of."""

import re
from collections.abc import Mapping

from torch import Tensor

Shape = tuple[int, ...]


class UnlikeFamily(Exception):
    """A state dict that is not of the family looked for; says what is missing or otherwise."""


class Shapes:
    """Names and shapes of a state dict.

    Args:
        weights: the state dict.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.by_name: dict[str, Shape] = {name: tuple(value.shape) for name, value in weights.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def shape(self, name: str, dims: int = 4) -> Shape:
        """The shape of an entry.

        Raises:
            UnlikeFamily: there is no such entry, or it has not `dims` dimensions.
        """
        found = self.by_name.get(name)
        if found is None:
            raise UnlikeFamily(f'no entry {name}')
        if len(found) != dims:
            raise UnlikeFamily(f'{name} has shape {found}, expected {dims} dimensions')
        return found

    def count(self, pattern: str) -> int:
        """How many numbers stand in place of the group of `pattern`, from 0 or 1 on: of blocks, say.

        Raises:
            UnlikeFamily: none.
        """
        return len(self._numbers(pattern))

    def last(self, pattern: str) -> int:
        """The largest number that stands in place of the group of `pattern`.

        Raises:
            UnlikeFamily: none; or one that is far beyond the number of entries, of which a network would be built.
        """
        found = max(self._numbers(pattern))
        if found > 10 * len(self.by_name):
            raise UnlikeFamily(f'{len(self.by_name)} entries, but one of number {found}')
        return found

    def _numbers(self, pattern: str) -> set[int]:
        numbers = {int(found.group(1)) for name in self.by_name if (found := re.match(pattern, name))}
        if not numbers:
            raise UnlikeFamily(f'no entry like {pattern}')
        return numbers

    def has(self, pattern: str) -> bool:
        """Whether some name begins as `pattern` says."""
        return any(re.match(pattern, name) for name in self.by_name)


def square_root(number: int, what: str) -> int:
    """The root of a square number; raises `UnlikeFamily` of others."""
    root = round(number**0.5)
    if number < 1 or root * root != number:
        raise UnlikeFamily(f'{what} is {number}, expected a square number')
    return root


def quotient(number: int, by: int, what: str) -> int:
    """`number / by`, which must be whole; raises `UnlikeFamily` where it is not."""
    if by < 1 or number % by:
        raise UnlikeFamily(f'{what} is {number}, expected a multiple of {by}')
    return number // by
