"""Pickles read as data. Nothing that a pickle names is imported, looked up, called or set: its opcodes are interpreted
here, and the only results are plain containers, numbers, texts, tensors and `Inert` objects.

Python's own unpickler calls what a file names, and with opcode BUILD sets attributes of it; guarding it class by class
leaves holes, in torch's readers too (one wrote a file whose name and content the checkpoint chose).
"""

import math
import pickle
import pickletools
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

_MOST_REPEATED = 1 << 24  # numbers of a tensor that repeats those of its storage


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names: its name, and never the thing itself."""

    module: str
    name: str


class Inert:
    """Stands for an object of any class that is not built here. Holds the attributes that the pickle gives it."""

    __slots__ = ('attributes',)

    def __init__(self) -> None:
        self.attributes: dict[Any, Any] = {}


@dataclass(frozen=True)
class Storage:
    """Numbers that tensors are views of: `length` of them, from number `start` of `untyped` on."""

    untyped: torch.UntypedStorage
    dtype: torch.dtype
    start: int
    length: int


# What storage classes hold. `UntypedStorage` is of bytes; the tensor on it names its own type.
STORAGE_DTYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'ComplexDoubleStorage': torch.complex128,
    'ComplexFloatStorage': torch.complex64,
    'UntypedStorage': torch.uint8,
}


def load(file: IO[bytes], find_storage: Callable[[Any], Any] | None = None) -> Any:
    """The content of the pickle that `file` stands at; `file` then stands behind it.

    Args:
        file: opened for reading bytes.
        find_storage: what a persistent id stands for; without it such ids are refused.

    Raises:
        Exception: of many types, where the pickle is broken or forged. It is read, never run.
    """
    return _Machine(find_storage).run(file)


def _whole(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_hooks: Any) -> Tensor:
    """What `torch._utils._rebuild_tensor` and its successor make; hooks and metadata are left out."""
    if type(storage) is not Storage:
        raise pickle.UnpicklingError('a tensor without a storage')
    return _view(storage, storage.dtype, offset, size, stride)


def _tensor_with_dtype(storage: Any, offset: Any, size: Any, stride: Any, *others: Any) -> Tensor:
    """`_rebuild_tensor_v3`: the storage is of bytes, the type comes after `requires_grad` and the hooks."""
    dtype = others[2]
    if type(storage) is not Storage or not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError('a tensor without a storage or a type')
    return _view(storage, dtype, offset, size, stride)


def _view(storage: Storage, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Tensor:
    shaped = type(size) is tuple and type(stride) is tuple and len(size) == len(stride)
    if not shaped or not _whole(offset, *size, *stride):
        raise pickle.UnpicklingError('a tensor of impossible shape')
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else -1
    first = storage.start * storage.dtype.itemsize  # in bytes
    if first % dtype.itemsize:
        raise pickle.UnpicklingError('a tensor that does not lie on its storage')
    if (offset + last + 1) * dtype.itemsize > storage.length * storage.dtype.itemsize:
        raise pickle.UnpicklingError('a tensor beyond its storage')
    # Strides of 0 repeat numbers: of a file of some bytes whoever computes with the tensor would fill the memory.
    if math.prod(size) > max(storage.length, _MOST_REPEATED):
        raise pickle.UnpicklingError('a tensor of far more numbers than its storage holds')
    return torch.empty(0, dtype=dtype).set_(storage.untyped, first // dtype.itemsize + offset, size, stride)


def _parameter(data: Any, *_others: Any) -> Any:
    """A parameter becomes the tensor that it wraps."""
    return data


def _tensor_of_type(build: Any, _type: Any, arguments: Any, *_state: Any) -> Any:
    """`_rebuild_from_type_v2`: a tensor that has attributes, or is of a subclass, as the plain tensor."""
    return _made(build, arguments)


def _set(items: Any = ()) -> set[Any]:
    return {_key(item) for item in items} if type(items) in (list, tuple) else set()


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((_key(key), value) for key, value in items) if type(items) in (list, tuple) else OrderedDict()


# All that a pickle may have made. `__builtin__` is Python 2's name.
_BUILDERS: dict[Name, Callable[..., Any]] = {
    Name('collections', 'OrderedDict'): _ordered,
    Name('collections', 'defaultdict'): lambda *_factory: {},
    Name('builtins', 'set'): _set,
    Name('__builtin__', 'set'): _set,
    Name('torch._utils', '_rebuild_tensor'): _tensor,
    Name('torch._utils', '_rebuild_tensor_v2'): _tensor,
    Name('torch._utils', '_rebuild_tensor_v3'): _tensor_with_dtype,
    Name('torch._tensor', '_rebuild_from_type_v2'): _tensor_of_type,
    Name('torch._utils', '_rebuild_parameter'): _parameter,
    Name('torch._utils', '_rebuild_parameter_with_state'): _parameter,
    Name('torch.nn.parameter', 'Parameter'): _parameter,  # torch before 1.0
}


def _made(what: Any, arguments: Any) -> Any:
    """What calling `what` stands for: built, if it is on the list; inert otherwise."""
    build = _BUILDERS.get(what) if type(what) is Name else None
    return build(*arguments) if build and type(arguments) is tuple else Inert()


def _named(module: Any, name: Any) -> Any:
    """A name; or the number format it means (`torch float32`)."""
    if type(module) is not str or type(name) is not str:
        raise pickle.UnpicklingError('a name that is no text')
    # Not getattr: torch imports some of its modules when they are asked for.
    value = vars(torch).get(name) if module == 'torch' else None
    return value if isinstance(value, torch.dtype) else Name(sys.intern(module), sys.intern(name))


def _key(value: Any) -> Any:
    """A key of a dict or an item of a set. Hashing goes down nested tuples in C, a million deep it ends the process."""
    if type(value) is tuple and any(type(part) is tuple for part in value):
        raise pickle.UnpicklingError('nested tuples as a key')
    return value


_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_EMPTY: dict[str, Callable[[], Any]] = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
# Opcodes whose argument is the value: numbers, texts, bytes.
_VALUES = {
    'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4',
    'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING', 'SHORT_BINSTRING', 'UNICODE',
    'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8',
}  # fmt: skip


class _Machine:
    """The stack machine that a pickle is a program of."""

    def __init__(self, find_storage: Callable[[Any], Any] | None) -> None:
        self._find_storage = find_storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks under the marks
        self._memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        """The object on the stack at STOP."""
        for opcode, argument, _ in pickletools.genops(file):
            self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in _VALUES:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in ('GET', 'BINGET', 'LONG_BINGET'):
            stack.append(self._memo[argument])
        elif opcode in ('PUT', 'BINPUT', 'LONG_BINPUT'):
            self._memo[argument] = stack[-1]
        elif opcode == 'MEMOIZE':
            self._memo[len(self._memo)] = stack[-1]
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            if len(stack) < count:
                raise pickle.UnpicklingError('too little on the stack')
            stack[-count:] = [tuple(stack[-count:])]
        elif opcode == 'MARK':
            self._below.append(stack)
            self._stack = []
        elif opcode == 'POP':
            if stack:
                stack.pop()
            else:
                self._since_mark()
        elif opcode == 'DUP':
            stack.append(stack[-1])
        elif opcode not in ('PROTO', 'FRAME', 'STOP'):
            self._contain(opcode, argument)

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _contain(self, opcode: str, argument: Any) -> None:
        """Opcodes that make or fill containers."""
        if opcode == 'POP_MARK':
            self._since_mark()
        elif opcode == 'TUPLE':
            items = self._since_mark()
            self._stack.append(tuple(items))
        elif opcode == 'LIST':
            items = self._since_mark()
            self._stack.append(items)
        elif opcode in ('DICT', 'FROZENSET'):
            items = self._since_mark()
            self._stack.append({} if opcode == 'DICT' else frozenset(_set(items)))
            if opcode == 'DICT':
                self._fill(items)
        elif opcode in ('SETITEM', 'SETITEMS'):
            items = self._since_mark() if opcode == 'SETITEMS' else [self._stack.pop(-2), self._stack.pop()]
            self._fill(items)
        elif opcode in ('APPEND', 'APPENDS'):
            items = self._since_mark() if opcode == 'APPENDS' else [self._stack.pop()]
            if type(self._stack[-1]) is list:
                self._stack[-1].extend(items)
        elif opcode == 'ADDITEMS':
            items = self._since_mark()
            if type(self._stack[-1]) is set:
                self._stack[-1].update(map(_key, items))
        else:
            self._stand_for(opcode, argument)

    def _fill(self, items: list[Any]) -> None:
        """Keys and values, in turn, into the dict on the stack. What is inert takes nothing."""
        target = self._stack[-1]
        if type(target) in (dict, OrderedDict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_key(key)] = value

    def _stand_for(self, opcode: str, argument: Any) -> None:
        """Opcodes by which Python's unpickler imports, calls and sets attributes."""
        stack = self._stack
        if opcode == 'GLOBAL':
            stack.append(_named(*argument.split(' ', 1)))
        elif opcode == 'STACK_GLOBAL':
            stack.append(_named(stack.pop(-2), stack.pop()))
        elif opcode in ('REDUCE', 'NEWOBJ'):
            stack.append(_made(stack.pop(-2), stack.pop()))
        elif opcode == 'NEWOBJ_EX':
            del stack[-3:]
            stack.append(Inert())
        elif opcode in ('INST', 'OBJ'):
            self._since_mark()
            self._stack.append(Inert())
        elif opcode == 'BUILD':
            state = stack.pop()
            if type(state) is tuple and state:  # attributes in `__dict__`, then in slots
                state = state[0]
            if type(stack[-1]) is Inert and type(state) is dict:
                stack[-1].attributes = state
        elif opcode in ('BINPERSID', 'PERSID') and self._find_storage:
            stack.append(self._find_storage(stack.pop() if opcode == 'BINPERSID' else argument))
        else:
            raise pickle.UnpicklingError(f'opcode {opcode} has no place in a checkpoint')
