"""Options checked as a whole before anything is created: keys, types, ranges, registered names, what must agree."""

import inspect
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from vsrkd_plugin.config import schema
from vsrkd_plugin.config.components import (
    Model,
    check_component,
    check_kind,
    check_metric,
    check_optimizer,
    check_scheduler,
    find_registered,
    nearest,
    need,
    place_of,
    registered,
    show,
)
from vsrkd_plugin.config.plan import clips_plan
from vsrkd_plugin.config.schema import Field, Fields
from vsrkd_plugin.errors import UserError

_TYPO = 0.85  # how like a known key one of somebody else's model must be, to be taken for a mistyped one


def validate(opt: dict[str, Any], is_train: bool) -> None:
    """Check loaded options. Nothing is changed, created or logged; what they name must be registered before.

    Args:
        opt: options as `load_options` gives them.
        is_train: for `train` or for `test`.

    Raises:
        UserError: an unknown key, a wrong type, an impossible value, a missing key, a name that is not registered, an
            argument that a network, loss, optimiser, scheduler or metric does not take, or options that disagree.
    """
    _Validator(opt, is_train).run()


def _lookup(fields: Fields, key: Any) -> Field | None:
    if key in fields:
        return fields[key]
    return next((field for name, field in fields.items() if '*' in name and fnmatchcase(str(key), name)), None)


FLOW = 'forward(flow)'


class _Validator:
    """One pass over the options of one run."""

    def __init__(self, opt: dict[str, Any], is_train: bool) -> None:
        self.opt, self.is_train = opt, is_train
        self.model = Model.of(opt)
        self.top = schema.schema_of(self.model.kind)

    def run(self) -> None:
        if self.model.cls is None:  # a mistyped key is told first: it may be model_type
            everything = {**self.top, **schema.schema_of('DataFreeDistillationModel')}
            for key in (key for key in self.opt if _lookup(everything, key) is None):
                self.unknown_key(key, everything, schema.TOP, lenient=False)
            registered('model', need(self.opt, 'model_type', schema.TOP), 'model_type')
        self.check_fields(self.opt, self.top, schema.TOP, self.model.foreign)
        for key in self.required_sections():
            need(self.opt, key, schema.TOP, why=getattr(_lookup(self.top, key), 'help', ''))
        for phase, dataset in self.opt['datasets'].items():
            self.check_dataset(str(phase), dataset)
        self.check_names()
        self.check_val()
        if self.is_train:
            self.check_training()
            if self.model.distils:
                self.check_synthesis()
                self.check_growth()

    def required_sections(self) -> list[str]:
        """Top-level keys that this run cannot do without."""
        sections = ['network_g'] if self.model.ours or self.model.uses_stock('__init__') else []
        if self.is_train:
            sections.append('train')
            if self.model.distils:
                sections += [*(['network_t'] if self.needs_teacher() else []), 'scales', 'synthesis', 'path']
        return sections

    def needs_teacher(self) -> bool:
        """Whether a distillation asks its teacher anything; not if stored banks have the answers."""

        def within(options: Any, key: str) -> Any:  # sections may still be anything: this is asked before their check
            return options.get(key) if isinstance(options, Mapping) else None

        stored = within(within(self.opt.get('synthesis'), 'bank'), 'path')
        return not stored or within(self.opt.get('train'), 'init') == 'teacher'

    # Keys, types, ranges

    def check_fields(self, options: Mapping, fields: Fields, place: str, lenient: bool = False) -> None:
        for key, value in options.items():
            field = _lookup(fields, key)
            if field is None:
                self.unknown_key(key, fields, place, lenient)
            else:
                self.check_value(value, field, place_of(place, key))
        if self.is_train or not place.startswith('train'):
            for key, field in fields.items():
                if field.required:
                    need(options, key, place, field.kind, field.help)

    def unknown_key(self, key: Any, fields: Fields, place: str, lenient: bool) -> None:
        """Raise the error; with `lenient` only for a key that is nearly a known one."""
        networks = [name.removeprefix('network_') for name in map(str, self.opt) if name.startswith('network_')]
        known = [name.replace('*', network) for name in fields for network in {*networks, 'g'}]
        near = nearest(key, known, _TYPO if lenient else 0.6)
        if lenient and near is None:
            return
        homes = (home for home, inner in self.sections().items() if home != place and key in inner)
        home = None if lenient else next(homes, None)
        if home is not None:
            hint = f'it belongs {"at the top level" if home == schema.TOP else f"under {home}"}'
        elif near is not None:
            hint = f'did you mean {near!r}?'
        else:
            hint = f'known are {", ".join(fields)}'
        raise UserError(f'{place}: unknown key {key!r}; {hint}')

    def sections(self) -> dict[str, Fields]:
        """The keys of every section, to tell where a misplaced one belongs."""
        found = {schema.TOP: self.top, 'datasets, train': schema.DATASETS['LatentDataset']}
        for key, field in self.top.items():
            if field.fields:
                found[key] = field.fields
                found.update({f'{key}, {name}': inner.fields for name, inner in field.fields.items() if inner.fields})
        found['path'] = {**found['path'], **{f'pretrain_{key}': schema.PATH['pretrain_network_*'] for key in self.opt}}
        return found

    def check_value(self, value: Any, field: Field, place: str) -> None:
        if value is None and field.null:
            return
        check_kind(value, field.kind, place)
        if field.fields is not None:
            # What a model that is not ours reads in `train` is its own business.
            theirs = place == 'train' and not self.model.distils
            self.check_fields(value, field.fields, place, theirs or (self.model.foreign and place == 'val'))
        if field.component == 'optimizer':
            check_optimizer(value, place, self.model)
        elif field.component == 'scheduler':
            check_scheduler(value, place, self.model, (self.opt.get('train') or {}).get('total_iter'))
        elif field.component and not (self.model.foreign and field.component == 'loss' and 'type' not in value):
            check_component(field.component, value, place)

    # Data sets and validation

    def check_dataset(self, phase: str, options: Any) -> None:
        place = place_of('datasets', phase)
        kind = phase.split('_')[0]
        if kind not in (('train', 'val') if self.is_train else ('val', 'test')) or phase.startswith('train_'):
            use = 'training; expected train, val, val_…' if self.is_train else 'a test; expected test, test_…, val_…'
            raise UserError(f'datasets: {phase!r} has no use in {use}')
        check_kind(options, schema.MAPPING, place)
        cls = registered('data set', need(options, 'type', place), f'{place}, type')
        ours = schema.DATASETS.get(options['type'])
        self.check_fields(options, ours or schema.LOADER, place, lenient=ours is None)
        if kind != 'train':
            check_kind(options['name'], schema.TEXT, f'{place}, name')
        if cls.__module__.startswith('basicsr.'):
            backend = need(options, 'io_backend', place, schema.MAPPING, 'how files are read: {type: disk}')
            need(backend, 'type', f'{place}, io_backend', schema.one_of('disk', 'lmdb', 'memcached'))
        if options['type'] == 'BicubicImageDataset':
            self.check_pairs(options, place, kind == 'train')
        if kind == 'train':
            need(options, 'batch_size_per_gpu', place, schema.whole(1), 'samples of a step in each process')
            if options.get('prefetch_mode') == 'cuda' and not options.get('pin_memory'):
                raise UserError(f'{place}: prefetch_mode: cuda needs pin_memory: true')
        if options.get('persistent_workers') and (kind != 'train' or not options.get('num_worker_per_gpu')):
            raise UserError(f'{place}: persistent_workers needs num_worker_per_gpu > 0, and is for training alone')

    def check_pairs(self, options: Mapping, place: str, training: bool) -> None:
        scale = options.get('scale') or self.opt.get('scale') or need(options, 'scale', place, why='the scale')
        scales = scale if isinstance(scale, list) else [scale]
        if not training:
            if len(scales) > 1:
                raise UserError(f'{place}, scale: expected one scale in validation, got {scales}')
            return
        size = need(options, 'gt_size', place, schema.whole(1), 'side of the HR patches')
        if len(scales) > 1 and not options.get('interpolate'):
            raise UserError(f'{place}, scale: several scales need interpolate: true, or sizes would differ')
        _check_multiple(size, scales, f'{place}, gt_size')

    def check_names(self) -> None:
        """Names that become folders and files."""
        names = {'name': self.opt['name'], 'val, suffix': (self.opt.get('val') or {}).get('suffix')}
        names |= {f'datasets, {phase}, name': dataset['name'] for phase, dataset in self.opt['datasets'].items()}
        for place, name in names.items():
            if isinstance(name, str):  # the name of a data set for training may be a number
                check_kind(name, schema.FOLDER_NAME, place)

    def check_val(self) -> None:
        sets = {phase: dataset for phase, dataset in self.opt['datasets'].items() if phase != 'train'}
        if not self.is_train and not sets:
            raise UserError('datasets: holds no data set; expected test_1, …')
        names: dict[str, str] = {}
        for phase, dataset in sets.items():
            other = names.setdefault(dataset['name'], phase)
            if other != phase:
                raise UserError(f'datasets, {phase}, name: {dataset["name"]!r} is the name of {other} too')
        val = self.opt.get('val') or {}
        if self.is_train and 'val' in self.opt:
            need(val, 'val_freq', 'val', schema.count(), schema.VAL['val_freq'].help)
        for name, metric in (val.get('metrics') or {}).items():
            check_metric(metric, place_of('val, metrics', name), self.model, self.opt['datasets'])
        logger = self.opt.get('logger') or {}
        if (logger.get('wandb') or {}).get('project') and not logger.get('use_tb_logger', True):
            raise UserError('logger, wandb: needs use_tb_logger: true')

    # What training needs, and what must agree

    def check_training(self) -> None:
        need(self.opt['datasets'], 'train', 'datasets', why='the data set to train on')
        train = self.opt['train']
        if not self.model.distils:
            for method, key in (('setup_optimizers', 'optim_g'), ('setup_schedulers', 'scheduler')):
                if self.model.uses_stock(method):
                    need(train, key, 'train', schema.MAPPING)
            stock = getattr(self.model.cls, 'init_training_settings', None)
            by_stock = getattr(stock, '__module__', '') == 'basicsr.models.sr_model'
            if (by_stock or self.model.ours) and not (train.get('pixel_opt') or train.get('perceptual_opt')):
                raise UserError('train: no loss is given; expected pixel_opt, perceptual_opt or both')
            if self.opt['model_type'] in schema.OURS:
                known = schema.LOSSES[self.opt['model_type']]
                for key in (key for key in train if str(key).endswith('_opt') and key not in known):
                    raise UserError(
                        f'train, {key}: has no use in {self.opt["model_type"]}; known are {", ".join(known)}'
                    )
            return
        kind = self.opt['datasets']['train']['type']
        if kind != 'LatentDataset':
            raise UserError(f'datasets, train, type: expected LatentDataset, got {show(kind)}')
        if self.needs_teacher():
            need(self.opt['path'], 'pretrain_network_t', 'path', schema.TEXT, 'checkpoint of the teacher, or zoo:NAME')

    def check_synthesis(self) -> None:
        synthesis = self.opt.get('synthesis') or {}
        scales = self.opt.get('scales') or 2
        scales = scales if isinstance(scales, list) else [scales]
        size = synthesis.get('hr_size', schema.SYNTHESIS['hr_size'].default)
        _check_multiple(size, scales, 'synthesis, hr_size')
        self.check_bank(synthesis)
        least = self.kept_size(synthesis, size, scales) // min(scales)
        if self.model.is_video:
            least = self.check_clips(synthesis, scales, size)
        else:
            self.check_video_only()
        for index, source in enumerate(synthesis.get('sources') or []):
            place = place_of('synthesis, sources', index)
            need(source, 'type', place, schema.SOURCES['learned']['type'].kind)
            self.check_fields(source, schema.SOURCES[source['type']], place)
            side = source.get('image_size')
            if side is not None and side < least:
                what = 'pictures of clips' if self.model.is_video else 'LR patches'
                raise UserError(f'{place}, image_size: expected at least {least}, the side of {what}, got {side}')
            if source['type'] == 'learned':
                why = f'synthesis, sources, {index} is learned'
                need(self.opt, 'network_z', schema.TOP, why=why)
                for key in ('optim_z', 'adversarial_opt', 'reconstruction_opt'):
                    need(self.opt['train'], key, 'train', why=why)

    def kept_size(self, synthesis: Mapping, size: int, scales: list[int]) -> int:
        """Side of the HR patches that sources make: those of a bank, or those that the student learns from."""
        kept = (synthesis.get('bank') or {}).get('hr_size')
        if kept is None:
            return size
        _check_multiple(kept, scales, 'synthesis, bank, hr_size')
        if kept < size:
            raise UserError(f'synthesis, bank, hr_size: expected at least {size} (synthesis, hr_size), got {kept}')
        return kept

    def check_video_only(self) -> None:
        """Options that mean nothing for images."""
        found = [key for key in ('temporal_opt', 'temporal_z_opt', 'checkpointed') if self.opt['train'].get(key)]
        found = [f'train, {key}' for key in found]
        found += ['synthesis, clips'] if self.opt['synthesis'].get('clips') else []
        found += ['synthesis, bank, frames'] if (self.opt['synthesis'].get('bank') or {}).get('frames') else []
        if found:
            raise UserError(f'{found[0]}: is for model_type {schema.VIDEO}, got {self.opt["model_type"]}')

    def check_clips(self, synthesis: Mapping, scales: list[int], size: int) -> int:
        """What only video has; gives the side of the pictures that are set in motion."""
        clips = need(synthesis, 'clips', 'synthesis', schema.MAPPING, schema.SYNTHESIS['clips'].help)
        if len(scales) > 1:
            raise UserError(f'scales: video networks serve one scale, got {scales}')
        frames = (synthesis.get('bank') or {}).get('frames')
        if frames is not None and frames < clips['frames']:
            raise UserError(
                f'synthesis, bank, frames: expected at least {clips["frames"]} (clips, frames), got {frames}'
            )
        if clips['degradation'] == 'blur':  # keeps every scale-th pixel from 0: of a turned clip these are others
            if (synthesis.get('bank') or {}).get('turn'):
                raise UserError('synthesis, bank, turn: clips reduced by blur cannot be turned; expected false')
            if self.opt['train'].get('self_ensemble'):
                raise UserError('train, self_ensemble: clips reduced by blur cannot be turned; expected false')
        reconstruction = self.opt['train'].get('reconstruction_opt') or {}
        for key in ('degradation', 'sigma') if clips['degradation'] != 'none' else ():
            made = clips.get(key, schema.CLIPS[key].default)
            if reconstruction.get(key, made) != made:
                place = f'train, reconstruction_opt, {key}'
                raise UserError(f'{place}: expected {made}, that of synthesis, clips; got {reconstruction[key]}')
        for_pictures = self.opt['train'].get('temporal_z_opt')
        if for_pictures and not any(source.get('type') == 'learned' for source in synthesis.get('sources') or []):
            raise UserError('train, temporal_z_opt: is for a learned source, and there is none')
        if (for_pictures or {}).get('like_teacher'):
            raise UserError(
                'train, temporal_z_opt, like_teacher: it is the teacher that is to be steady; expected false'
            )
        return clips_plan(
            clips, synthesis.get('bank') or {}, self.kept_size(synthesis, size, scales), scales[0]
        ).picture_size

    def check_bank(self, synthesis: Mapping) -> None:
        """Inputs come from sources or from stored banks, and a bank must bear two batches."""
        bank = synthesis.get('bank') or {}
        if bool(synthesis.get('sources')) == bool(bank.get('path')):
            found = 'both' if bank.get('path') else 'neither'
            raise UserError(f'synthesis: expected sources, or stored banks (bank, path), got {found}')
        if bank.get('path') and bank.get('reuse', 1) > 1:
            raise UserError('synthesis, bank: reuse is for a teacher that is asked; stored banks have its answers')
        for key, needed in (('feature_opt', '__init__(layers)'), ('temporal_opt', FLOW), ('temporal_z_opt', FLOW)):
            options = self.opt['train'].get(key)
            if options and not _takes(find_registered('loss', options['type']), *needed.rstrip(')').split('(')):
                fit = 'FeatureDistillationLoss' if key == 'feature_opt' else 'TemporalConsistencyLoss'
                raise UserError(f'train, {key}, type: expected {fit}, or a loss called alike, got {options["type"]}')
        if self.opt['train'].get('feature_opt'):
            # What layers give is not kept, and is of the very input.
            for unfit, found in (
                ('synthesis, bank, reuse', bank.get('reuse', 1) > 1),
                ('synthesis, bank, path', bank.get('path')),
                ('synthesis, bank, hr_size', bank.get('hr_size')),
                ('synthesis, bank, frames', bank.get('frames')),
                ('train, self_ensemble', self.opt['train'].get('self_ensemble')),
                ('train, growth', self.opt['train'].get('growth')),
            ):
                if found:
                    raise UserError(
                        f'train, feature_opt: needs all of teacher and student in every step; expected no {unfit}'
                    )
        if bank.get('path') and self.opt['train'].get('self_ensemble'):
            raise UserError('train: self_ensemble is for a teacher that is asked; stored banks have its answers')
        batch = self.opt['datasets']['train'].get('batch_size_per_gpu', 1)
        rows = bank.get('rows', schema.BANK['rows'].default)
        if bank.get('reuse', 1) > 1 and rows < 2 * batch:
            raise UserError(f'synthesis, bank, rows: expected at least two batches ({2 * batch}), got {rows}')

    def check_growth(self) -> None:
        growth = (self.opt.get('train') or {}).get('growth')
        if growth is None:
            return
        if (growth.get('every') is None) == (growth.get('milestones') is None):
            raise UserError('train, growth: expected either every or milestones, and not both')
        depth, start = _depth(self.opt['network_g']), growth['start']
        if depth is not None and start > depth:
            raise UserError(f'train, growth, start: expected at most {depth}, the blocks of network_g, got {start}')


def _takes(loss: Any, method: str, argument: str) -> bool:
    """Whether a loss's method has an argument."""
    return argument in inspect.signature(getattr(loss, method)).parameters


def _check_multiple(size: int, scales: list[int], place: str) -> None:
    for scale in scales:
        if size % scale:
            raise UserError(f'{place}: expected a multiple of every scale, but {size} is none of {scale}')


def _depth(network: Mapping) -> int | None:
    """The number of blocks that a network's options ask for, if they say it by `num_block`."""
    network = network['network'] if isinstance(network.get('network'), Mapping) else network
    parameter = inspect.signature(find_registered('network', network['type'])).parameters.get('num_block')
    depth = network.get('num_block', parameter.default if parameter else None)
    return depth if schema.is_whole(depth) else None
