"""Options checked as a whole before anything is created: section by section, then what must agree."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vsrkd_plugin.config import dataset_options, schema
from vsrkd_plugin.config.registries import OURS, Model, find_registered, is_ours_or_stock, registered
from vsrkd_plugin.config.rules import Rules, network_of, no_multiple, without
from vsrkd_plugin.config.section import TOP, Reading, Section, first_flaw, missing, place_of, sections
from vsrkd_plugin.config.training_rules import rules_of_training
from vsrkd_plugin.config.values import as_tuple
from vsrkd_plugin.errors import Flaw, UserError, one_of, unexpected
from vsrkd_plugin.synthesis.degrading import PARTS


def validate(opt: dict[str, Any], is_train: bool) -> None:
    """Check loaded options. Nothing is changed, created or logged; what they name must be registered before.

    Args:
        opt: options as `load_options` gives them.
        is_train: for `train` or for `test`.

    Raises:
        UserError: an unknown key, a wrong type, an impossible value, a missing key, a name that is not registered, an
            argument that a network, loss, optimiser, scheduler or metric does not take, or options that disagree.
    """
    model = Model.of(opt)
    options = _read(opt, is_train, model)
    for broken, message in _rules(options, model, is_train):
        if broken:
            raise UserError(message)


def checked_contract(said: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What is said of a network's contract outside of an options file, checked as there.

    Args:
        said: fields of `NetworkContract`.
        place: what said it, for errors.

    Raises:
        UserError: an unknown field, or a value that it cannot have.
    """
    unknown = [key for key in said if schema.ContractOptions.match(key) is None]
    if unknown:
        raise UserError(f'{place}: unknown key {unknown[0]!r}; known are {", ".join(schema.ContractOptions.known())}')
    try:
        return schema.ContractOptions.model_validate(dict(said)).said
    except ValidationError as error:
        raise UserError(f'{place}, {first_flaw(error)}') from error


def require_weights(opt: dict[str, Any]) -> None:
    """Refuse a test of a network without its weights: it would be of a random one.

    Args:
        opt: options of a test that passed `validate`.

    Raises:
        UserError: no `path, pretrain_network_g`, of a network of ours or BasicSR's; others may bring their weights.
    """
    kind = find_registered('network', (opt.get('network_g') or {}).get('type'))
    given = (opt.get('path') or {}).get('pretrain_network_g')
    if kind is not None and is_ours_or_stock(kind) and not Model.of(opt).foreign and not given:
        why = 'without its checkpoint a test is of a random network'
        raise UserError(f'path: {missing(schema.PathOptions, "pretrain_network_g", why)}')


def _read(opt: dict[str, Any], is_train: bool, model: Model) -> schema.RunOptions:
    """Every section by itself; for a test what every run has, as the other sections may lack what a training needs."""
    top = schema.options_of(model) if model.cls else schema.AnyOptions
    homes: dict[str, type[Section]] = {'datasets, train': dataset_options.LatentDatasetOptions, **dict(sections(top))}
    reading = Reading(opt, is_train, model, homes)
    try:
        if model.cls is None:  # a mistyped key is told first: it may be model_type
            for key in (key for key in opt if top.match(key) is None):
                reading.check_unknown(top, key)
            if 'model_type' not in opt:
                raise missing(top, 'model_type')
            registered('model', opt['model_type'], 'model_type')
        options = top.model_validate(opt, context=reading)
    except Flaw as flaw:
        raise UserError(f'{place_of(*flaw.keys)}: {flaw}') from flaw
    except ValidationError as error:
        if message := first_flaw(error):
            raise UserError(message) from error
    return options if is_train else schema.RunOptions.model_validate(opt)


def _rules(options: schema.RunOptions, model: Model, is_train: bool) -> Rules:
    if model.ours or model.uses_stock('__init__'):
        yield not network_of(options, 'g'), f'{TOP}: {missing(schema.DistillationOptions, "network_g")}'
    heeding = f'contract_g: is for {one_of(OURS)}; {model.name} does not heed it'
    yield options.contract_g is not None and not model.ours, heeding
    yield from _rules_of_comparison(options)
    for phase, dataset in options.datasets.items():
        yield from _rules_of_dataset(options, phase, dataset, is_train)
    yield from _rules_of_val(options, model, is_train)
    if is_train:
        yield 'train' not in options.datasets, "datasets: key 'train' is missing (the data set to train on)"
        yield from rules_of_training(options, model)


def _rules_of_comparison(options: schema.RunOptions) -> Rules:
    """Networks that the report alone uses have a name that nothing else has, and weights."""
    for label in options.compare or []:
        place, names = f'compare: {label!r}', ('lr', 'hr', 'bicubic', 'teacher', 'student')
        taken = label in names or f'network_{label}' in type(options).model_fields or label == 'g'
        yield taken, f'{place} is taken; expected another name, such as oracle, of a network_oracle'
        absent = missing(schema.RunOptions, f'network_{label}', 'that network')
        yield not network_of(options, label), f'{place}: {absent}'
        weights = options.path.pretrain_networks.get(f'pretrain_network_{label}')
        yield not weights, f'path: {missing(schema.PathOptions, f"pretrain_network_{label}", "its checkpoint")}'
    yield len(set(options.compare or ())) != len(options.compare or ()), 'compare: names a network twice'


# Data sets and validation


def _rules_of_dataset(
    options: schema.RunOptions, phase: str, dataset: dataset_options.LoaderOptions, is_train: bool
) -> Rules:
    place, kind = f'datasets, {phase}', phase.split('_')[0]
    use = 'training; expected train, val, val_…' if is_train else 'a test; expected test, test_…, val_…'
    fits = kind in (('train', 'val') if is_train else ('val', 'test')) and not phase.startswith('train_')
    yield not fits, f'datasets: {phase!r} has no use in {use}'
    training = kind == 'train'
    yield not training and isinstance(dataset.name, int), f'{place}, name: expected text, got {dataset.name}'
    if isinstance(dataset, dataset_options.OtherDatasetOptions) and _is_stock(dataset):
        yield not dataset.io_backend, f'{place}: {missing(dataset_options.OtherDatasetOptions, "io_backend")}'
        backend, known = (dataset.io_backend or {}).get('type'), ('disk', 'lmdb', 'memcached')
        yield backend not in known, f'{place}, io_backend, type: {unexpected(one_of(known), backend)}'
    if isinstance(dataset, dataset_options.UnpairedLRDatasetOptions):
        yield not training, f'{place}, type: UnpairedLRDataset is for training; it has no HR of the target'
        scale = dataset.scale or getattr(options, 'scale', None)
        yield not scale, f'{place}: {missing(type(dataset), "scale", "the scale")}'
        yield without(dataset, 'gt_size', place)
        yield no_multiple(dataset.gt_size or 0, as_tuple(scale), f'{place}, gt_size')
        if dataset.degrade:
            none = not any(getattr(dataset.degrade, name) for name in PARTS)
            yield none, f'{place}, degrade: expected at least one of {", ".join(PARTS)}'
    if isinstance(dataset, dataset_options.BicubicImageDatasetOptions | dataset_options.DegradedClipDatasetOptions):
        scales = as_tuple(dataset.scale or getattr(options, 'scale', None))
        yield not scales, f'{place}: {missing(type(dataset), "scale", "the scale")}'
        one = f'{place}, scale: expected one scale in validation, got {list(scales)}'
        yield not training and isinstance(dataset.scale, list), one  # a list of one too: metrics read it as a number
        mixed = len(scales) > 1 and not getattr(dataset, 'interpolate', False)
        yield mixed and training, f'{place}, scale: several scales need interpolate: true, or sizes would differ'
        if training:
            yield without(dataset, 'gt_size', place)
            yield no_multiple(dataset.gt_size or 0, scales, f'{place}, gt_size')
    if training:
        yield without(dataset, 'batch_size_per_gpu', place)
        pinned = dataset.prefetch_mode == 'cuda' and not dataset.pin_memory
        yield pinned, f'{place}: prefetch_mode: cuda needs pin_memory: true'
    lasting = f'{place}: persistent_workers needs num_worker_per_gpu > 0, and is for training alone'
    yield dataset.persistent_workers and not (training and dataset.num_worker_per_gpu), lasting


def _is_stock(dataset: dataset_options.OtherDatasetOptions) -> bool:
    return getattr(find_registered('data set', dataset.type), '__module__', '').startswith('basicsr.')


def _rules_of_val(options: schema.RunOptions, model: Model, is_train: bool) -> Rules:
    sets = {phase: dataset for phase, dataset in options.datasets.items() if phase != 'train'}
    yield not is_train and not sets, 'datasets: holds no data set; expected test_1, …'
    names: dict[Any, str] = {}
    for phase, dataset in sets.items():
        other = names.setdefault(dataset.name, phase)
        yield other != phase, f'datasets, {phase}, name: {dataset.name!r} is the name of {other} too'
    val, logger = options.val, options.logger
    if val and is_train:
        yield without(val, 'val_freq', 'val')
    blind = [
        phase for phase, dataset in sets.items()
        if isinstance(dataset, dataset_options.OtherDatasetOptions)
        and _is_stock(dataset) and not (dataset.model_extra or {}).get('dataroot_gt')
    ]  # fmt: skip
    for name, metric in ((val and val.metrics) or {}).items():
        # Ours leave metrics that compare out for such a set.
        compares = 'img2' in inspect.signature(registered('metric', metric['type'])).parameters and not model.ours
        found = f'{metric["type"]} compares with GT, but datasets, {"".join(blind[:1])} has no dataroot_gt'
        yield compares and blind, f'val, metrics, {name}: {found}'
    tracked = logger.wandb and logger.wandb.project and not logger.use_tb_logger
    yield tracked, 'logger, wandb: needs use_tb_logger: true'
