"""Checkpoint files that try to do something when they are read, made on the spot, and a process that reads them all.

`python hostile_checkpoints.py FOLDER` reads every file of FOLDER with `read_weights` and prints, as JSON, for each what
came of it and what the interpreter was seen doing meanwhile (audit events: opening for writing, importing, starting a
process, …).
"""

import io
import json
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAP = 'TRAP'  # no file of this name may come to be
STOP, MARK, REDUCE, BUILD, PERSID, TUPLE1, TUPLE2, TUPLE3 = (
    b'.', b'(', b'R', b'b', b'Q', b'\x85', b'\x86', b'\x87',
)  # fmt: skip
PART = b'<part>'  # of a storage: a member of references that the zip file has not, and None in the older format
LEGACY_HEAD = b''.join(
    pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True, 'protocol_version': 1001})
)


def name(module: str, qualified: str) -> bytes:
    """Opcode GLOBAL."""
    return f'c{module}\n{qualified}\n'.encode()


def text(value: str) -> bytes:
    """Opcode BINUNICODE."""
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """Opcode LONG1."""
    data = pickle.encode_long(value)
    return b'\x8a' + bytes([len(data)]) + data


def many(*parts: bytes) -> bytes:
    """A tuple."""
    return MARK + b''.join(parts) + b't'


def call(function: bytes, *arguments: bytes) -> bytes:
    """Opcode REDUCE."""
    return function + many(*arguments) + REDUCE


def mapping(**entries: bytes) -> bytes:
    """A dict."""
    return b'}(' + b''.join(text(key) + value for key, value in entries.items()) + b'u'


def attributes(**entries: bytes) -> bytes:
    """Opcode BUILD with a state for slots: Python's unpickler sets these attributes of whatever is on the stack."""
    return many(b'N', mapping(**entries)) + BUILD


def reference(kind: bytes, key: str, length: int, part: bytes = PART) -> bytes:
    """A persistent id of a storage."""
    return many(text('storage'), kind, text(key), text('cpu'), number(length), part) + PERSID


FLOATS = name('torch', 'FloatStorage')
TENSOR = name('torch._utils', '_rebuild_tensor_v2')


def tensor(numbers: bytes, offset: int = 0, size: int = 2, stride: int = 1) -> bytes:
    """A vector on a storage."""
    return call(
        TENSOR, numbers, number(offset), number(size) + TUPLE1, number(stride) + TUPLE1, b'\x89', call(ORDERED)
    )  # fmt: skip


ORDERED = name('collections', 'OrderedDict')
SHELL = f'touch {TRAP}'
NESTED = 200_000

# Programs that are put into both containers, the zip file of torch and the sequence from before 1.6.
PROGRAMS: dict[str, bytes] = {
    'os.system': call(name('os', 'system'), text(SHELL)),
    'posix.system': call(name('posix', 'system'), text(SHELL)),
    'eval': call(name('builtins', 'eval'), text(f'open({TRAP!r}, "w")')),
    'eval of Python 2': call(name('__builtin__', 'eval'), text(f'open({TRAP!r}, "w")')),
    'exec': call(name('builtins', 'exec'), text(f'open({TRAP!r}, "w")')),
    'open': call(name('builtins', 'open'), text(TRAP), text('w')),
    'io.open': call(name('io', 'open'), text(TRAP), text('w')),
    'Popen': call(name('subprocess', 'Popen'), text(f'exec {SHELL}')),
    'touch': call(name('pathlib', 'Path.touch'), call(name('pathlib', 'Path'), text(TRAP))),
    'import of a new module': call(name('importlib', 'import_module'), text('antigravity')),
    'name in a new module': name('antigravity', 'geohash'),
    'torch.load': call(name('torch', 'load'), text('other.pth')),
    'torch.save': call(name('torch', 'save'), b']', text(TRAP)),
    'torch.hub': call(name('torch.hub', 'load_state_dict_from_url'), text('http://127.0.0.1:9/x')),
    'torch.jit': call(name('torch.jit', 'load'), text('other.pth')),
    'torch in torch': call(name('torch.storage', '_load_from_bytes'), b'C\x05nope.'),
    'a file as a storage': call(name('torch', 'FloatStorage.from_file'), text(TRAP), b'\x88', number(4)),
    'a file as a tensor': call(name('torch', 'from_file'), text(TRAP), b'\x88', number(4)),
    'torch._inductor': name('torch', '_inductor'),
    'compiling C++': call(name('torch.utils.cpp_extension', 'load_inline'), text('x'), text('')),
    'os of torch.serialization': call(name('torch.serialization', 'os.system'), text(SHELL)),
    'nested STACK_GLOBAL': text('torch.serialization') + text('os.system') + b'\x93' + text(SHELL) + TUPLE1 + REDUCE,
    'STACK_GLOBAL of no texts': number(1) + number(2) + b'\x93',
    'INST': MARK + text(SHELL) + b'ios\nsystem\n',
    'OBJ': MARK + name('os', 'system') + text(SHELL) + b'o',
    'NEWOBJ': name('subprocess', 'Popen') + text(SHELL) + TUPLE1 + b'\x81',
    'NEWOBJ_EX': name('subprocess', 'Popen') + text(SHELL) + TUPLE1 + b'}' + b'\x92',
    'EXT1': b'\x82\x01',
    'getattr': call(call(name('builtins', 'getattr'), name('os', 'path'), text('os')), text(SHELL)),
    'chain of getattr': call(
        call(name('builtins', 'getattr'), call(name('importlib', 'import_module'), text('os')), text('system')),
        text(SHELL),
    ),
    'attrgetter': call(call(name('operator', 'attrgetter'), text('system')), name('os', 'path')),
    'partial': call(call(name('functools', 'partial'), name('os', 'system'), text(SHELL))),
    'map and list': call(name('builtins', 'list'), call(name('builtins', 'map'), name('os', 'system'), text(SHELL))),
    'marshal': call(name('marshal', 'loads'), b'C\x01c'),
    'reconstructor': call(
        name('copyreg', '_reconstructor'), name('subprocess', 'Popen'), name('builtins', 'object'), b'N'
    ),
    'newobj of copyreg': call(name('copyreg', '__newobj__'), name('subprocess', 'Popen'), text(SHELL)),
    'pickle in a pickle': call(name('pickle', 'loads'), b'C\x1ccposix\nsystem\n(VtouchTRAP\ntR.'),
    'attributes of a class': name('a', 'Class') + attributes(dump_patches=b'\x88', __module__=text('json')),
    'attributes of torch': name('torch', 'serialization') + attributes(injected=b'\x88'),
    'attributes of a builder': ORDERED + attributes(injected=b'\x88'),
    'attributes of a storage': FLOATS + attributes(injected=b'\x88'),
    'attributes of a function': TENSOR + attributes(injected=b'\x88', __code__=b'N'),
    'attributes of a dict': ORDERED + b')' + REDUCE + attributes(update=name('os', 'system')),
    'state that is code': name('a', 'Class') + b')\x81' + name('os', 'system') + text(SHELL) + TUPLE1 + REDUCE + BUILD,
    '__setstate__': name('a', 'Class') + attributes(__setstate__=name('os', 'system')) + text(SHELL) + BUILD,
    '__reduce_ex__': name('a', 'Class') + attributes(__new__=name('os', 'system')) + text(SHELL) + TUPLE1 + b'\x81',
    'items of a class': name('a', 'Class') + text('key') + number(1) + b's',
    'builder called with too little': call(TENSOR),
    'builder called with wrong things': call(TENSOR, number(1), number(2), number(3), number(4)),
    'builder behind a builder': call(
        name('torch._tensor', '_rebuild_from_type_v2'), name('os', 'system'), b'N', text(SHELL) + TUPLE1, b'N'
    ),
    'unknown reference': many(text('module_'), name('a', 'b'), text('c'), text('d')) + PERSID,
    'reference that is no tuple': number(7) + PERSID,
    'reference as text': b'Pabc\n',
    'storage of no type': tensor(reference(name('os', 'system'), '0', 2)),
    'storage of another file': tensor(reference(FLOATS, '../../../etc/passwd', 2)),
    'storage without end': tensor(reference(FLOATS, '0', 1 << 60)),
    'storage below zero': tensor(reference(FLOATS, '0', -5)),
    'storage whose key is a tuple': tensor(
        many(text('storage'), FLOATS, b')' + TUPLE1 * NESTED, text('cpu'), number(2), PART) + PERSID
    ),
    'nested lists': b']' * NESTED + b'a' * (NESTED - 1),
    'nested tuples': b')' + TUPLE1 * NESTED,
    'nested tuples as a key': b'})' + TUPLE1 * NESTED + number(1) + b's',
    'nested tuples in a set': b'\x8f(' + b')' + TUPLE1 * NESTED + b'\x90',
    'nested entries': (b'}' + text('model')) * NESTED + b'}' + b's' * NESTED,
    'a list in itself': b']q\x00h\x00a',
    'an entry in itself': b'}q\x00' + text('model') + b'h\x00s',
    'a million entries of few': b'}q\x00'
    + b''.join(
        b'}('
        + b''.join(text(key) + b'h' + bytes([level]) for key in ('params', 'model', 'net', 'state_dict'))
        + b'uq'
        + bytes([level + 1])
        for level in range(40)
    ),
    'modules in themselves': name('a', 'Net')
    + b')\x81q\x00}q\x01('
    + text('_modules')
    + mapping(a=b'h\x00', b=b'h\x00', c=b'h\x00')
    + b'ub',
    'modules that are none': name('a', 'Net') + b')\x81' + mapping(_modules=number(3), _parameters=b']') + BUILD,
    'unknown memo': b'h\x07',
    'memo below zero': b']p-1\nh\x00',
    'empty stack': b'0',
    'no mark': b'u',
    'number without end': b'I' + b'9' * 100_000 + b'\n',
    'text without end': b'\x8d' + struct.pack('<Q', 1 << 62),
    'unhashable key': b'}]' + number(1) + b's',
}


def zipped(program: bytes, numbers: bytes = bytes(8)) -> bytes:
    """A program in torch's zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02' + program.replace(PART, b'') + STOP)
        archive.writestr('archive/byteorder', b'little')
        archive.writestr('archive/data/0', numbers)
        archive.writestr('archive/version', b'3\n')
    return stream.getvalue()


def sequence(program: bytes, keys: tuple[str, ...] = (), numbers: bytes = b'') -> bytes:
    """A program in torch's format from before 1.6."""
    return LEGACY_HEAD + b'\x80\x02' + program.replace(PART, b'N') + STOP + pickle.dumps(list(keys), 2) + numbers


def _changed_source(folder: Path) -> bytes:
    """A class whose source differs from the file's: torch writes the difference to `<name of the class>.patch`."""
    forged = ORDERED + attributes(
        __name__=text(str(folder / TRAP)),
        __module__=text('json.decoder'),
        __qualname__=text('JSONDecoder'),
        dump_patches=b'\x88',
    )
    return sequence(many(text('module'), forged, text('any.py'), text('echo what the file likes')) + PERSID)


def _tar(links: bool) -> bytes:
    """The format of the first torch, which is unpacked to the disk: with its members, or with links in their place."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as tar:
        for member in ('storages', 'tensors', 'pickle'):
            info, content = tarfile.TarInfo(member), pickle.dumps(0, 2)
            if member == 'pickle':
                content = call(name('os', 'system'), text(SHELL)) + STOP
            if links:
                info.type, info.linkname, content = tarfile.LNKTYPE, '/etc/hostname', b''
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _script() -> bytes:
    import warnings

    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 3)), stream)
    return stream.getvalue()


def _numpy(old: bool) -> bytes:
    """Weights beside scalars and arrays of numpy, as trainings of other code keep them."""
    import numpy as np
    import torch

    stream, weights = io.BytesIO(), {'weight': torch.arange(2.0)}
    content = {'best': np.float64(3), 'curve': np.arange(3), 'names': np.array(['a'], dtype=object), 'params': weights}
    torch.save(content, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def _legacy_view(start: int, length: int) -> bytes:
    part = reference(FLOATS, '0', 2, many(text('1'), number(start), number(length)))
    return sequence(mapping(weight=tensor(part, size=length)), ('0',), struct.pack('<q', 2) + bytes(8))


# Files as wholes.
FILES: dict[str, Callable[[Path], bytes]] = {
    'changed source': _changed_source,
    'tar': lambda _: _tar(links=False),
    'tar of links': lambda _: _tar(links=True),
    'TorchScript': lambda _: _script(),
    'zip without data': lambda _: zipped(b'N').replace(b'data.pkl', b'data.plk'),
    'tensor beyond its storage': lambda _: zipped(mapping(weight=tensor(reference(FLOATS, '0', 2), size=99))),
    'tensor before its storage': lambda _: zipped(mapping(weight=tensor(reference(FLOATS, '0', 2), offset=-1, size=1))),
    'tensor with a stride below zero': lambda _: zipped(mapping(weight=tensor(reference(FLOATS, '0', 2), stride=-1))),
    'tensor of half a record': lambda _: zipped(mapping(weight=tensor(reference(FLOATS, '0', 2))), numbers=bytes(4)),
    'storage without its numbers': lambda _: sequence(mapping(weight=tensor(reference(FLOATS, '0', 2)))),
    'storage with other numbers': lambda _: sequence(
        mapping(weight=tensor(reference(FLOATS, '0', 2))), ('0',), struct.pack('<q', 3) + bytes(12)
    ),
    'part beyond its storage': lambda _: _legacy_view(1, 2),
}
# Files that hold weights, whatever else is in them.
HARMLESS: dict[str, Callable[[Path], bytes]] = {
    'plain': lambda _: zipped(mapping(weight=tensor(reference(FLOATS, '0', 2)))),
    'plain, old': lambda _: sequence(
        mapping(weight=tensor(reference(FLOATS, '0', 2))), ('0',), struct.pack('<q', 2) + bytes(8)
    ),
    'part of a storage': lambda _: _legacy_view(1, 1),
    'numpy': lambda _: _numpy(old=False),
    'numpy, old': lambda _: _numpy(old=True),
    'weights beside an attack': lambda _: zipped(
        mapping(config=PROGRAMS['os.system'], params=mapping(weight=tensor(reference(FLOATS, '0', 2))))
    ),
}


def write_all(folder: Path) -> dict[str, bool]:
    """Write the files; whether each holds weights, by its name."""
    files = {f'{title}, zip': (zipped(program), False) for title, program in PROGRAMS.items()}
    files |= {f'{title}, old': (sequence(program), False) for title, program in PROGRAMS.items()}
    files |= {title: (make(folder), False) for title, make in FILES.items()}
    files |= {title: (make(folder), True) for title, make in HARMLESS.items()}
    for title, (content, _) in files.items():
        (folder / f'{title}.pth').write_bytes(content)
    return {title: holds for title, (_, holds) in files.items()}


def _read_all(folder: Path) -> dict[str, Any]:
    import os

    from vsrkd_plugin.errors import UserError
    from vsrkd_plugin.run.checkpoints import read_weights

    seen: list[str] = []
    listening = False
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def listen(event: str, arguments: tuple) -> None:
        if not listening or event == 'builtins.id':
            return
        if event == 'open' and not arguments[2] & writing:
            return
        seen.append(f'{event}{arguments!r}'[:200])

    sys.addaudithook(listen)
    for title in HARMLESS:  # what is imported once, for good files too, is no file's doing
        read_weights(folder / f'{title}.pth')
    found = {}
    for file in sorted(folder.glob('*.pth')):
        seen.clear()
        listening = True
        try:
            outcome = f'weights: {", ".join(read_weights(file))}'
        except UserError as error:
            outcome = f'UserError: {error}'
        except BaseException as error:
            outcome = f'{type(error).__name__}: {error}'[:500]
        listening = False
        found[file.stem] = {'outcome': outcome, 'events': list(seen)}
    return found


if __name__ == '__main__':
    print(json.dumps(_read_all(Path(sys.argv[1]))))
