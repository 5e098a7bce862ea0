"""A network's channels by what they belong to, and which of a teacher's a narrower student of its class keeps."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsrkd_plugin.distillation.init_from_teacher.channel_labels import Call, ChannelLabels, Operation
from vsrkd_plugin.distillation.init_from_teacher.importance import Reading, most_important, most_telling

Slot = tuple[str, int]  # a parameter or buffer, and one of its dimensions
Signature = frozenset[tuple[str, int, str]]  # slots, and marks of what keeps their channels apart
Place = tuple[Signature, int]  # a channel: its signature, and its number among those of it

_OTHERWISE = '{}: its channels belong together otherwise than in the teacher'


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
        groups: signature → its channels, in order. Channels of one signature stand in the same places: a student may
            have fewer of them.
        where: slot → of each index its signature and its channel's position there.
        pinned: signatures of which none may be left out.
        calls: the layers (Conv2d, Linear) that ran, in order.
        operations: all that ran.
        sums: layer → the sum that its output goes into, where it does.
        replaced: parameters that the network sets by itself while it runs.
    """

    groups: dict[Signature, list[int]]
    where: dict[Slot, list[Place]]
    pinned: set[Signature]
    calls: list[Call]
    operations: list[Operation]
    sums: dict[str, Sum]
    replaced: set[str]

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
        places: dict[int, Place] = {}
        where: dict[Slot, list[Place]] = {}
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
        return cls(groups, where, pinned, labels.calls, labels.operations, _sums(labels), labels.replaced)


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
            if index < 0 or more or not labels.operations[index].factor:
                break
            at, factor = labels.operations[index].gives[0], factor * (labels.operations[index].factor or 1)
        operation = labels.operations[index]
        if index < 0 or more or operation.name not in ('add', 'add_') or len(operation.reads) != 2:
            continue
        (other,) = set(operation.reads) - {at} or {at}
        written = [place for place in labels.made.get(other, []) if place[0] < index]
        if other != at and written and written[-1][0] < call.start:
            sums[call.module] = Sum((index, 0), written[-1], factor)
    return sums


def choose(
    teacher: ChannelGraph,
    student: ChannelGraph,
    readings: Mapping[Slot, Reading],
    norms: Mapping[Slot, Tensor] | None = None,
) -> dict[Slot, Tensor]:
    """Which of the teacher's indices each of the student's stands for, in every slot of the student.

    Args:
        teacher, student: of networks of one class; the student's names are the teacher's.
        readings: of the teacher's slots: as layers read the channels there (dimension 1 of a weight) or write them (0).
            Where channels are read, only that counts.
        norms: of the teacher's slots, the squared norms of their indices. They decide where no layer reads or writes
            the channels, because the weights are computed of others.

    Raises:
        ValueError: the student is wider, or its channels belong together otherwise.
    """
    names = {name for name, _ in student.where}
    known = {
        frozenset(part for part in signature if part[0] in names or part[2]): signature for signature in teacher.groups
    }
    positions = {slot: _positions(places) for slot, places in teacher.where.items()}
    kept: dict[Signature, list[int]] = {}
    chosen: dict[Slot, Tensor] = {}
    for slot, places in student.where.items():
        indices = []
        used: Counter[Place] = Counter()
        for signature, position in places:
            source = known.get(signature)
            if source is None:
                raise ValueError(_OTHERWISE.format(slot[0]))
            if signature not in kept:
                count = len(student.groups[signature])
                _check_count(slot[0], count, len(teacher.groups[source]), source in teacher.pinned)
                kept[signature] = _kept(teacher, source, count, positions, readings, norms or {})
            place = (source, kept[signature][position])
            theirs = positions.get(slot, {}).get(place, [])
            if used[place] >= len(theirs):
                raise ValueError(_OTHERWISE.format(slot[0]))
            indices.append(theirs[used[place]])
            used[place] += 1
        chosen[slot] = torch.tensor(indices)
    return chosen


def _positions(places: Sequence[Place]) -> dict[Place, list[int]]:
    """Where in a slot each channel stands."""
    positions: dict[Place, list[int]] = {}
    for index, place in enumerate(places):
        positions.setdefault(place, []).append(index)
    return positions


def _check_count(name: str, count: int, theirs: int, pinned: bool) -> None:
    if count > theirs:
        raise ValueError(f'{name}: a student of {count} channels cannot start from a teacher of {theirs}')
    if count < theirs and pinned:
        raise ValueError(f"{name}: its size must be the teacher's, {theirs}, got {count}")


def _kept(
    teacher: ChannelGraph,
    signature: Signature,
    count: int,
    positions: Mapping[Slot, Mapping[Place, list[int]]],
    readings: Mapping[Slot, Reading],
    norms: Mapping[Slot, Tensor],
) -> list[int]:
    """The most telling of the teacher's channels of a signature."""
    channels = range(len(teacher.groups[signature]))
    if count == len(channels):
        return list(channels)
    for dim in (1, 0):
        seen = []
        for name, at, mark in sorted(signature):
            reading = readings.get((name, at)) if at == dim and not mark else None
            if reading is None:
                continue
            standing = [positions[name, at][signature, channel] for channel in channels]
            seen += [reading.at(indices) for indices in zip(*standing, strict=False)]
        if seen:
            return most_telling(seen, count).tolist()
    importance = torch.zeros(len(channels))
    for name, at, mark in signature:
        if not mark and (name, at) in norms:
            for channel in channels:
                importance[channel] += norms[name, at][positions[name, at][signature, channel]].sum().cpu()
    return most_important(importance, count).tolist()
