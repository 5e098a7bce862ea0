"""Has a network keep to its contract: values in its own range, sizes that it takes; whoever calls it need not know.

By hooks on the network, so that its class, its state dict and its modules' names stay as they are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import UNIT_RANGE, NetworkContract, innermost, note, noted

_HOOKS = '_contract_hooks'  # the attribute of a network that holds the handles of its hooks
_SIZE = '_size_before_padding'  # the attribute of a padded input


def comply(
    network: nn.Module, said: Mapping[str, Any] | None = None, built: Mapping[str, Any] | None = None
) -> nn.Module:
    """Have a network take [0, 1] and images of any size, as its contract allows; gives the network.

    Its input is mapped to its range and padded at the right and the bottom by mirroring (edge pixels repeated), its
    output cropped and mapped back. A gradient flows through. A network that takes [0, 1] and any size is left alone. A
    deep copy complies too, and so do the replicas of DataParallel; a second call does nothing but heed new options.

    Args:
        network: bare or wrapped; of a `ProgressiveStudent` the network in it.
        said: fields of its contract, by options; they override what it says itself. None: as before.
        built: the options that it was built with. None: as before.

    Raises:
        ValueError: `said` has an unknown field, or one that the network cannot keep.
    """
    note(network, said, built)
    inner, contract = innermost(network), NetworkContract.of(network)
    for hook in vars(inner).pop(_HOOKS, ()):
        hook.remove()
    if needs_hooks(contract):
        hooks = _Before(contract), _After(contract)
        handles = [
            inner.register_forward_pre_hook(hooks[0], with_kwargs=True),
            inner.register_forward_hook(hooks[1], with_kwargs=True),
        ]
        setattr(inner, _HOOKS, handles)
    return network


def complies(network: nn.Module) -> bool:
    """Whether `comply` was called for a network."""
    return noted(network).built is not None or _HOOKS in vars(innermost(network))


def needs_hooks(contract: NetworkContract) -> bool:
    """Whether a network cannot be given [0, 1] and any size as it is."""
    return contract.value_range != UNIT_RANGE or contract.size_multiple > 1 or contract.min_size > 1


@contextmanager
def trying(network: nn.Module, **said: Any) -> Iterator[None]:
    """Have a network comply with other fields of a contract for a while."""
    before = noted(network).said
    comply(network, {**before, **said})
    try:
        yield
    finally:
        comply(network, before)


@dataclass(frozen=True)
class _Before:
    """The hook before `forward`: the first tensor that it is given is the image or clip."""

    contract: NetworkContract

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if args:
            return (self.prepared(args[0]), *args[1:]), kwargs
        name = next((name for name, value in kwargs.items() if isinstance(value, Tensor)), None)
        return args, kwargs if name is None else {**kwargs, name: self.prepared(kwargs[name])}

    def prepared(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or x.ndim < 3:
            return x
        low, high = self.contract.value_range
        size = tuple(x.shape[-2:])
        given = x
        if (low, high) != UNIT_RANGE:
            x = x.float() * (high - low) + low
        x = pad_by_mirroring(x, *(padded_size(side, self.contract) for side in size))
        if x is not given:
            # At the input itself: threads (DataParallel) share this hook, and a hook behind is given this very tensor.
            setattr(x, _SIZE, size)
        return x


@dataclass(frozen=True)
class _After:
    """The hook behind `forward`: of an output of several tensors each is cropped and mapped."""

    contract: NetworkContract

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        given = next((value for value in (*args, *kwargs.values()) if hasattr(value, _SIZE)), None)
        return self.restored(output, given)

    def restored(self, output: Any, given: Tensor | None) -> Any:
        if isinstance(output, (tuple, list)):
            return type(output)(self.restored(part, given) for part in output)
        if not isinstance(output, Tensor) or output.ndim < 3 or given is None:
            return output
        output = _cropped(output, tuple(given.shape[-2:]), getattr(given, _SIZE))
        low, high = self.contract.value_range
        return output if (low, high) == UNIT_RANGE else (output.float() - low) / (high - low)


def _cropped(output: Tensor, padded: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Cut off what was made of the padding; left alone if an output is no whole multiple of its input."""
    # As whole numbers: where torch traces a network, to count its operations, sizes are tensors.
    padded, size = tuple(map(int, padded)), tuple(map(int, size))
    factor, rest = divmod(int(output.shape[-2]), padded[0])
    if rest or output.shape[-1] != factor * padded[1]:
        return output
    return output[..., : factor * size[0], : factor * size[1]]


def padded_size(side: int, contract: NetworkContract) -> int:
    """The least side of at least `side` that a network takes."""
    multiple = contract.size_multiple
    return -(-max(side, contract.min_size) // multiple) * multiple


def pad_by_mirroring(x: Tensor, height: int, width: int) -> Tensor:
    """Pad `(…, h, w)` at the bottom and the right by its mirror image, edge pixels repeated, as often as it takes."""
    for axis, length in ((-2, height), (-1, width)):
        side = x.shape[axis]
        if length > side:
            # Of flips and not of indices: on a GPU the gradient of these is not the same twice.
            mirrored = torch.cat([x, x.flip(axis)], axis)
            x = torch.cat([mirrored] * -(-length // (2 * side)), axis).narrow(axis, 0, length)
    return x
