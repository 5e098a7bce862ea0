"""What options build by name: is the name registered, and does what it names take these arguments? Nothing is built."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vsrkd_plugin.config import schema
from vsrkd_plugin.config.schema import Field, Fields
from vsrkd_plugin.errors import UserError

# Arguments of optimisers and schedulers whose values are known here; names are checked against the signature.
_ARGUMENTS: Fields = {
    'lr': Field(schema.POSITIVE, 'learning rate'),
    'betas': Field(schema.BETAS, 'decay of the two averages'),
    'lr_other': Field(schema.POSITIVE, 'learning rate of what is no matrix'),
    'weight_decay': Field(schema.NOT_NEGATIVE, 'weight decay'),
    'momentum': Field(schema.NOT_NEGATIVE, 'momentum'),
    'eps': Field(schema.NOT_NEGATIVE, 'keeps divisions finite'),
    'periods': Field(schema.COUNTS, 'length of each cosine'),
    'milestones': Field(schema.COUNTS, 'where the rate falls'),
    'restarts': Field(schema.list_of(schema.count(0), 'whole numbers >= 0'), 'where the rate starts again'),
    'restart_weights': Field(schema.list_of(schema.NOT_NEGATIVE, 'numbers >= 0'), 'factor from each restart'),
    'gamma': Field(schema.POSITIVE, 'factor at a milestone'),
    'eta_min': Field(schema.NOT_NEGATIVE, 'the least rate'),
}


def place_of(*keys: Any) -> str:
    """How errors name a place in the options: `train, optim_g, lr`."""
    return ', '.join(str(key) for key in keys if key != schema.TOP)


def nearest(name: Any, known: Iterable[Any], cutoff: float = 0.6) -> str | None:
    """The known name most like `name`, upper and lower case alike."""
    by_lower = {str(key).lower(): str(key) for key in known}
    found = difflib.get_close_matches(str(name).lower(), by_lower, 1, cutoff)
    return by_lower[found[0]] if found else None


def show(value: Any) -> str:
    """A value as errors quote it, on one line."""
    text = 'nothing' if value is None else repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def check_kind(value: Any, kind: schema.Kind, place: str) -> None:
    """Raise `UserError` unless `value` is of the kind."""
    if not kind.accepts(value):
        raise UserError(f'{place}: expected {kind.expected}, got {show(value)}')


def need(options: Mapping, key: str, place: str, kind: schema.Kind | None = None, why: str = '') -> Any:
    """The value of a key that must be there, and be of a kind.

    Raises:
        UserError: it is missing or another kind.
    """
    if options.get(key) is None:
        what = '; '.join(text for text in (why, f'expected {kind.expected}' if kind else '') if text)
        raise UserError(f'{place}: key {key!r} is missing' + (f' ({what})' if what else ''))
    if kind:
        check_kind(options[key], kind, place_of(place, key))
    return options[key]


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


def find_registered(what: str, name: Any) -> Any | None:
    """As the registry's `get`, which prints and raises; `what` as in `registries`."""
    found = {key: value for key, value in registries()[what]}  # a Registry is no mapping
    return (found.get(name) or found.get(f'{name}_basicsr')) if isinstance(name, str) else None


def registered(what: str, name: Any, place: str) -> Any:
    """The class or function of a registered name.

    Raises:
        UserError: no such name; tells the nearest.
    """
    check_kind(name, schema.TEXT, place)
    found = find_registered(what, name)
    if found is None:
        near = nearest(name, (key.removesuffix('_basicsr') for key, _ in registries()[what]))
        hint = f'did you mean {near!r}?' if near else 'name the module of one of yours by --import'
        raise UserError(f'{place}: no {what} {name!r} is registered; {hint}')
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
    def of(cls, opt: Mapping) -> 'Model':
        """The model that options name."""
        name = opt.get('model_type')
        model = find_registered('model', name)
        bases = [base.__name__ for base in model.__mro__] if inspect.isclass(model) else []
        kind = next((base for base in bases if base in schema.OURS), str(name))
        foreign = model is not None and name not in schema.OURS and not model.__module__.startswith('basicsr.')
        return cls(str(name), kind, foreign, model)

    @property
    def ours(self) -> bool:
        return self.kind in schema.OURS

    @property
    def distils(self) -> bool:
        return self.kind in schema.DISTILLING

    @property
    def is_video(self) -> bool:
        """Whether it is for clips."""
        return self.kind in schema.ON_CLIPS

    def uses_stock(self, method: str) -> bool:
        """Whether a method is BasicSR's own, with BasicSR's needs."""
        return getattr(getattr(self.cls, method, None), '__module__', '').startswith('basicsr.')


def check_component(what: str, options: Mapping, place: str) -> None:
    """A mapping with `type` and the arguments of a registered network or loss.

    Raises:
        UserError: an unknown type or argument, or a missing one.
    """
    built = registered(what, need(options, 'type', place), f'{place}, type')
    supplied = ('num_out_ch', 'lr_size') if place == 'network_z' else ()  # the model knows them
    arguments = {key: value for key, value in options.items() if key != 'type'}
    check_arguments(built, options['type'], arguments, place, supplied)
    if what == 'network' and isinstance(inner := arguments.get('network'), Mapping):
        check_component(what, inner, place_of(place, 'network'))


def check_arguments(
    built: Callable, name: str, arguments: Mapping, place: str, supplied: tuple[str, ...] = (), any_name: bool = True
) -> None:
    """Arguments against a signature.

    Args:
        supplied: arguments that are given by others.
        any_name: a signature with `**kwargs` takes any name.

    Raises:
        UserError: an argument it does not take, or one that it needs is missing.
    """
    parameters = inspect.signature(built).parameters.values()
    rest = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = {parameter.name: parameter for parameter in parameters if parameter.kind not in rest}
    takes_any = any_name and any(parameter.kind == rest[0] for parameter in parameters)
    own = [key for key in known if key not in supplied or key in arguments]
    for key in arguments:
        if key not in known and not takes_any:
            near = nearest(key, own)
            hint = f'did you mean {near!r}?' if near else f'it takes {", ".join(own) or "none"}'
            raise UserError(f'{place}: {name} has no argument {key!r}; {hint}')
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in arguments and key not in supplied:
            raise UserError(f'{place}: key {key!r} is missing, which {name} needs')


def check_metric(options: Any, place: str, model: Model, datasets: Mapping[str, Any]) -> None:
    """A metric of `val.metrics`, and that there is GT for it to compare with.

    Raises:
        UserError: as `check_component`; or a data set without GT.
    """
    check_kind(options, schema.MAPPING, place)
    check_kind(options.get('better', 'higher'), schema.one_of('higher', 'lower'), f'{place}, better')
    metric = registered('metric', need(options, 'type', place), f'{place}, type')
    arguments = {key: value for key, value in options.items() if key not in ('type', 'better')}
    supplied = ('img', 'img2', *(('crop_border',) if model.ours else ()))  # ours crop by the scale
    # BasicSR's own metrics take any argument and ignore it: a mistyped one would go unseen.
    foreign = not metric.__module__.startswith('basicsr.')
    check_arguments(metric, options['type'], arguments, place, supplied, any_name=foreign)
    if 'img2' not in inspect.signature(metric).parameters:
        return
    sets = {phase: dataset for phase, dataset in datasets.items() if phase != 'train'}
    blind = [phase for phase, dataset in sets.items() if _lacks_gt(dataset)]
    if blind and not model.ours:  # ours leave the metrics out for such a set
        raise UserError(f'{place}: {options["type"]} compares with GT, but datasets, {blind[0]} has no dataroot_gt')


def _lacks_gt(dataset: Mapping) -> bool:
    cls = find_registered('data set', dataset.get('type'))
    return cls is not None and cls.__module__.startswith('basicsr.') and not dataset.get('dataroot_gt')


def check_optimizer(options: Mapping, place: str, model: Model) -> None:
    """An optimiser and its arguments.

    Raises:
        UserError: a type that the model does not know, an argument that the optimiser does not take, a wrong value.
    """
    from vsrkd_plugin.optim.factory import OPTIMIZERS

    stock = model.uses_stock('get_optimizer')
    known = ('Adam',) if stock else tuple(OPTIMIZERS)
    name = need(options, 'type', place, why=f'one of {", ".join(known)}')
    if name not in known:
        if not model.foreign or stock:
            _unknown_type(name, known, place)
        return
    need(options, 'lr', place, schema.POSITIVE)
    _check_keywords(OPTIMIZERS[name], options, place, ('params',))


def check_scheduler(options: Mapping, place: str, model: Model, total_iter: Any) -> None:
    """A scheduler and its arguments; its periods must last for the whole training.

    Raises:
        UserError: an unknown type or argument, a wrong value, lists that differ in length, periods that end early.
    """
    from basicsr.models import lr_scheduler

    known = {name: lr_scheduler.MultiStepRestartLR for name in ('MultiStepLR', 'MultiStepRestartLR')}
    known['CosineAnnealingRestartLR'] = lr_scheduler.CosineAnnealingRestartLR
    name = need(options, 'type', place, why=f'one of {", ".join(known)}')
    if name not in known:
        if not model.foreign or model.uses_stock('setup_schedulers'):
            _unknown_type(name, known, place)
        return
    supplied = ('periods',) if model.distils and 'periods' not in options else ()  # ours last for the whole training
    _check_keywords(known[name], options, place, ('optimizer', 'last_epoch', *supplied))
    key = 'periods' if name.startswith('Cosine') else 'restarts'
    steps, weights = options.get(key, [0]), options.get('restart_weights', [1])
    if len(steps) != len(weights):
        raise UserError(f'{place}: {key} has {len(steps)} entries but restart_weights {len(weights)}; expected as many')
    # Past the last period BasicSR's scheduler has no rate and crashes; it is stepped total_iter - 1 times.
    if key in options and key == 'periods' and schema.count().accepts(total_iter) and sum(steps) < total_iter - 1:
        raise UserError(f'{place}, periods: end at iteration {sum(steps)}, expected at least total_iter {total_iter}')


def _unknown_type(name: Any, known: Iterable[str], place: str) -> None:
    near = nearest(name, known)
    hint = f'; did you mean {near!r}?' if near else ''
    raise UserError(f'{place}, type: expected {schema.one_of(*known).expected}, got {show(name)}{hint}')


def _check_keywords(built: Callable, options: Mapping, place: str, given: tuple[str, ...]) -> None:
    arguments = {key: value for key, value in options.items() if key != 'type'}
    for key, value in arguments.items():
        if key in given:
            raise UserError(f'{place}: {key!r} is not for options to set')
        if field := _ARGUMENTS.get(key):
            check_kind(value, field.kind, place_of(place, key))
    check_arguments(built, options['type'], arguments, place, given)
