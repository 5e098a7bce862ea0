"""A network's channels by what they belong to, and which of a teacher's a narrower student of its class keeps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsrkd_plugin.distillation.init_from_teacher.channel_labels import Call, ChannelLabels, Operation
from vsrkd_plugin.distillation.init_from_teacher.importance import most_important

Slot = tuple[str, int]  # a parameter or buffer, and one of its dimensions
Signature = frozenset[tuple[str, int, str]]  # slots, and marks of what keeps their channels apart


class Sum(NamedTuple):
    """Where a layer's output, times `factor`, is added to what was there before.

    Results are named by (operation, which of its results).
    """

    result: tuple[int, int]
    other: tuple[int, int]
    factor: float


@dataclass(frozen=True)
class ChannelGraph:
    """The channels of a network.

    Attributes:
        groups: signature → its channels, in order. Channels of one signature stand in the same places, and may be chosen
            from.
        where: slot → of each index its signature and its channel's position there.
        pinned: signatures of which none may be left out.
        calls: the layers (Conv2d, Linear) that ran, in order.
        operations: all that ran.
        sums: layer → the sum that its output goes into, where it does.
    """

    groups: dict[Signature, list[int]]
    where: dict[Slot, list[tuple[Signature, int]]]
    pinned: set[Signature]
    calls: list[Call]
    operations: list[Operation]
    sums: dict[str, Sum]

    @classmethod
    def of(
        cls, network: nn.Module, call: Callable[[Tensor], Any], x: Tensor, names: Callable[[str], str | None] = str
    ) -> 'ChannelGraph':
        """The graph of a network, in evaluation mode.

        Args:
            network: whose parameters are looked at.
            call: calls it.
            x: an image, `(n, c, h, w)`.
            names: what a module's, parameter's or buffer's name is called in the graph; None leaves it out.

        Raises:
            ValueError: an operation of it is not known.
        """
        labels = ChannelLabels(network)
        labels.run(call, x)
        members: dict[int, set[tuple[str, int, str]]] = {}
        fixed: set[int] = {labels.root(node) for node in labels.pinned}
        moving: set[int] = {labels.root(node) for node in labels.flowing}
        named = [(name, dim, names(name)) for name, dim in labels.slots]
        for name, dim, called in named:
            first = labels.slots[name, dim]
            for node in range(first, first + labels.sizes[name, dim]):
                slots = members.setdefault(labels.root(node), set())
                if called is not None:
                    slots.add((called, dim, ''))
                    marks = labels.marks.get(node, ())
                    slots.update((f'{names(module)}', number, 'group') for module, number in marks)
        groups: dict[Signature, list[int]] = {}
        places: dict[int, tuple[Signature, int]] = {}
        where: dict[Slot, list[tuple[Signature, int]]] = {}
        pinned: set[Signature] = set()
        for name, dim, called in sorted(named, key=lambda slot: (slot[2] or '', slot[1])):
            if called is None:
                continue
            where[called, dim] = []
            first = labels.slots[name, dim]
            for node in range(first, first + labels.sizes[name, dim]):
                root = labels.root(node)
                if root not in places:
                    signature = frozenset(members[root])
                    same = groups.setdefault(signature, [])
                    places[root] = (signature, len(same))
                    same.append(root)
                    if root in fixed or root not in moving:
                        pinned.add(signature)
                where[called, dim].append(places[root])
        return cls(groups, where, pinned, labels.calls, labels.operations, _sums(labels))


def _sums(labels: ChannelLabels) -> dict[str, Sum]:
    """Layers whose output goes into one sum only, by no other way than a constant factor."""
    readers: dict[int, list[int]] = {}
    for index, operation in enumerate(labels.operations):
        for number in set(operation.reads):
            readers.setdefault(number, []).append(index)
    sums = {}
    for call in labels.calls:
        at, factor = call.output, 1.0
        while True:
            (index, *more) = readers.get(at, []) or [-1]
            operation = labels.operations[index] if index >= 0 and not more else None
            if operation is None or operation.factor is None or not operation.factor:
                break
            at, factor = operation.gives[0], factor * operation.factor
        if operation is None or operation.name not in ('add', 'add_') or len(operation.reads) != 2:
            continue
        (other,) = set(operation.reads) - {at} or {at}
        written = [place for place in labels.made.get(other, []) if place[0] < index]
        if other != at and written and written[-1][0] < call.start:
            sums[call.module] = Sum((index, 0), written[-1], factor)
    return sums


def choose(teacher: ChannelGraph, student: ChannelGraph, importance: Mapping[Slot, Tensor]) -> dict[Slot, Tensor]:
    """Which of the teacher's indices each of the student's stands for, in every slot of the student.

    Args:
        teacher, student: of networks of one class; the student's names are the teacher's.
        importance: slot → how much each of the teacher's indices there matters; a channel's is their sum.

    Raises:
        ValueError: the student is wider, or its channels belong together otherwise.
    """
    names = {name for name, _ in student.where}
    known: dict[Signature, tuple[Signature, list[int]]] = {}
    for signature, channels in teacher.groups.items():
        known[frozenset(part for part in signature if part[0] in names or part[2])] = (signature, channels)
    weights = {signature: torch.zeros(len(channels)) for signature, channels in teacher.groups.items()}
    for slot, values in importance.items():
        for value, (signature, position) in zip(values.tolist(), teacher.where[slot], strict=True):
            weights[signature][position] += value
    kept: dict[Signature, list[int]] = {}
    chosen: dict[Slot, Tensor] = {}
    for (name, dim), places in student.where.items():
        theirs: dict[tuple[Signature, int], list[int]] = {}
        for index, place in enumerate(teacher.where.get((name, dim), ())):
            theirs.setdefault(place, []).append(index)
        indices, used = [], dict.fromkeys(theirs, 0)
        for signature, position in places:
            if signature not in known:
                raise ValueError(f'{name}: its channels belong together otherwise than in the teacher')
            source, channels = known[signature]
            if signature not in kept:
                count = len(student.groups[signature])
                kept[signature] = _kept(name, count, weights[source], source in teacher.pinned)
            place = (source, kept[signature][position])
            if place not in theirs or used[place] >= len(theirs[place]):
                raise ValueError(f'{name}: its channels belong together otherwise than in the teacher')
            indices.append(theirs[place][used[place]])
            used[place] += 1
        chosen[name, dim] = torch.tensor(indices)
    return chosen


def _kept(name: str, count: int, importance: Tensor, pinned: bool) -> list[int]:
    if count > len(importance):
        raise ValueError(f'{name}: a student of {count} channels cannot start from a teacher of {len(importance)}')
    if count < len(importance) and pinned:
        raise ValueError(f'{name}: its size, {count}, must be that of the teacher, {len(importance)}')
    return most_important(importance, count).tolist()
