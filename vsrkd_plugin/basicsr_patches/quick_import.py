"""Importing BasicSR without what nobody calls: seconds of every command."""

import importlib
import sys
import types
from typing import Any

# Modules that are slow to import, of which BasicSR or what it imports takes one name that is hardly ever called.
_SLOW = {
    'torch._dynamo.utils': 'is_compile_supported',  # by torchvision.ops.roi_align, for a compiled `roi_align`
    'scipy.stats': 'multivariate_normal',  # by basicsr.data.degradations, for skewed kernels
}


def import_basicsr() -> None:
    """Import BasicSR; does nothing where it is imported already.

    Symptom: every command waits for torch's compiler and for scipy's statistics, two fifths of the time until
    `basicsr info` has told anything. While BasicSR is imported, modules stand in for them that load the real ones when
    they are used, or asked for anything else.
    """
    if 'basicsr' in sys.modules:
        return
    stand_ins = {name: _StandIn(name, known) for name, known in _SLOW.items() if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        importlib.import_module('basicsr')
    finally:
        for name, stand_in in stand_ins.items():
            _withdraw(name, stand_in)


def _withdraw(name: str, stand_in: types.ModuleType) -> None:
    if sys.modules.get(name) is stand_in:
        del sys.modules[name]


class _StandIn(types.ModuleType):
    """A module with one name; asked for another, it gives way to the real one."""

    def __init__(self, name: str, known: str) -> None:
        super().__init__(name)
        vars(self)[known] = _Later(name, known)

    def __getattr__(self, attribute: str) -> Any:
        name = vars(self)['__name__']
        if attribute.startswith('__'):  # importing itself asks for `__path__`, `inspect` all modules for their files
            raise AttributeError(attribute)
        _withdraw(name, self)
        return getattr(importlib.import_module(name), attribute)


class _Later:
    """What a module has under a name, imported when it is called or asked for anything."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._real(), attribute)
