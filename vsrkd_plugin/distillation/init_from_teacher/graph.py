"""The start from the teacher for any image SR network: a narrower or shallower student of the teacher's class."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import SkipsBlocks
from vsrkd_plugin.adapters.image_sr import in_eval_mode
from vsrkd_plugin.distillation.init_from_teacher.channel_graph import ChannelGraph, Slot, choose
from vsrkd_plugin.distillation.init_from_teacher.graph_refit import Pair, Run, hooked, refit_pair
from vsrkd_plugin.distillation.init_from_teacher.importance import Reading
from vsrkd_plugin.distillation.init_from_teacher.least_squares import spread

_TRACED = 2  # images that channels are found by
_WEIGHED = 16  # images that their importance is taken from


@torch.no_grad()
def inherit_graph(
    teacher: nn.Module,
    student: nn.Module,
    x: Tensor,
    arguments: Mapping[str, Any] | None = None,
    ridge: float = 1e-4,
) -> None:
    """Start a student from the channels of its teacher, whatever their class is.

    Which channels belong together (by sums, products, concatenations, attention) is found by a pass through each; of
    those that stand in the same places the most telling are kept. The student's weights are the teacher's there. Then,
    in one pass of the student, its layers are corrected by least squares (`refit_pair`).

    Args:
        teacher, student: of one class. The student's blocks (in an `nn.Sequential` or `nn.ModuleList`) are spread
            evenly over the teacher's; those that it skips are left alone.
        x: what both are called with, `(n, c, h, w)`; about a hundred patches.
        arguments: what both are called with beside it.
        ridge: penalty on the squared correction, relative to the mean squared input; 0 or less leaves the copies.

    Raises:
        ValueError: the student is wider or deeper; or where channels go cannot be followed.
    """
    if type(teacher) is not type(student):
        raise ValueError(f'needs two networks of one class, got {type(teacher).__name__} and {type(student).__name__}')
    names = _names(teacher, student)
    with in_eval_mode(teacher), in_eval_mode(student), torch.autocast(x.device.type, enabled=False):
        runs = [
            Run(
                network,
                call := partial(network, **(arguments or {})),
                ChannelGraph.of(network, call, x[:_TRACED], named),
            )
            for network, named in ((teacher, str), (student, names))
        ]
        kept = choose(runs[0].graph, runs[1].graph, _readings(runs[0], x[:_WEIGHED]), _norms(teacher))
        _copy(teacher, student, names, kept)
        if ridge > 0:
            refit_pair(Pair(runs[0], runs[1], names, kept), x, ridge)


# Depth


def _names(teacher: nn.Module, student: nn.Module) -> Callable[[str], str | None]:
    """What the student's modules and parameters are called in the teacher; None for those of blocks that it skips.

    Raises:
        ValueError: the student is deeper, or its lists of modules are not of equal blocks.
    """
    idle: set[nn.Module] = set()
    for module in student.modules():
        if isinstance(module, SkipsBlocks):
            idle.update(module.growing_blocks()[module.active_blocks :])
    skipped = [name for name, module in student.named_modules() if module in idle]
    theirs = dict(teacher.named_modules())
    places: dict[str, dict[str, str]] = {}
    for name, module in student.named_modules():
        source = theirs.get(_renamed(name, places))
        if source is None:
            continue
        rows = _rows(source)
        for stem, row in _rows(module).items():
            blocks = {key: block for key, block in row.items() if block not in idle}
            if stem in rows and len(blocks) != len(rows[stem]):
                places.setdefault(name, {}).update(_spread_blocks(f'{name}.{stem}'.strip('.'), blocks, rows[stem]))
    return lambda name: None if any(f'{name}.'.startswith(f'{block}.') for block in skipped) else _renamed(name, places)


def _rows(module: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Children whose names differ in the number at their end, by what stands before it: `3`, `block_3`."""
    rows: dict[str, dict[str, nn.Module]] = {}
    for name, child in module.named_children():
        stem = name.rstrip('0123456789')
        if stem != name:
            rows.setdefault(stem, {})[name] = child
    return rows


def _renamed(name: str, places: Mapping[str, Mapping[str, str]]) -> str:
    parts = name.split('.')
    return '.'.join(places.get('.'.join(parts[:i]), {}).get(part, part) for i, part in enumerate(parts))


def _spread_blocks(name: str, ours: Mapping[str, nn.Module], theirs: Mapping[str, nn.Module]) -> dict[str, str]:
    """Where each of the student's blocks stands among the teacher's; what is around equal blocks stays at the ends."""
    kinds = Counter(type(block) for block in theirs.values())
    equal = kinds.most_common(1)[0][0]
    runs = []
    for blocks in (ours, theirs):
        row = list(blocks.values())
        at = [index for index, block in enumerate(row) if type(block) is equal]
        if not at or at != list(range(at[0], at[-1] + 1)):
            raise ValueError(
                f'{name}: {len(ours)} modules cannot start from {len(theirs)} that are no row of equal blocks'
            )
        runs.append((at[0], len(at), [type(block) for block in row if type(block) is not equal]))
    (first, count, others), (start, depth, around) = runs
    if first != start or others != around:
        raise ValueError(f'{name}: what stands around its equal blocks differs from the teacher')
    if count > depth:
        raise ValueError(f'{name}: a student of {count} blocks cannot start from a teacher of {depth}')
    positions = [*range(first), *(start + place for place in spread(count, depth)), *range(start + depth, len(theirs))]
    names = list(theirs)
    return {key: names[position] for key, position in zip(ours, positions, strict=True)}


# Importance


def _readings(teacher: Run, x: Tensor) -> dict[Slot, Reading]:
    """The channels of every layer's weight, as it reads and as it writes them."""
    readings: dict[Slot, Reading] = {}

    def look(layer: nn.Module, args: Any, output: Tensor, name: str) -> None:
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and getattr(layer, 'groups', 1) == 1:
            for dim, value, weight in ((0, output, None), (1, args[0], layer.weight)):
                rows = value.movedim(1, -1) if isinstance(layer, nn.Conv2d) else value
                readings[f'{name}.weight', dim] = Reading.of(rows.flatten(0, -2), weight)

    modules = teacher.network.named_modules()
    with hooked([module.register_forward_hook(partial(look, name=name)) for name, module in modules]):
        teacher.call(x)
    return readings


def _norms(teacher: nn.Module) -> dict[Slot, Tensor]:
    """Squared norms of what belongs to each index of each dimension of the parameters."""
    return {
        (name, dim): value.square().movedim(dim, 0).flatten(1).sum(1) if value.ndim > 1 else value.square()
        for name, value in teacher.named_parameters()
        for dim in range(value.ndim)
    }


# Copies


def _sources(
    teacher: nn.Module, student: nn.Module, names: Callable[[str], str | None], kept: Mapping[Slot, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor, dict[int, Tensor]]]:
    """Each of the student's tensors with the teacher's, and the indices to take of its dimensions."""
    state = teacher.state_dict(keep_vars=True)
    for name, ours in student.state_dict(keep_vars=True).items():
        source = names(name)
        if source is None:
            continue
        theirs = state.get(source)
        if theirs is None or theirs.ndim != ours.ndim:
            raise ValueError(f'{name}: the teacher has no such tensor')
        yield name, ours, theirs, {dim: kept[source, dim] for dim in range(ours.ndim) if (source, dim) in kept}


def _check_shapes(
    teacher: nn.Module, student: nn.Module, names: Callable[[str], str | None], kept: Mapping[Slot, Tensor]
) -> None:
    for name, ours, theirs, indices in _sources(teacher, student, names, kept):
        if any(dim not in indices and ours.shape[dim] != theirs.shape[dim] for dim in range(ours.ndim)):
            raise ValueError(
                f'{name}: its shape, {tuple(ours.shape)}, differs from the teacher, {tuple(theirs.shape)}, in more '
                'than channels'
            )


def _copy(
    teacher: nn.Module, student: nn.Module, names: Callable[[str], str | None], kept: Mapping[Slot, Tensor]
) -> None:
    """The teacher's weights and buffers, of the kept channels."""
    _check_shapes(teacher, student, names, kept)
    for _, ours, theirs, indices in _sources(teacher, student, names, kept):
        for dim, index in indices.items():
            theirs = theirs.index_select(dim, index.to(theirs.device))
        ours.copy_(theirs)
