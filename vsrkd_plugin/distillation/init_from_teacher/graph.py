"""The start from the teacher for any image SR network: a narrower or shallower student of the teacher's class."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vsrkd_plugin.adapters.contract import SkipsBlocks
from vsrkd_plugin.adapters.image_sr import in_eval_mode
from vsrkd_plugin.distillation.init_from_teacher.channel_graph import ChannelGraph, Slot, Sum, choose
from vsrkd_plugin.distillation.init_from_teacher.least_squares import compensate, spread

_TRACED = 2  # images that channels are found by
_WEIGHED = 16  # images that their importance is taken from
_MEMORY = 2e9  # bytes of the teacher's activations that are kept
_WORK = 4e12  # multiplications of all least squares, about a minute on one core

Call = Callable[[Tensor], Tensor]


@torch.no_grad()
def inherit_graph(teacher: nn.Module, student: nn.Module, x: Tensor, ridge: float = 1e-4) -> None:
    """Start a student from the channels of its teacher, whatever their class is.

    Which channels belong together (by sums, products, concatenations, attention) is found by a pass through each; of
    those that stand in the same places the most important are kept. The student's weights are the teacher's there. Then,
    in one pass of the student, every convolution and linear layer is corrected by least squares from the student's own
    activations to what the teacher's gives; one whose output is added to a trunk, to what the student's trunk lacks.

    Args:
        teacher, student: of one class. The student's blocks (in an `nn.Sequential` or `nn.ModuleList`) are spread
            evenly over the teacher's; those that it skips are left alone.
        x: what both are called with, `(n, c, h, w)`; about a hundred patches.
        ridge: penalty on the squared correction, relative to the mean squared input; 0 or less leaves the copies.

    Raises:
        ValueError: the student is wider or deeper; or where channels go cannot be followed.
    """
    if type(teacher) is not type(student):
        raise ValueError(f'needs two networks of one class, got {type(teacher).__name__} and {type(student).__name__}')
    names = _names(teacher, student)
    with in_eval_mode(teacher), in_eval_mode(student), torch.autocast(x.device.type, enabled=False):
        theirs = ChannelGraph.of(teacher, teacher, x[:_TRACED])
        ours = ChannelGraph.of(student, student, x[:_TRACED], names)
        kept = choose(theirs, ours, _importance(teacher, x[:_WEIGHED], theirs))
        _copy(teacher, student, names, kept)
        if ridge > 0:
            _refit(teacher, student, x, theirs, ours, names, kept, ridge)


def can_start(teacher: nn.Module, student: nn.Module, x: Tensor) -> str | None:
    """Why a student cannot start from its teacher by `inherit_graph`; None if it can. Nothing is changed.

    Args:
        teacher, student: the networks.
        x: an image that both take, `(1, c, h, w)`, small.
    """
    try:
        if type(teacher) is not type(student):
            raise ValueError(
                f'needs two networks of one class, got {type(teacher).__name__} and {type(student).__name__}'
            )
        names = _names(teacher, student)
        with in_eval_mode(teacher), in_eval_mode(student), torch.autocast(x.device.type, enabled=False):
            theirs = ChannelGraph.of(teacher, teacher, x)
            ours = ChannelGraph.of(student, student, x, names)
            _check_shapes(teacher, student, names, choose(theirs, ours, {}))
    except ValueError as error:
        return str(error)
    return None


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
    lists = {
        name: module for name, module in teacher.named_modules() if isinstance(module, (nn.Sequential, nn.ModuleList))
    }
    places: dict[str, dict[str, str]] = {}
    for name, module in student.named_modules():
        source = lists.get(_renamed(name, places))
        if not isinstance(module, (nn.Sequential, nn.ModuleList)) or source is None:
            continue
        blocks = [block for block in module if block not in idle]
        if len(blocks) != len(source):
            places[name] = _spread_blocks(name, blocks, list(source))
    return lambda name: None if any(f'{name}.'.startswith(f'{block}.') for block in skipped) else _renamed(name, places)


def _renamed(name: str, places: Mapping[str, Mapping[str, str]]) -> str:
    parts = name.split('.')
    return '.'.join(places.get('.'.join(parts[:i]), {}).get(part, part) for i, part in enumerate(parts))


def _spread_blocks(name: str, ours: list[nn.Module], theirs: list[nn.Module]) -> dict[str, str]:
    """Where each of the student's blocks stands among the teacher's; what is around the equal blocks stays at the ends."""
    kinds = Counter(type(block) for block in theirs)
    equal = kinds.most_common(1)[0][0] if kinds else None
    runs = []
    for blocks in (ours, theirs):
        at = [index for index, block in enumerate(blocks) if type(block) is equal]
        if not at or at != list(range(at[0], at[-1] + 1)):
            raise ValueError(
                f'{name}: {len(ours)} modules cannot start from {len(theirs)} that are no row of equal blocks'
            )
        runs.append((at[0], len(at), [type(block) for block in blocks if type(block) is not equal]))
    (first, count, others), (start, depth, around) = runs
    if first != start or others != around:
        raise ValueError(f'{name}: what stands around its equal blocks differs from the teacher')
    if count > depth:
        raise ValueError(f'{name}: a student of {count} blocks cannot start from a teacher of {depth}')
    places = {str(first + i): str(start + place) for i, place in enumerate(spread(count, depth))}
    places.update({str(i): str(i + depth - count) for i in range(first + count, len(ours))})
    return places


# Watching a pass


class _Watch(TorchDispatchMode):
    """Shows the operations of a pass, by their number, to whoever asked for them.

    Args:
        expected: the operations that channels were found by. Where others run, nobody is shown anything any more.
        shown: operation → what it is shown to: its arguments, and its results.
    """

    def __init__(self, expected: list[Any], shown: Mapping[int, Callable[[Any, list[Any]], None]]) -> None:
        super().__init__()
        self.expected, self.shown = expected, shown
        self.count, self.deaf, self.strayed = 0, False, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.deaf:
            return result
        index, self.count = self.count, self.count + 1
        name = func.overloadpacket.__name__
        self.strayed = self.strayed or index >= len(self.expected) or self.expected[index].name != name
        if index in self.shown and not self.strayed:
            with self.quiet():
                self.shown[index](args, list(result) if isinstance(result, (list, tuple)) else [result])
        return result

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What runs meanwhile does not count."""
        before, self.deaf = self.deaf, True
        try:
            yield
        finally:
            self.deaf = before


@contextmanager
def _hooks(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# Importance


def _importance(teacher: nn.Module, x: Tensor, graph: ChannelGraph) -> dict[Slot, Tensor]:
    """Of each channel that a layer reads: its mean square, times the squared norm of the weights that read it."""
    importance: dict[Slot, Tensor] = {}

    def look(layer: nn.Module, args: Any, name: str) -> None:
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or getattr(layer, 'groups', 1) != 1:
            return
        rows = args[0].movedim(1, -1) if isinstance(layer, nn.Conv2d) else args[0]
        energy = rows.flatten(0, -2).square().mean(0)
        strength = layer.weight.square().movedim(1, 0).flatten(1).sum(1)
        slot = (f'{name}.weight', 1)
        if slot in graph.where:
            importance[slot] = importance.get(slot, 0) + (energy * strength).cpu()

    modules = teacher.named_modules()
    with _hooks([module.register_forward_pre_hook(partial(look, name=name)) for name, module in modules]):
        teacher(x)
    return importance


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
                f'{name}: its shape, {tuple(ours.shape)}, differs from the teacher, {tuple(theirs.shape)}, in more than '
                'channels'
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


# Least squares


def _refit(
    teacher: nn.Module,
    student: nn.Module,
    x: Tensor,
    theirs: ChannelGraph,
    ours: ChannelGraph,
    names: Callable[[str], str | None],
    kept: Mapping[Slot, Tensor],
    ridge: float,
) -> None:
    """Correct the student's layers, from its own activations to what the teacher gives, in one pass of it."""
    once = Counter(call.module for call in ours.calls)
    sources = {name: names(name) for name in once}
    their_calls = Counter(call.module for call in theirs.calls)
    layers = {
        name: layer
        for name, layer in student.named_modules()
        if once[name] == 1
        and their_calls[sources[name]] == 1
        and isinstance(layer, (nn.Conv2d, nn.Linear))
        and 'weight' in layer._parameters  # not one that is computed of others
    }
    x = x[: _affordable(student, layers, x)]
    sums = {
        name: (theirs.sums[sources[name]], ours.sums[name])
        for name in layers
        if name in ours.sums and sources[name] in theirs.sums
    }
    targets = _targets(teacher, x, theirs, {name: sources[name] for name in layers}, sums, kept)
    others: dict[tuple[int, int], Tensor] = {}

    def capture(args: Any, results: list[Any], index: int) -> None:
        for which, value in enumerate(results):
            if (index, which) in needed:
                others[index, which] = value

    needed = {ours_sum.other for _, ours_sum in sums.values()}
    watch = _Watch(ours.operations, {index: partial(capture, index=index) for index, _ in needed})

    def fit(layer: nn.Module, args: Any, name: str) -> None:
        target = targets.pop(name, None)
        if target is None:
            return
        with watch.quiet():
            if name in sums:
                other = others.get(sums[name][1].other)
                if other is None or watch.strayed:
                    return
                target = (target - other) / sums[name][1].factor
            compensate(layer, args[0], target, ridge)

    hooks = [layer.register_forward_pre_hook(partial(fit, name=name)) for name, layer in layers.items()]
    with _hooks(hooks), watch:
        student(x)


def _affordable(student: nn.Module, layers: Mapping[str, nn.Module], x: Tensor) -> int:
    """How many patches there is memory and time for."""
    costs = [0.0, 0.0]

    def count(layer: nn.Module, args: Any, output: Tensor) -> None:
        rows = output.numel() / layer.weight.shape[0]
        costs[0] += output.numel() * output.element_size()
        costs[1] += rows * layer.weight[0].numel() ** 2

    with _hooks([layer.register_forward_hook(count) for layer in layers.values()]):
        student(x[:1])
    patches = min(_MEMORY / max(costs[0], 1), _WORK / max(costs[1], 1))
    return max(min(len(x), int(patches)), 8)


def _targets(
    teacher: nn.Module,
    x: Tensor,
    graph: ChannelGraph,
    sources: Mapping[str, str],
    sums: Mapping[str, tuple[Sum, Sum]],
    kept: Mapping[Slot, Tensor],
) -> dict[str, Tensor]:
    """What the teacher gives where the student's layers do: their outputs, or the sums that these go into."""
    targets: dict[str, Tensor] = {}

    def keep(value: Tensor, name: str, last: bool) -> None:
        rows = kept.get((f'{sources[name]}.weight', 0))
        dim = value.ndim - 1 if last else 1
        targets[name] = value.clone() if rows is None else value.index_select(dim, rows.to(value.device))

    modules = dict(teacher.named_modules())
    shown: dict[int, list[str]] = {}
    handles = []
    for name, source in sources.items():
        if name in sums:
            shown.setdefault(sums[name][0].result[0], []).append(name)
        else:
            last = isinstance(modules[source], nn.Linear)
            handles.append(
                modules[source].register_forward_hook(
                    lambda layer, args, output, name=name, last=last: keep(output, name, last)
                )
            )

    def look(args: Any, results: list[Any], index: int) -> None:
        for name in shown[index]:
            keep(results[0], name, isinstance(modules[sources[name]], nn.Linear))

    watch = _Watch(graph.operations, {index: partial(look, index=index) for index in shown})
    with _hooks(handles), watch:
        teacher(x)
    return targets
