"""What a training needs, and which of its options must agree."""

import inspect
from collections.abc import Mapping
from typing import Any

from vsrkd_plugin.config import dataset_options, schema, synthesis_options
from vsrkd_plugin.config.plan import picture_size
from vsrkd_plugin.config.registries import VIDEO, Model, find_registered, registered
from vsrkd_plugin.config.rules import Rules, no_multiple, without
from vsrkd_plugin.config.section import TOP, missing
from vsrkd_plugin.config.values import as_tuple
from vsrkd_plugin.errors import one_of
from vsrkd_plugin.synthesis.degrading import PARTS

_MOST_CANDIDATES = 64  # of synthesis.candidates: more are hardly better, and take time
_FLOW = ('forward', 'flow')  # the argument of a loss that looks along the motion


def rules_of_training(options: schema.RunOptions, model: Model) -> Rules:
    """Those of a model's training."""
    if isinstance(options, schema.DistillationOptions):
        yield from _rules_of_distillation(options, model)
    elif isinstance(options, schema.DomainAdaptationOptions):
        yield from _rules_of_adaptation(options)
    elif isinstance(options, schema.TrainingOptions):
        yield from _rules_of_data(options, model)


def _rules_of_data(options: schema.TrainingOptions, model: Model) -> Rules:
    train = options.train
    if model.uses_stock('setup_optimizers'):
        yield 'optim_g' not in train.optimizers, f'train: {missing(schema.DistillationTrainOptions, "optim_g")}'
    if model.uses_stock('setup_schedulers'):
        yield without(train, 'scheduler', 'train')
    yield _ends_early(train.scheduler, train.total_iter, 'scheduler')
    yield from _rises(train.scheduler, train.optimizers, 'scheduler')
    stock = getattr(model.cls, 'init_training_settings', None)
    by_stock = getattr(stock, '__module__', '') == 'basicsr.models.sr_model'
    lossless = not (train.losses.get('pixel_opt') or train.losses.get('perceptual_opt'))
    loss = 'train: no loss is given; expected pixel_opt, perceptual_opt or both'
    yield (by_stock or model.ours) and lossless, loss
    known = schema.LOSSES.get(model.name, tuple(train.losses))
    for key in train.losses:
        yield key not in known, f'train, {key}: has no use in {model.name}; known are {", ".join(known)}'


def _ends_early(scheduler: Mapping[str, Any] | None, total_iter: int, key: str) -> tuple[bool, str]:
    """Past the last period BasicSR's scheduler has no rate and crashes; it is stepped total_iter - 1 times."""
    cosine = scheduler if scheduler and scheduler.get('type') == 'CosineAnnealingRestartLR' else {}
    ends = sum(cosine.get('periods', [total_iter]))
    late = f'end at iteration {ends}, expected at least total_iter {total_iter}'
    return ends < total_iter - 1, f'train, {key}, periods: {late}'


def _rises(scheduler: Mapping[str, Any] | None, optimizers: Mapping[str, Any], key: str) -> Rules:
    """The least rate is none that a cosine would rise to."""
    least = (scheduler or {}).get('eta_min')
    for name, optimizer in optimizers.items():
        rate = (optimizer or {}).get('lr')
        above = least is not None and rate is not None and least > rate
        yield (
            above,
            f'train, {key}, eta_min: expected at most {rate:g}, the rate of {name}, got {least:g}' if above else '',
        )


def _rules_of_distillation(options: schema.DistillationOptions, model: Model) -> Rules:
    train, synthesis = options.train, options.synthesis
    bank = synthesis.bank or synthesis_options.BankOptions()
    kind = options.datasets['train'].type
    yield kind != 'LatentDataset', f'datasets, train, type: expected LatentDataset, got {kind!r}'
    if not bank.path or train.init == 'teacher':
        yield without(options, 'network_t', TOP)
        weights = missing(schema.PathOptions, 'pretrain_network_t', 'checkpoint of the teacher, or zoo:NAME')
        yield not options.path.pretrain_networks.get('pretrain_network_t'), f'path: {weights}'
    for key, optimizers in (('scheduler', ('optim_g', 'optim_d')), ('scheduler_z', ('optim_z',))):
        yield _ends_early(getattr(train, key), train.total_iter, key)
        yield from _rises(getattr(train, key), {name: getattr(train, name) for name in optimizers}, key)
    scales = as_tuple(options.scales)
    yield no_multiple(synthesis.hr_size, scales, 'synthesis, hr_size')
    yield from _rules_of_bank(options, bank)
    least = (bank.hr_size or synthesis.hr_size) // min(scales)
    if isinstance(options, schema.VideoDistillationOptions):
        yield from _rules_of_clips(options, bank, scales)
        least = picture_size(options.synthesis.clips, bank.hr_size or synthesis.hr_size, scales[0])
    else:
        for place, given in (
            ('train, temporal_opt', train.temporal_opt),
            ('train, temporal_z_opt', train.temporal_z_opt),
            ('train, checkpointed', train.checkpointed),
            ('synthesis, clips', synthesis.clips),
            ('synthesis, bank, frames', bank.frames),
        ):
            yield given, f'{place}: is for model_type {VIDEO}, got {options.model_type}'
    many = synthesis.candidates > _MOST_CANDIDATES
    yield many, f'synthesis, candidates: expected at most {_MOST_CANDIDATES}, got {synthesis.candidates}'
    yield from _rules_of_degrade(synthesis, model)
    yield from _rules_of_discriminator(options)
    for index, source in enumerate(synthesis.sources or ()):
        why = f'synthesis, sources, {index} is learned'
        side = least
        if isinstance(source, synthesis_options.ProceduralOptions) and 'image_size' in source.model_fields_set:
            side = source.image_size
        what = 'pictures of clips' if model.is_video else 'LR patches'
        place = f'synthesis, sources, {index}, image_size'
        yield side < least, f'{place}: expected at least {least}, the side of {what}, got {side}'
        if source.type == 'learned':
            yield without(options, 'network_z', TOP, why)
            for key in ('optim_z', 'adversarial_opt', 'reconstruction_opt'):
                yield without(train, key, 'train', why)
    if growth := train.growth:
        both = (growth.every is None) == (growth.milestones is None)
        yield both, 'train, growth: expected either every or milestones, and not both'
        depth, start = _depth(options.network_g), growth.start
        deepest = f'expected at most {depth}, the blocks of network_g, got {start}'
        yield depth is not None and start > depth, f'train, growth, start: {deepest}'


def _rules_of_adaptation(options: schema.DomainAdaptationOptions) -> Rules:
    train, data = options.train, options.datasets['train']
    wrong = f'datasets, train, type: expected UnpairedLRDataset, got {data.type!r}'
    yield not isinstance(data, dataset_options.UnpairedLRDatasetOptions), wrong
    if isinstance(data, dataset_options.UnpairedLRDatasetOptions):
        other = f'datasets, train, scale: expected {options.scale}, that of the options, got {data.scale}'
        yield data.scale not in (None, options.scale), other
    yield _ends_early(train.scheduler, train.total_iter, 'scheduler')
    optimizers = {name: getattr(train, name) for name in ('optim_g', 'optim_lr', 'optim_d')}
    yield from _rises(train.scheduler, optimizers, 'scheduler')
    for key, loss in schema.ADAPTATION_JUDGES.items():
        if getattr(train, loss):
            yield without(options, key, TOP, f'train, {loss} needs it')
            yield without(train, 'optim_d', 'train', f'{loss} needs it')
        else:
            yield getattr(options, key), f'{key}: is for train, {loss}, which is not given'
    asking = [loss for loss in schema.ADAPTATION_BY_DECODER if getattr(train, loss)]
    if asking:
        yield without(options, 'network_lr', TOP, f'train, {asking[0]} needs it')
    else:
        what = one_of([f'train, {loss}' for loss in schema.ADAPTATION_BY_DECODER])
        yield options.network_lr, f'network_lr: is for {what}; none of them is given'
    for loss, argument in (('align_opt', 'discriminate'), ('gan_opt', None), ('style_opt', None)):
        given = getattr(train, loss)
        kind = find_registered('loss', given['type']) if given else None
        if kind and argument:
            yield not hasattr(kind, argument), f'train, {loss}, type: expected AlignmentLoss, got {given["type"]}'
        elif kind:
            unfit = not _takes(kind, 'forward', 'target_is_real')
            yield unfit, f'train, {loss}, type: expected GANLoss, or a loss called alike, got {given["type"]}'
    teacher = missing(schema.PathOptions, 'pretrain_network_t', 'checkpoint of the teacher, or zoo:NAME')
    yield options.network_t and not options.path.pretrain_networks.get('pretrain_network_t'), f'path: {teacher}'


def _rules_of_bank(options: schema.DistillationOptions, bank: synthesis_options.BankOptions) -> Rules:
    """Inputs come from sources or from stored banks, and a bank must bear two batches."""
    train, synthesis = options.train, options.synthesis
    found = 'both' if bank.path else 'neither'
    neither = f'synthesis: expected sources, or stored banks (bank, path), got {found}'
    yield bool(synthesis.sources) == bool(bank.path), neither
    answered = 'is for a teacher that is asked; stored banks have its answers'
    yield bank.path and bank.reuse > 1, f'synthesis, bank: reuse {answered}'
    yield bank.path and train.self_ensemble, f'train: self_ensemble {answered}'
    for key, argument, fit in (
        ('feature_opt', ('__init__', 'layers'), 'FeatureDistillationLoss'),
        ('temporal_opt', _FLOW, 'TemporalConsistencyLoss'),
        ('temporal_z_opt', _FLOW, 'TemporalConsistencyLoss'),
    ):
        loss = getattr(train, key)
        kind = (loss or {}).get('type')
        unfit = kind and not _takes(find_registered('loss', kind), *argument)
        yield unfit, f'train, {key}, type: expected {fit}, or a loss called alike, got {kind}'
    # What layers give is not kept, and is of the very input.
    for place, given in (
        ('synthesis, bank, reuse', bank.reuse > 1),
        ('synthesis, bank, path', bank.path),
        ('synthesis, bank, hr_size', bank.hr_size),
        ('synthesis, bank, frames', bank.frames),
        ('train, self_ensemble', train.self_ensemble),
        ('train, growth', train.growth),
    ):
        needs = 'needs all of teacher and student in every step'
        yield train.feature_opt and given, f'train, feature_opt: {needs}; expected no {place}'
    two = 2 * (options.datasets['train'].batch_size_per_gpu or 0)
    few = f'synthesis, bank, rows: expected at least two batches ({two}), got {bank.rows}'
    yield bank.reuse > 1 and bank.rows < two, few
    if bank.hr_size:
        yield no_multiple(bank.hr_size, as_tuple(options.scales), 'synthesis, bank, hr_size')
        larger = f'synthesis, bank, hr_size: expected at least {synthesis.hr_size} (synthesis, hr_size)'
        yield bank.hr_size < synthesis.hr_size, f'{larger}, got {bank.hr_size}'


def _rules_of_degrade(synthesis: synthesis_options.SynthesisOptions, model: Model) -> Rules:
    """Degrading is for images that are made clean, and the user's own LR images are for networks of images."""
    degrade, kinds = synthesis.degrade, [source.type for source in synthesis.sources or ()]
    if degrade:
        place, parts = 'synthesis, degrade', [getattr(degrade, name) for name in PARTS]
        yield not any(parts), f'{place}: expected at least one of {", ".join(PARTS)}'
        yield model.is_video, f'{place}: is for networks of images, not for {VIDEO}'
        yield synthesis.sources is None, f'{place}: is for sources; stored banks hold images that are made already'
        clean = not {'procedural', 'learned', 'images'}.isdisjoint(kinds)
        yield not clean, f'{place}: expected a source procedural, learned or images, got {", ".join(kinds)} alone'
    if model.is_video and 'lr_images' in kinds:
        place = f'synthesis, sources, {kinds.index("lr_images")}'
        yield True, f'{place}: lr_images is for networks of images; expected images, of which clips are made'


def _rules_of_discriminator(options: schema.DistillationOptions) -> Rules:
    """A discriminator is its network, its loss and its optimiser; for images."""
    train = options.train
    parts = {'network_d': options.network_d, 'train, gan_opt': train.gan_opt, 'train, optim_d': train.optim_d}
    given = [place for place, part in parts.items() if part]
    lacks = [place for place, part in parts.items() if not part]
    yield bool(given and lacks), f'{"".join(given[:1])}: needs {" and ".join(lacks)} too'
    yield train.gan_start and not given, 'train, gan_start: is for a discriminator; expected gan_opt'
    is_video = isinstance(options, schema.VideoDistillationOptions)
    yield bool(given) and is_video, f'{"".join(given[:1])}: discriminators are for networks of images, not for {VIDEO}'
    kind = (train.gan_opt or {}).get('type')
    unfit = kind and not _takes(find_registered('loss', kind), 'forward', 'target_is_real')
    yield bool(unfit), f'train, gan_opt, type: expected GANLoss, or a loss called alike, got {kind}'


def _rules_of_clips(
    options: schema.VideoDistillationOptions, bank: synthesis_options.BankOptions, scales: tuple[int, ...]
) -> Rules:
    train, clips, sources = options.train, options.synthesis.clips, options.synthesis.sources or ()
    yield len(scales) > 1, f'scales: video networks serve one scale, got {list(scales)}'
    frames = f'synthesis, bank, frames: expected at least {clips.frames} (clips, frames), got {bank.frames}'
    yield (bank.frames or clips.frames) < clips.frames, frames
    # Keeps every scale-th pixel from 0: of a turned clip these are others.
    blurred, turned = clips.degradation == 'blur', 'clips reduced by blur cannot be turned; expected false'
    yield blurred and 'turn' in bank.model_fields_set and bank.turn, f'synthesis, bank, turn: {turned}'
    yield blurred and train.self_ensemble, f'train, self_ensemble: {turned}'
    for key, given in (train.reconstruction_opt or {}).items():
        if key in ('degradation', 'sigma') and clips.degradation != 'none':
            made, place = getattr(clips, key), f'train, reconstruction_opt, {key}'
            yield given != made, f'{place}: expected {made}, that of synthesis, clips; got {given}'
    for_pictures, learns = train.temporal_z_opt, any(source.type == 'learned' for source in sources)
    yield for_pictures and not learns, 'train, temporal_z_opt: is for a learned source, and there is none'
    steady = 'train, temporal_z_opt, like_teacher: it is the teacher that is to be steady; expected false'
    yield (for_pictures or {}).get('like_teacher'), steady


def _takes(loss: Any, method: str, argument: str) -> bool:
    """Whether a loss's method has an argument."""
    return argument in inspect.signature(getattr(loss, method)).parameters


def _depth(network: Mapping[str, Any]) -> int | None:
    """The number of blocks that a network's options ask for, if they say it by `num_block`."""
    network = network['network'] if isinstance(network.get('network'), Mapping) else network
    parameter = inspect.signature(registered('network', network['type'])).parameters.get('num_block')
    depth = network.get('num_block', parameter.default if parameter else None)
    return depth if isinstance(depth, int) and not isinstance(depth, bool) else None
