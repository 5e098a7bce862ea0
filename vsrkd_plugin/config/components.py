"""What options build by name: is the name registered, and does what it names take these arguments? Nothing is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo

from vsrkd_plugin.config import values as v
from vsrkd_plugin.config.registries import Model, check_arguments, is_ours_or_stock, registered, schedulers
from vsrkd_plugin.config.section import Reading, Section, option
from vsrkd_plugin.errors import Flaw, nearest, one_of, show, unexpected


class Arguments(Section):
    """Arguments of optimisers and schedulers."""  # whose values are known here; names are those of the signature

    lr: v.Positive = option('learning rate', None)
    betas: v.Betas = option('decay of the two averages', None)
    lr_other: v.Positive = option('learning rate of what is no matrix', None)
    weight_decay: v.NotNegative = option('weight decay', None)
    momentum: v.NotNegative = option('momentum', None)
    eps: v.NotNegative = option('keeps divisions finite', None)
    periods: v.Counts = option('length of each cosine', None)
    milestones: v.Counts = option('where the rate falls', None)
    restarts: v.Counts0 = option('where the rate starts again', None)
    restart_weights: v.Factors = option('factor from each restart', None)
    gamma: v.Positive = option('factor at a milestone', None)
    eta_min: v.NotNegative = option('the least rate', None)


class Weights(Section):
    """Arguments of losses; the others are the loss's own."""

    loss_weight: v.NotNegative = option('its share', 1.0)
    perceptual_weight: v.NotNegative = option('share of the features', 1.0)
    style_weight: v.NotNegative = option('share of the style', 0.0)


@dataclass(frozen=True)
class Built:
    """Marks options that something is built of: a mapping with `type` and arguments, or a registered name alone.

    Args:
        what: as in `registries`, or optimizer, scheduler.
        supplied: arguments that the model gives.
    """

    what: str
    supplied: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return AfterValidator(self._check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        named = {'required': ['type'], 'properties': {'type': {'type': 'string'}}}
        return {**found, **named} if found.get('type') == 'object' else found

    def _check(self, options: Any, info: ValidationInfo) -> Any:
        reading: Reading | None = info.context
        if reading is None:  # checked before
            return options
        if self.what == 'metric':
            _check_metric(options, reading.model)
        elif self.what == 'optimizer':
            _check_optimizer(options, reading.model)
        elif self.what == 'scheduler':
            _check_scheduler(options, reading.model)
        elif isinstance(options, str):
            registered(self.what, options)
        elif not (self.what == 'loss' and reading.model.foreign and 'type' not in options):
            _check_component(self.what, options, self.supplied)
        return options


def _type_of(options: Mapping[str, Any], known: tuple[str, ...] = ()) -> Any:
    if options.get('type') is None:
        raise Flaw("key 'type' is missing" + (f' (one of {", ".join(known)})' if known else ''))
    return options['type']


def _check_component(what: str, options: Mapping[str, Any], supplied: tuple[str, ...] = ()) -> None:
    built = registered(what, _type_of(options), 'type')
    check_arguments(built, options, supplied)
    if what == 'loss' and is_ours_or_stock(built):
        Weights.model_validate(options)
    if what == 'network' and isinstance(inner := options.get('network'), Mapping):
        try:
            _check_component(what, inner)
        except Flaw as flaw:
            raise Flaw(str(flaw), 'network', *flaw.keys) from flaw


def _check_metric(options: Mapping[str, Any], model: Model) -> None:
    if options.get('better', 'higher') not in ('higher', 'lower'):
        raise unexpected('higher or lower', options['better'], 'better')
    metric = registered('metric', _type_of(options), 'type')
    arguments = {key: value for key, value in options.items() if key != 'better'}
    supplied = ('img', 'img2', *(('crop_border',) if model.ours else ()))  # ours crop by the scale
    # BasicSR's own metrics take any argument and ignore it: a mistyped one would go unseen.
    check_arguments(metric, arguments, supplied, any_name=not metric.__module__.startswith('basicsr.'))


def _check_optimizer(options: Mapping[str, Any], model: Model) -> None:
    from vsrkd_plugin.optim.factory import OPTIMIZERS

    stock = model.uses_stock('get_optimizer')
    known = ('Adam',) if stock else tuple(OPTIMIZERS)
    if _is_known(options, known, model.foreign and not stock):
        if options.get('lr') is None:
            raise Flaw("key 'lr' is missing (expected a number > 0)")
        _check_keywords(OPTIMIZERS[options['type']], options, ('params',))


def _check_scheduler(options: Mapping[str, Any], model: Model) -> None:
    known = schedulers()
    if _is_known(options, tuple(known), model.foreign and not model.uses_stock('setup_schedulers')):
        # Ours last for the whole training.
        supplied = ('periods',) if model.has_task and 'periods' not in options else ()
        _check_keywords(known[options['type']], options, ('optimizer', 'last_epoch', *supplied))
        key = 'periods' if options['type'].startswith('Cosine') else 'restarts'
        parts, weights = options.get(key, [0]), options.get('restart_weights', [1])
        if len(parts) != len(weights):
            raise Flaw(f'{key} has {len(parts)} entries but restart_weights {len(weights)}; expected as many')


def _is_known(options: Mapping[str, Any], known: tuple[str, ...], others: bool) -> bool:
    """Whether a type is known; an unknown one is a flaw unless `others` are possible."""
    name = _type_of(options, known)
    if name not in known and not others:
        near = nearest(name, known)
        hint = f'; did you mean {near!r}?' if near else ''
        raise Flaw(f'expected {one_of(known)}, got {show(name)}{hint}', 'type')
    return name in known


def _check_keywords(built: Callable, options: Mapping[str, Any], given: tuple[str, ...]) -> None:
    for key in given:
        if key in options:
            raise Flaw(f'{key!r} is not for options to set')
    Arguments.model_validate(options)
    check_arguments(built, options, given)


Network = Annotated[dict[str, Any], Built('network')]
Generator = Annotated[dict[str, Any], Built('network', ('num_out_ch', 'lr_size'))]
Loss = Annotated[dict[str, Any], Built('loss')]
Metric = Annotated[dict[str, Any], Built('metric')]
Optimizer = Annotated[dict[str, Any], Built('optimizer')]
Scheduler = Annotated[dict[str, Any], Built('scheduler')]
