"""Which channels of a network belong together, found by letting labels flow through one forward pass.

Every tensor of the pass is followed by tensors of its own shape that hold, for each element, the label of the channel
that it belongs to. Whatever moves data moves the labels likewise, so that splits, concatenations, windows, heads and
pixel shuffles need no rule of their own; where labels meet in a sum or a product, they are one channel from then on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.distillation.init_from_teacher.channel_nodes import (
    ChannelNodes,
    determines,
    is_finer,
    is_varying,
    tensors,
    varies,
)
from vsrkd_plugin.distillation.init_from_teacher.channel_operations import (
    ALONG,
    ATTENTIONS,
    MOVES,
    NORMS,
    REDUCTIONS,
    SPATIAL,
    UNLABELLED,
)
from vsrkd_plugin.errors import first_line

INPUT, OUTPUT = '<input>', '<output>'

Labels = list[Tensor]  # none, one (an activation) or several (a weight: one for each of its dimensions)


class Operation(NamedTuple):
    """One operation of a pass: its name, and which tensors (by number) it read and gave."""

    name: str
    reads: tuple[int, ...]
    gives: tuple[int, ...]
    factor: float | None  # of a product with a number


class Call(NamedTuple):
    """A layer that ran: before which operation, and the number of the tensor that it gave."""

    module: str
    start: int
    output: int


class ChannelLabels(ChannelNodes, TorchDispatchMode):
    """Follows the channels of a network through `run`.

    Args:
        network: anything that torch computes eagerly.

    Attributes:
        replaced: parameters that the network sets by itself while it runs.
        operations, calls, made: what ran, for `sums`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.replaced: set[str] = set()
        self.operations: list[Operation] = []
        self.calls: list[Call] = []
        self.made: dict[int, list[tuple[int, int]]] = {}  # tensor → (operation, which of its results) that wrote it
        self._labels: dict[int, Labels] = {}
        self._tensors: dict[int, tuple[int, Tensor]] = {}  # kept alive: a tensor is known by its id
        self._places: dict[int, tuple[str, int]] = {}  # of parameters and buffers: name, address
        self._modules: list[str] = []
        self._starts: list[int] = []
        self._deaf = False
        named = [*network.named_parameters(), *network.named_buffers()]
        for name, value in named:
            if value.is_floating_point() and value.ndim:
                self._keep(value, self._named_labels(name, value))
                self._places[id(value)] = (name, value.data_ptr())

    def _named_labels(self, name: str, value: Tensor) -> Labels:
        labels = []
        kernel = value.ndim == 4 and len(value) > 1  # its last dimensions are no channels
        for dim, size in enumerate(value.shape[:2] if kernel else value.shape):
            if size > 1 or dim == 0:
                shape = [size if i == dim else 1 for i in range(value.ndim)]
                labels.append(self.nodes(name, dim, size).view(shape).expand(value.shape).to(value.device))
        return labels

    # The pass

    @torch.no_grad()
    def run(self, call: Callable[[Tensor], Any], x: Tensor) -> None:
        """Let the labels flow; `call` calls the network with `(n, c, h, w)`.

        Raises:
            ValueError: an operation that no rule is known for.
        """
        self._keep(x, [self.nodes(INPUT, 1, x.shape[1]).view(1, -1, 1, 1).expand(x.shape).to(x.device)])
        with self._listening(), self:
            output = call(x)
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError('expected a network that gives one image (n, c, h, w)')
        end = self.nodes(OUTPUT, 1, output.shape[1]).to(output.device).view(1, -1, 1, 1).expand(output.shape)
        for label in self.of(output):
            self.join(label, end)
        for name in (INPUT, OUTPUT):
            first = self.slots[name, 1]
            self.pinned.update(range(first, first + self.sizes[name, 1]))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        handles = []
        for name, module in self.network.named_modules():

            def enter(module: nn.Module, args: Any, name: str = name) -> None:
                self._modules.append(name)
                self._starts.append(len(self.operations))

            def leave(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                self._modules.pop()
                start = self._starts.pop()
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    self.calls.append(Call(name, start, self._number(output)))

            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) not in self._tensors:
            self._tensors[id(tensor)] = (len(self._tensors), tensor)
        return self._tensors[id(tensor)][0]

    def of(self, tensor: Any) -> Labels:
        """A tensor's labels."""
        return self._labels.get(id(tensor), []) if isinstance(tensor, Tensor) else []

    def _keep(self, tensor: Tensor, labels: Labels) -> None:
        self._number(tensor)
        known = self._labels.get(id(tensor))
        if known is not None and len(known) == len(labels):  # written in place: views of it see it too
            for old, new in zip(known, labels, strict=True):
                if old is not new:
                    old.copy_(new)
        else:
            self._labels[id(tensor)] = labels

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._deaf:
            return func(*args, **kwargs)
        read = [self._number(value) for value in tensors((args, kwargs))]
        result = func(*args, **kwargs)
        results = [value for value in tensors(result)]
        name = func.overloadpacket.__name__
        numbers = tuple(self._number(value) for value in results)
        factor = args[1] if name in ('mul', 'mul_') and isinstance(args[1], (int, float)) else None
        for which, number in enumerate(numbers):
            self.made.setdefault(number, []).append((len(self.operations), which))
        self.operations.append(Operation(name, tuple(read), numbers, factor))
        self._deaf = True
        try:
            self._replaced((args, kwargs))
            self._follow(func, name, args, kwargs, results)
        except ValueError:
            raise
        except UNFIT as error:
            raise ValueError(
                f'{self.where()}: channels cannot be followed through {name}: {first_line(error)}'
            ) from error
        finally:
            self._deaf = False
        return result

    def _follow(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Tensor]
    ) -> None:
        if not any(value.is_floating_point() or value.is_complex() for value in results):
            return
        labelled = any(self.of(value) for value in tensors((args, kwargs)))
        plain = name[:-1] if name.endswith('_') and not name.startswith('__') else name
        out = results[0]
        if plain == 'copy':
            self._keep(out, self._fitted(self.of(args[1]), args[1].shape, out))
        elif plain in ('constant_pad_nd', *MOVES):
            self._move(func, plain, args, kwargs, results, labelled)
        elif plain in ('fill', 'zero'):
            self._keep(out, [torch.zeros_like(label) for label in self.of(out)])
        elif not labelled or plain in UNLABELLED:
            return
        elif plain == 'convolution':
            self._keep(out, self._convolution(args, out))
        elif plain in ('mm', 'addmm', 'bmm', 'baddbmm'):
            first, second = args[-2:] if plain in ('mm', 'bmm') else args[1:3]
            labels = self._product(self._batched(first), self._batched(second), out.shape[-2:])
            labels = [label.reshape(out.shape) for label in labels]
            if plain in ('addmm', 'baddbmm'):
                labels = self._meeting([(labels, out.shape), (self.of(args[0]), args[0].shape)], out)
            self._keep(out, labels)
        elif plain in ATTENTIONS:
            query, key, value = ([label.reshape(-1, *label.shape[-2:]) for label in self.of(part)] for part in args[:3])
            size = (args[0].shape[-2], args[1].shape[-2])
            weights = self._product(query, [label.transpose(1, 2) for label in key], size)
            self._keep(out, [label.reshape(out.shape) for label in self._product(weights, value, out.shape[-2:])])
        elif plain in SPATIAL:
            labels = [self.steady(label, (2, 3))[:, :, None, None] for label in self.of(args[0])]
            self._keep(out, [label.expand(out.shape).clone() for label in labels])
        elif plain in ALONG:
            self._keep(out, [label.clone() for label in self.of(args[0])])
        elif plain in REDUCTIONS:
            self._reduce(func, args, kwargs, results)
        elif plain == 'native_layer_norm':
            operands = [(self.of(value), value.shape) for value in (args[0], *args[2:4]) if value is not None]
            self._keep(out, self._meeting(operands, out))
        elif plain == 'native_group_norm':
            self._keep(out, self._channelwise(args[0], args[1:3], out))
            for label in self.of(out):
                channels = self.steady(label, (0, *range(2, label.ndim)))
                if args[6] > 1:
                    self.mark(channels.view(args[6], -1))
        elif plain in NORMS:
            self._keep(out, self._channelwise(args[0], args[1:5], out))
        elif torch.Tag.pointwise in func.tags or plain == '_prelu_kernel':
            operands = [(self.of(value), value.shape) for value in tensors((args, kwargs))]
            plainly = [shape for labels, shape in operands if not any(bool(label.any()) for label in labels)]
            if plain in ('add', 'sub') and out.shape in plainly:
                # A matrix that is no weight, added to one: an identity, say, which ties rows to columns.
                for label in (label for labels, _ in operands if len(labels) > 1 for label in labels):
                    self.pin(label)
            self._keep(out, self._meeting(operands, out))
        else:
            raise ValueError(f'{self.where()}: no rule is known for the operation {name}')

    def _replaced(self, arguments: Any) -> None:
        """Weights that a network has set (`weight.data = …`) since it was looked at: labels of what it has set.

        Raises:
            ValueError: where that comes from is not known.
        """
        for value in tensors(arguments):
            name, place = self._places.get(id(value), ('', 0))
            if not name or value.data_ptr() == place:
                continue
            same = (other for _, other in self._tensors.values() if other.data_ptr() == value.data_ptr())
            source = next((other for other in same if other.shape == value.shape and other is not value), None)
            if source is None or not self.of(source):
                raise ValueError(f'{name}: is set while the network runs, of what cannot be followed')
            self._places[id(value)] = (name, value.data_ptr())
            self.replaced.add(name)
            self._meeting([(self.of(part), part.shape) for part in (value, source)], value)

    def where(self) -> str:
        """The module at work, for messages and marks."""
        return self._modules[-1] if self._modules and self._modules[-1] else type(self.network).__name__

    # Rules

    def _move(
        self, func: Any, name: str, args: Any, kwargs: dict[str, Any], results: list[Tensor], labelled: bool
    ) -> None:
        """The same to the labels as to the data; labels of several operands side by side."""
        sources = [value for value in tensors((args, kwargs)) if value.is_floating_point()]
        if not labelled:
            if len(sources) != 1 or func._schema.returns[0].alias_info is None:
                return
            self._keep(sources[0], [torch.zeros_like(sources[0], dtype=torch.float32)])  # may be written into
        if name == 'constant_pad_nd':
            args, kwargs = args[:2], {}
        count = max(len(self.of(value)) for value in sources)
        moved: list[list[Tensor]] = []
        for index in range(count):

            def label_of(value: Any, index: int = index) -> Any:
                if isinstance(value, (list, tuple)):
                    return type(value)(label_of(item) for item in value)
                if not isinstance(value, Tensor) or not value.is_floating_point():
                    return value
                labels = self.of(value)
                return labels[index] if index < len(labels) else torch.zeros_like(value, dtype=torch.float32)

            if name in ('view', '_unsafe_view', '_reshape_alias'):
                moved.append([label_of(args[0]).reshape(results[0].shape)])
            elif name in ('contiguous', 'clone'):
                moved.append([label_of(args[0]).clone()])
            else:
                moved.append(list(tensors(func(*label_of(args), **{k: label_of(v) for k, v in kwargs.items()}))))
        for which, value in enumerate(results):
            self._labels.pop(id(value), None) if value is not sources[0] else None
            self._keep(value, [part[which] for part in moved])

    def _convolution(self, args: Any, out: Tensor) -> Labels:
        x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
        inner, outer = (0, 1) if transposed else (1, 0)  # dimensions of the weight
        spatial = tuple(range(2, x.ndim))
        channels = [self.steady(label, (0, *spatial)) for label in self.of(x) if varies(label, 1) or x.shape[1] == 1]
        samples = [self.steady(label, (1, *spatial)) for label in self.of(x) if varies(label, 0)]
        rows, columns = [], []
        for label in self.of(weight):
            by_row, by_column = varies(label, outer), varies(label, inner)
            if by_row or not by_column:
                rows.append(self.steady(label, (inner, *spatial)))
            if by_column:  # by both: a diagonal, whose channels are read and given
                columns.append(self.steady(label, (outer, *spatial)))
        name, _ = self._places.get(id(weight), ('', 0))
        if name and groups == 1 and weight.shape[inner] == 1:  # one channel, where a wider network reads several
            columns = [self.nodes(name, inner, 1).to(x.device)]
        if transposed and groups > 1:
            raise ValueError(f'{self.where()}: no rule is known for a transposed convolution in groups')
        if groups > 1 and groups == x.shape[1]:
            for channel in channels:
                for row in rows:
                    self.join(channel.repeat_interleave(len(row) // groups), row)
        else:
            for channel in channels:
                for column in columns:
                    self.contract(channel, column.repeat(groups) if groups > 1 else column)
            if groups > 1:  # every group keeps its like
                for row in rows:
                    self.join(row.view(groups, -1)[:1].expand(groups, -1).reshape(-1), row)
            if not channels:
                for column in columns:
                    self.pin(column)
        self.flow(*rows, *samples)
        labels = [row.view(1, -1, *(1 for _ in spatial)).expand(out.shape).clone() for row in rows]
        labels += [sample.view(-1, 1, *(1 for _ in spatial)).expand(out.shape).clone() for sample in samples]
        if bias is not None:
            shape = (1, -1, *(1 for _ in spatial))
            labels = self._meeting(
                [(labels, out.shape), ([b.view(shape) for b in self.of(bias)], (1, len(bias), *(1 for _ in spatial)))],
                out,
            )
        return labels

    def _batched(self, tensor: Tensor) -> Labels:
        return [label if label.ndim == 3 else label[None] for label in self.of(tensor)]

    def _product(self, first: Labels, second: Labels, size: Sequence[int]) -> Labels:
        """Labels of the matrix product of `(b, n, k)` and `(b, k, m)`; `size` is `(n, m)`."""
        contracted: list[list[Tensor]] = [[], []]
        free: list[list[Tensor]] = [[], []]
        for side, (labels, dim) in enumerate(((first, 2), (second, 1))):
            for label in labels:
                over_one = label.shape[dim] == 1 and len(labels) == 1 and not varies(label, 3 - dim)
                if varies(label, dim) or over_one:
                    contracted[side].append(self.steady(label, (3 - dim,)))
                else:
                    free[side].append(label.select(dim, 0))
        for one in contracted[0]:
            for other in contracted[1]:
                self.contract(one, other)
        for label in (*contracted[0], *contracted[1]):
            if not (contracted[0] and contracted[1]):
                self.pin(label)
        for label in (*contracted[0], *contracted[1], *free[0], *free[1]):
            if len(label) > 1 and varies(label, 0):
                self.mark(label)
        self.flow(*free[0], *free[1])
        labels = [label[:, :, None] for label in free[0]] + [label[:, None, :] for label in free[1]]
        labels = [label.expand(-1, *size) for label in labels]
        return [label for label in labels if not any(is_finer(other, label) for other in labels)]

    def _channelwise(self, x: Tensor, vectors: Sequence[Tensor | None], out: Tensor) -> Labels:
        shape = (1, -1, *(1 for _ in range(x.ndim - 2)))
        operands = [(self.of(x), tuple(x.shape))]
        operands += [
            ([v.view(shape) for v in self.of(value)], (1, len(value), *shape[2:]))
            for value in vectors
            if value is not None
        ]
        return self._meeting(operands, out)

    def _reduce(self, func: Any, args: Any, kwargs: dict[str, Any], results: list[Tensor]) -> None:
        x = args[0]
        named = [argument.name for argument in func._schema.arguments]
        given = {**dict(zip(named, args, strict=False)), **kwargs}
        dims = given.get('dim')
        dims = range(x.ndim) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
        dims = tuple(sorted(dim % x.ndim for dim in dims))
        kept = []
        for label in self.of(x):
            rest = [dim for dim in range(x.ndim) if dim not in dims]
            if any(varies(label, dim) for dim in rest) or not any(varies(label, dim) for dim in dims):
                kept.append(self.steady(label, dims))
            else:
                self.flow(label)
        for value in results:
            if value.is_floating_point():
                self._keep(value, [label.reshape(value.shape) for label in kept])

    def _fitted(self, labels: Labels, shape: Sequence[int], out: Tensor) -> Labels:
        return [label.expand(out.shape) for label in labels] or [torch.zeros_like(out, dtype=torch.float32)]

    def _meeting(self, operands: Sequence[tuple[Labels, Sequence[int]]], out: Tensor) -> Labels:
        """Labels of what is computed element by element: those that stand for the same are joined."""
        met: list[tuple[Tensor, tuple[int, ...]]] = []
        single = all(len(labels) <= 1 for labels, _ in operands)
        for labels, shape in operands:
            for label in labels:
                full = tuple([1] * (out.ndim - len(shape)) + list(shape))
                new = (label.reshape(full), full)
                if not met or not self._absorbed(met, new, single):
                    met.append(new)
        if len(met) > 1 and any(is_varying(label) for label, _ in met):
            met = [(label, shape) for label, shape in met if is_varying(label)]  # of one channel: a gate, a scale
        return [label.expand(out.shape).clone(memory_format=torch.contiguous_format) for label, _ in met]

    def _absorbed(
        self, met: list[tuple[Tensor, tuple[int, ...]]], new: tuple[Tensor, tuple[int, ...]], single: bool
    ) -> bool:
        """Whether a label is, or belongs to, one of those met so far, which is then extended by it."""
        b, b_shape = new
        for index, (a, a_shape) in enumerate(met):
            shape = torch.broadcast_shapes(a.shape, b.shape)
            both = (a > 0) & (b > 0)
            if not both.any():
                if len(met) == 1 and single:  # side by side
                    met[index] = (torch.maximum(a.expand(shape), b.expand(shape)), tuple(shape))
                    return True
                continue
            if is_varying(a) != is_varying(b):
                continue
            broad = [(dim, a_shape[dim] > b_shape[dim]) for dim in range(len(shape)) if a_shape[dim] != b_shape[dim]]
            across = [a_wide for dim, a_wide in broad if varies(a if a_wide else b, dim)]
            wide_a, wide_b = a.expand(shape), b.expand(shape)
            knows_b, knows_a = determines(wide_a, wide_b), determines(wide_b, wide_a)
            if across:  # broadcast over channels: a gate of a head, an outer product
                if all(across) and knows_b:
                    return True
                if not any(across) and knows_a:
                    met[index] = new
                    return True
                continue
            if knows_a or knows_b or single:
                self.join(wide_a, wide_b)
                met[index] = (torch.where(wide_a > 0, wide_a, wide_b), tuple(shape))
                return True
        return False
