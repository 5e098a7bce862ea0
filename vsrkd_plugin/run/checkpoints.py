"""Reading checkpoints of any origin without running them, and writing our own so that a kill never truncates one."""

import collections
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, serialization

from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.run.zoo import resolve_weights

# What a checkpoint usually keeps its weights under, in the order in which we look.
WEIGHT_KEYS = ('params', 'params_ema', 'state_dict', 'model', 'net')


class _Inert:
    """Stands in for any class or function a pickle names: keeps the attributes it is given, runs nothing of theirs."""

    attributes: dict[str, Any]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:  # not __init__, which a pickle may go round
        instance = super().__new__(cls)
        instance.attributes = {}
        return instance

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.attributes = state

    # Containers that a pickle fills item by item.
    def append(self, _item: Any) -> None: ...
    def extend(self, _items: Any) -> None: ...
    def __setitem__(self, _key: Any, _value: Any) -> None: ...


class _BuiltTensor:
    """What `torch._utils._rebuild_tensor` and its successor make, without the hooks and metadata of the latter."""

    def __new__(cls, storage: Any, offset: int, size: tuple, stride: tuple, *_hooks: Any) -> Any:
        return torch.empty(0, dtype=storage.dtype).set_(storage, offset, size, stride)


class _BuiltParameter:
    """A parameter becomes the tensor it wraps."""

    def __new__(cls, data: Any, *_hooks: Any) -> Any:
        return data


# What a pickle may build; anything else becomes inert. `__builtin__` is Python 2's name.
_BUILDERS: dict[tuple[str, str], type] = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('builtins', 'set'): set,
    ('__builtin__', 'set'): set,
    ('torch._utils', '_rebuild_tensor'): _BuiltTensor,
    ('torch._utils', '_rebuild_tensor_v2'): _BuiltTensor,
    ('torch._utils', '_rebuild_parameter'): _BuiltParameter,
    ('torch._utils', '_rebuild_parameter_with_state'): _BuiltParameter,
    ('torch.nn.parameter', 'Parameter'): _BuiltParameter,  # torch before 1.0
}


class _InertUnpickler(pickle.Unpickler):
    """Builds tensors, ordered dicts and sets; every other global becomes an inert object, so no code of the file runs.

    torch itself answers for the storage types, before it asks here.
    """

    def find_class(self, module: str, name: str) -> Any:
        # A class made for this one occasion: a pickle can set attributes of whatever it names (opcode BUILD), and
        # must reach nothing that outlives the reading. `__module__` hides it from torch's look for changed sources.
        return type(name, (_BUILDERS.get((module, name), _Inert),), {'__module__': 'inert'})


class _InertPickle:
    """The interface `torch.load(pickle_module=…)` asks for."""

    __name__ = 'inert_pickle'
    Unpickler = _InertUnpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _InertUnpickler(file, **kwargs).load()


def _load_inert(file: Path) -> Any:
    """The content of a checkpoint, in which all but tensors and plain containers is inert or refused."""
    with open(file, 'rb') as opened:
        # torch.load would hand such a file to torch.jit.load, which runs the program in it.
        if serialization._is_zipfile(opened):
            with serialization._open_zipfile_reader(opened) as archive:
                if serialization._is_torchscript_zip(archive):
                    raise pickle.UnpicklingError('a TorchScript program, not a checkpoint of weights')
    try:
        return torch.load(file, map_location='cpu', weights_only=True)
    except Exception:  # whatever a module of other code, or a broken file, makes that one raise
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', "Couldn't retrieve source code")  # of the file's classes: not wanted
            return torch.load(file, map_location='cpu', weights_only=False, pickle_module=_InertPickle())


def _module_weights(module: dict[str, Any], prefix: str = '') -> dict[str, Tensor]:
    """The state dict of an unpickled `nn.Module`'s attributes."""
    weights = {}
    not_saved = module.get('_non_persistent_buffers_set') or ()
    for group in ('_parameters', '_buffers'):
        for name, value in (module.get(group) or {}).items():
            if isinstance(value, Tensor) and name not in not_saved:
                weights[prefix + name] = value.detach()
    for name, child in (module.get('_modules') or {}).items():
        if isinstance(child, _Inert):
            weights.update(_module_weights(child.attributes, f'{prefix}{name}.'))
    return weights


def _find_weights(content: Any, param_key: str | None) -> dict[str, Tensor] | None:
    if isinstance(content, _Inert):
        return _module_weights(content.attributes) or None
    if not isinstance(content, dict):
        return None
    for key in (param_key, *WEIGHT_KEYS):
        if key in content and not isinstance(content[key], Tensor):
            weights = _find_weights(content[key], param_key)
            if weights is not None:
                return weights
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    return None


def read_weights(path: str | os.PathLike, param_key: str | None = 'params') -> dict[str, Tensor]:
    """The state dict in a checkpoint file, on the CPU, without running any code of the file.

    Reads plain state dicts, BasicSR's `{'params': …}`, `{'state_dict': …}` and files that hold a whole pickled
    `nn.Module` (also in torch's format from before 1.6).

    Args:
        path: a file, or `zoo:NAME` for weights that come with this package.
        param_key: the entry to prefer; the usual ones are tried after it.

    Raises:
        UserError: no such file, unreadable or truncated, or no weights in it.
    """
    file = resolve_weights(path)
    if not file.is_file():
        raise UserError(f'{path}: no such checkpoint file')
    try:
        content = _load_inert(file)
    except Exception as error:  # whatever a broken file makes an unpickler raise, the file is what is wrong
        raise UserError(
            f'{path}: cannot be read as a checkpoint, it is truncated or not one ({first_line(error)})'
        ) from error
    try:
        weights = _find_weights(content, param_key)
    except (AttributeError, TypeError, RecursionError) as error:  # a forged module, or one that holds itself
        raise UserError(f'{path}: holds no well-formed module ({first_line(error)})') from error
    if weights is None:
        raise UserError(f'{path}: holds no state dict (looked under {", ".join(WEIGHT_KEYS)} and for a pickled module)')
    return {key.removeprefix('module.'): value for key, value in weights.items()}


def load_weights(
    network: torch.nn.Module, path: str | os.PathLike, param_key: str | None = 'params', strict: bool = True
) -> None:
    """Load a checkpoint into `network`, with one error that names the file and the first mismatch.

    Raises:
        UserError: as `read_weights`; or keys are missing, unexpected, or of another shape.
    """
    weights = read_weights(path, param_key)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    name = type(network).__name__
    for key in expected:
        if key in found and expected[key] != found[key]:
            raise UserError(
                f'{path}: {key} has shape {found[key]}, but the {name} of the options has {expected[key]}; '
                "check the network's options (num_feat, num_in_ch, …) against the checkpoint"
            )
    if strict:
        if missing := [key for key in expected if key not in found]:
            told = f'lacks {missing[0]} ({len(missing)} keys missing) of the {name} of the options'
            raise UserError(f'{path}: {told}; {_hint(missing)}')
        if extra := [key for key in found if key not in expected]:
            told = f'holds {extra[0]} ({len(extra)} keys more) that the {name} of the options has not'
            raise UserError(f'{path}: {told}; {_hint(extra)}')
    network.load_state_dict(weights, strict=strict)


def _hint(keys: list[str]) -> str:
    if keys == ['mixing']:  # RLSP
        return "the checkpoint and the network's options differ in `normalised`"
    return "check the network's options against the checkpoint"


def save_atomically(content: Any, path: str | os.PathLike) -> None:
    """`torch.save` to a temporary file beside `path`, synced, then renamed: `path` is the old file or the whole new."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(text: str, path: str | os.PathLike) -> None:
    """As `save_atomically`, for a text file (UTF-8)."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
