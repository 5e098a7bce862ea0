"""Networks of the library spandrel, which knows some forty families that BasicSR has not."""

import importlib
import inspect
from types import ModuleType
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

_ROOT = 'spandrel.architectures'


@ARCH_REGISTRY.register()
def SpandrelNetwork(*, family: str, model: str | None = None, **arguments: Any) -> nn.Module:
    """A network of spandrel (extra `[spandrel]`), by its family and the arguments of its class.

    `vsrkd inspect` finds both out from a checkpoint. Inputs and outputs `(n, c, h, w)` in [0, 1].

    Args:
        family: such as `SPAN`, the name that spandrel gives it.
        model: name of the class, in a family that has several; the first if None.
        arguments: of the class; those that are left out have the class's own defaults.

    Raises:
        ValueError: spandrel is not installed, does not know the family, or an argument does not fit.
    """
    cls = network_class(family, model)
    try:
        return cls(**{key: _without_lists(value) for key, value in arguments.items()})
    except TypeError as error:
        raise ValueError(f'{family} of spandrel: {error}') from error


def network_class(family: str, model: str | None = None) -> type[nn.Module]:
    """A class that a family's package exports: that of a name, or the first.

    Raises:
        ValueError: spandrel is not installed, or knows no such family or class.
    """
    require_spandrel()
    # A name, not a path: what stands in options must not import anything else.
    name = family if family.isidentifier() else ''
    try:
        package: ModuleType = importlib.import_module(f'{_ROOT}.{name}')
    except ModuleNotFoundError as error:
        raise ValueError(f'spandrel knows no family {family!r}') from error
    exported = [getattr(package, key) for key in getattr(package, '__all__', ())]
    classes = {cls.__name__: cls for cls in exported if inspect.isclass(cls) and issubclass(cls, nn.Module)}
    if not classes or (model is not None and model not in classes):
        raise ValueError(f'the family {family!r} of spandrel has no network {model or "of its own"}')
    return next(iter(classes.values())) if model is None else classes[model]


def require_spandrel() -> ModuleType:
    """The library; raises `ValueError` where it is not installed."""
    try:
        return importlib.import_module('spandrel')
    except ModuleNotFoundError as error:
        raise ValueError("needs the library spandrel: pip install 'vsrkd_plugin[spandrel]'") from error


def _without_lists(value: Any) -> Any:
    """YAML has lists where constructors expect tuples; a list of lists is one of tuples."""
    return tuple(_without_lists(entry) for entry in value) if isinstance(value, list) else value
