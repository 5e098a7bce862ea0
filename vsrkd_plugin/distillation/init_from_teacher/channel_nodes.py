"""Nodes and labels: which indices of which parameters are one channel, kept in a union-find structure."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class ChannelNodes:
    """Nodes, one for each index of each dimension of a parameter, and which of them are one channel.

    A label is a node's number, from 1 on, as a float (exact up to 2^24), so that every operation that takes activations
    takes labels too. 0 stands for none: it is what padding with zeros writes.

    Attributes:
        slots: (parameter or buffer, dimension) → its first node.
        sizes: (parameter or buffer, dimension) → its number of nodes.
        flowing: nodes whose channel is one of activations, or is summed over; other dimensions (of a table, say) never
            shrink.
        pinned: nodes that meet what has no label: they cannot be chosen from.
        marks: node → (module, group) of what keeps it apart from its like: attention heads, groups of a norm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[tuple[str, int], int] = {}
        self.sizes: dict[tuple[str, int], int] = {}
        self.flowing: set[int] = set()
        self.pinned: set[int] = set()
        self.marks: dict[int, set[tuple[str, int]]] = {}
        self._parents: list[int] = []

    def where(self) -> str:
        """What is at work, for messages and marks."""
        return ''

    def nodes(self, name: str, dim: int, size: int) -> Tensor:
        """Labels of a slot, made where it is new."""
        if (name, dim) not in self.slots:
            self.slots[name, dim] = len(self._parents)
            self.sizes[name, dim] = size
            self._parents.extend(range(len(self._parents), len(self._parents) + size))
        first = self.slots[name, dim]
        return torch.arange(first + 1, first + 1 + size, dtype=torch.float32)

    def root(self, node: int) -> int:
        """What stands for all nodes that are one channel with this."""
        while self._parents[node] != node:
            self._parents[node] = self._parents[self._parents[node]]
            node = self._parents[node]
        return node

    def join(self, a: Tensor, b: Tensor) -> None:
        """Labels of one shape: where both are some, they are one channel."""
        both = (a > 0) & (b > 0)
        nodes = len(self._parents) + 1
        for pair in (a[both].long() * nodes + b[both].long()).unique().tolist():
            first, second = sorted((self.root(pair // nodes - 1), self.root(pair % nodes - 1)))
            self._parents[second] = first
            self.flowing.update((first, second))

    def flow(self, *labels: Tensor) -> None:
        self.flowing.update(node - 1 for label in labels for node in label.unique().long().tolist() if node)

    def pin(self, label: Tensor) -> None:
        self.pinned.update(node - 1 for node in label.unique().long().tolist() if node)

    def contract(self, one: Tensor, other: Tensor) -> None:
        self.join(one, other)
        self.pin(one[other == 0])
        self.pin(other[one == 0])

    def mark(self, groups: Tensor) -> None:
        """Labels of `(groups, …)`: distinct rows are kept apart."""
        rows = groups.flatten(1)
        seen: dict[tuple[float, ...], int] = {}
        for row in rows.unique(dim=0).tolist() if len(rows) > 1 else []:
            seen[tuple(row)] = len(seen)
        for row, number in seen.items():
            for node in set(row) - {0.0}:
                self.marks.setdefault(int(node) - 1, set()).add((self.where(), number))

    def steady(self, label: Tensor, dims: tuple[int, ...]) -> Tensor:
        """A label without some dimensions; the labels that change along them are one channel."""
        top = label.amax(dims, keepdim=True)
        if ((label != top) & (label > 0)).any():
            self.join(label, top.expand_as(label))
        return top.squeeze(dims)


def varies(label: Tensor, dim: int) -> bool:
    return label.shape[dim] > 1 and bool((label != label.narrow(dim, 0, 1)).any())


def is_varying(label: Tensor) -> bool:
    some = label[label > 0]
    return len(some) > 1 and bool((some != some[0]).any())


def is_finer(a: Tensor, b: Tensor) -> bool:
    """Whether `b` says no more than `a`: of which head a channel is, say."""
    return a is not b and bool(((a > 0) & (b > 0)).any()) and determines(a, b) and not determines(b, a)


def determines(a: Tensor, b: Tensor) -> bool:
    """Whether each label of `a` meets one label of `b` only."""
    both = (a > 0) & (b > 0)
    one, other = a[both].long(), b[both]
    seen = other.new_zeros(int(one.max()) + 1)
    seen[one] = other
    return bool((seen[one] == other).all())


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
