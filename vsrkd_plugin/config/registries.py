"""BasicSR's registries, asked without a print or a traceback; and what the classes in them take. Nothing is built."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vsrkd_plugin.errors import Flaw, nearest, unexpected

VIDEO = 'VideoDataFreeDistillationModel'
DISTILLING = (VIDEO, 'DataFreeDistillationModel')
ON_CLIPS = (VIDEO, 'ClipSRModel')
_BOOL_OR_NONE = r'(typing\.)?Optional\[bool\]|bool \| None|None \| bool'
ADAPTING = 'DomainAdaptationModel'
OURS = (*DISTILLING, ADAPTING, 'ClipSRModel', 'MultiScaleSRModel')


def registries() -> dict[str, Any]:
    """BasicSR's registries by what they hold, filled."""
    from basicsr import archs, data, losses, metrics, models  # noqa: F401 - importing them fills the registries
    from basicsr.utils import registry

    return {
        'network': registry.ARCH_REGISTRY,
        'loss': registry.LOSS_REGISTRY,
        'metric': registry.METRIC_REGISTRY,
        'data set': registry.DATASET_REGISTRY,
        'model': registry.MODEL_REGISTRY,
    }


def schedulers() -> dict[str, Any]:
    """BasicSR's learning rates over time, by the names that options use."""
    from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

    return {
        'MultiStepLR': MultiStepRestartLR,
        'MultiStepRestartLR': MultiStepRestartLR,
        'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
    }


def find_registered(what: str, name: Any) -> Any | None:
    """As the registry's `get`, which prints and raises; `what` as in `registries`."""
    found = {key: value for key, value in registries()[what]}  # a Registry is no mapping
    return (found.get(name) or found.get(f'{name}_basicsr')) if isinstance(name, str) else None


def registered(what: str, name: Any, *keys: str) -> Any:
    """The class or function of a registered name; `keys` say where the name stands.

    Raises:
        Flaw: no such name; tells the nearest.
    """
    if not isinstance(name, str) or not name:
        raise unexpected('text', name, *keys)
    found = find_registered(what, name)
    if found is None:
        near = nearest(name, (key.removesuffix('_basicsr') for key, _ in registries()[what]))
        hint = f'did you mean {near!r}?' if near else 'name the module of one of yours by --import'
        raise Flaw(f'no {what} {name!r} is registered; {hint}', *keys)
    return found


@dataclass(frozen=True)
class Model:
    """What is known of the model that options are for.

    Args:
        name: its registered name.
        kind: the model of ours that it is or derives from, else its name.
        foreign: neither ours nor BasicSR's: it may have keys of its own.
        cls: its class; None if not registered.
    """

    name: str
    kind: str
    foreign: bool
    cls: Any

    @classmethod
    def of(cls, opt: Mapping[str, Any]) -> 'Model':
        """The model that options name."""
        name = opt.get('model_type')
        model = find_registered('model', name)
        bases = [base.__name__ for base in model.__mro__] if inspect.isclass(model) else []
        kind = next((base for base in bases if base in OURS), str(name))
        foreign = model is not None and name not in OURS and not model.__module__.startswith('basicsr.')
        return cls(str(name), kind, foreign, model)

    @property
    def ours(self) -> bool:
        return self.kind in OURS

    @property
    def distils(self) -> bool:
        return self.kind in DISTILLING

    @property
    def adapts(self) -> bool:
        return self.kind == ADAPTING

    @property
    def has_task(self) -> bool:
        """Whether it trains by a task of ours (`models/task_model.py`)."""
        return self.distils or self.adapts

    @property
    def is_video(self) -> bool:
        """Whether it is for clips."""
        return self.kind in ON_CLIPS

    def uses_stock(self, method: str) -> bool:
        """Whether a method is BasicSR's own, with BasicSR's needs."""
        return getattr(getattr(self.cls, method, None), '__module__', '').startswith('basicsr.')


def is_ours_or_stock(built: Callable) -> bool:
    """Whether a class or a function is of this package or of BasicSR; others are somebody else's."""
    return built.__module__.partition('.')[0] in ('vsrkd_plugin', 'basicsr')


def check_arguments(
    built: Callable, options: Mapping[str, Any], supplied: tuple[str, ...] = (), any_name: bool = True
) -> None:
    """Arguments against a signature.

    Args:
        options: `type` and the arguments.
        supplied: arguments that are given by others.
        any_name: a signature with `**kwargs` takes any name.

    Raises:
        Flaw: an argument it does not take, or one that it needs is missing.
    """
    name, parameters = options['type'], inspect.signature(built).parameters.values()
    rest = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = {parameter.name: parameter for parameter in parameters if parameter.kind not in rest}
    takes_any = any_name and any(parameter.kind == rest[0] for parameter in parameters)
    own = [key for key in known if key not in supplied or key in options]
    for key in options:
        if key != 'type' and key not in known and not takes_any:
            near = nearest(key, own)
            hint = f'did you mean {near!r}?' if near else f'it takes {", ".join(own) or "none"}'
            raise Flaw(f'{name} has no argument {key!r}; {hint}')
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in options and key not in supplied:
            raise Flaw(f'key {key!r} is missing, which {name} needs')
        if key in options:
            _check_kind(parameter, options[key])


def _check_kind(parameter: inspect.Parameter, value: Any) -> None:
    """A number where a number is the default, true or false where one of them is.

    Raises:
        Flaw: neither, nor None where an annotation allows it.
    """
    default, said = parameter.default, str(parameter.annotation)
    if any(word in said.lower() for word in ('str', 'any', 'literal', 'mapping', 'dict')):
        return  # its kind is not told by its default
    if isinstance(default, bool) or (default is None and re.fullmatch(_BOOL_OR_NONE, said)):
        fits, what = value in (True, False), 'true or false'  # 0 and 1 too
    elif isinstance(default, int | float):
        fits, what = not isinstance(value, str | Mapping), 'a number'  # or several, of what takes both
    else:
        return
    if not fits and value is not None:
        raise unexpected(what, value, parameter.name)
