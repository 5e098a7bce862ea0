"""Least squares for all layers of a student whose channels are chosen, in one pass of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vsrkd_plugin.distillation.init_from_teacher.channel_graph import ChannelGraph, Slot, Sum
from vsrkd_plugin.distillation.init_from_teacher.channel_labels import Operation
from vsrkd_plugin.distillation.init_from_teacher.least_squares import compensate
from vsrkd_plugin.distillation.init_from_teacher.telling import layers_told

_MEMORY = 2e9  # bytes of the teacher's activations that are kept
_WORK = 4e12  # multiplications of all least squares, about a minute on one core
_FEWEST = 8  # patches, whatever they cost


class Run(NamedTuple):
    """A network, how it is called, and its channels."""

    network: nn.Module
    call: Callable[[Tensor], Any]
    graph: ChannelGraph


class Pair(NamedTuple):
    """Teacher and student; what the student's names are in the teacher, and which of its channels it keeps."""

    teacher: Run
    student: Run
    names: Callable[[str], str | None]
    kept: Mapping[Slot, Tensor]


class _Layer(NamedTuple):
    """A layer of the student with its teacher's name, and the sums that the outputs of both go into, if they do."""

    layer: nn.Conv2d | nn.Linear
    source: str
    sums: tuple[Sum, Sum] | None


def refit_pair(pair: Pair, x: Tensor, ridge: float) -> None:
    """Correct every convolution and linear layer of the student by least squares, in one pass of it.

    Each from the student's own activations, behind the corrected layers before it, to what the teacher's layer gives;
    where the output is added to what was there before (a trunk), to what the student's sum lacks of the teacher's.
    Layers that run more than once, in groups, or with weights that are computed of others stay copies.

    Args:
        pair: teacher and student, in evaluation mode.
        x: what both are called with, `(n, c, h, w)`; fewer are used where memory or time ask for it.
        ridge: as of `compensate`.
    """
    layers = _layers(pair)
    x = x[: _affordable(pair.student, layers, x)]
    targets = _targets(pair, layers, x)
    operands = _Operands(layers)
    watch = _Watch(pair.student.graph.operations, operands.shown())

    def fit(module: nn.Module, args: Any, name: str, done: Callable[[], object]) -> None:
        done()
        target, layer = targets.pop(name, None), layers[name]
        if target is None or (layer.sums and watch.strayed):
            return
        with watch.quiet():
            if layer.sums:
                ours = layer.sums[1]
                target = (target - operands.take(ours)) / ours.factor
            compensate(layer.layer, args[0], target, ridge)

    with layers_told(len(layers)) as told:
        hooks = [
            entry.layer.register_forward_pre_hook(partial(fit, name=name, done=told.update))
            for name, entry in layers.items()
        ]
        with hooked(hooks), watch:
            pair.student.call(x)


@contextmanager
def hooked(handles: list[Any]) -> Iterator[None]:
    """Removes hooks afterwards."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(pair: Pair) -> dict[str, _Layer]:
    """The student's layers that can be corrected, in order."""
    theirs, ours = pair.teacher.graph, pair.student.graph
    calls = [Counter(call.module for call in graph.calls) for graph in (theirs, ours)]
    modules = dict(pair.student.network.named_modules())
    layers = {}
    for call in ours.calls:
        name, source, module = call.module, pair.names(call.module), modules[call.module]
        if source is None or calls[1][name] != 1 or calls[0][source] != 1:
            continue
        if 'weight' not in module._parameters or f'{name}.weight' in ours.replaced:
            continue
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            both = source in theirs.sums and name in ours.sums
            layers[name] = _Layer(module, source, (theirs.sums[source], ours.sums[name]) if both else None)
    return layers


def _affordable(student: Run, layers: Mapping[str, _Layer], x: Tensor) -> int:
    """How many patches there are memory and time for."""
    memory, work = 1.0, 1.0

    def count(layer: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal memory, work
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        memory += output.numel() * output.element_size()
        work += output.numel() / len(layer.weight) * layer.weight[0].numel() ** 2

    with hooked([entry.layer.register_forward_hook(count) for entry in layers.values()]):
        student.call(x[:1])
    return max(min(len(x), int(_MEMORY / memory), int(_WORK / work)), _FEWEST)


class _Operands:
    """What the student's layers are added to, kept from when it is made until the layer runs."""

    def __init__(self, layers: Mapping[str, _Layer]) -> None:
        self._wanted = Counter(entry.sums[1].other for entry in layers.values() if entry.sums)
        self._kept: dict[tuple[int, int], Tensor] = {}

    def shown(self) -> dict[int, Callable[[list[Any]], None]]:
        """Operation → what takes its results."""
        return {index: partial(self._keep, index) for index, _ in self._wanted}

    def _keep(self, index: int, results: list[Any]) -> None:
        for which, value in enumerate(results):
            if (index, which) in self._wanted:
                self._kept[index, which] = value

    def take(self, wanted: Sum) -> Tensor:
        """The other operand of a sum."""
        self._wanted[wanted.other] -= 1
        kept = self._kept[wanted.other]
        if not self._wanted[wanted.other]:
            del self._kept[wanted.other]
        return kept


def _targets(pair: Pair, layers: Mapping[str, _Layer], x: Tensor) -> dict[str, Tensor]:
    """What the teacher gives where the student's layers do: their outputs, or the sums that these go into."""
    targets: dict[str, Tensor] = {}

    def keep(value: Tensor, name: str) -> None:
        entry = layers[name]
        rows = pair.kept.get((f'{entry.source}.weight', 0))
        dim = 1 if isinstance(entry.layer, nn.Conv2d) else value.ndim - 1
        targets[name] = value.clone() if rows is None else value.index_select(dim, rows.to(value.device))

    def hear(module: nn.Module, args: Any, output: Tensor, name: str) -> None:
        with watch.quiet():
            keep(output, name)

    def look(results: list[Any], names: list[str]) -> None:
        for name in names:
            keep(results[0], name)

    modules = dict(pair.teacher.network.named_modules())
    shown: dict[int, list[str]] = {}
    handles = []
    for name, entry in layers.items():
        if entry.sums:
            shown.setdefault(entry.sums[0].result[0], []).append(name)
        else:
            handles.append(modules[entry.source].register_forward_hook(partial(hear, name=name)))
    watch = _Watch(pair.teacher.graph.operations, {i: partial(look, names=names) for i, names in shown.items()})
    with hooked(handles), watch:
        pair.teacher.call(x)
    return targets


class _Watch(TorchDispatchMode):
    """Shows the results of some operations of a pass, by their number.

    Args:
        expected: the operations that channels were found by. Where others run, nothing is shown any more.
        shown: operation → what its results are shown to.

    Attributes:
        strayed: whether others ran.
    """

    def __init__(self, expected: list[Operation], shown: Mapping[int, Callable[[list[Any]], None]]) -> None:
        super().__init__()
        self.strayed = False
        self._expected, self._shown = expected, shown
        self._count, self._deaf = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._deaf:
            return result
        index, self._count = self._count, self._count + 1
        expected = self._expected[index].name if index < len(self._expected) else None
        self.strayed = self.strayed or expected != func.overloadpacket.__name__
        if index in self._shown and not self.strayed:
            with self.quiet():
                self._shown[index](list(result) if isinstance(result, (list, tuple)) else [result])
        return result

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What runs meanwhile does not count."""
        before, self._deaf = self._deaf, True
        try:
            yield
        finally:
            self._deaf = before
