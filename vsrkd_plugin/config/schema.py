"""The options, each with its kind, its range and what it is for. `validating` reads these tables, and people may."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TOP = 'options'  # how errors name the top level
VIDEO = 'VideoDataFreeDistillationModel'
DISTILLING = (VIDEO, 'DataFreeDistillationModel')
ON_CLIPS = (VIDEO, 'ClipSRModel')
OURS = (*DISTILLING, 'ClipSRModel', 'MultiScaleSRModel')


@dataclass(frozen=True)
class Kind:
    """What a value must be: in words for a person, and as a test."""

    expected: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True)
class Field:
    """One option.

    Args:
        kind: what its value must be.
        help: what it is for.
        required: cannot be left out (in training, for what only training reads).
        null: may be `~`, which is the same as leaving it out.
        default: what leaving it out means.
        fields: the keys of a mapping; None where they are not ours to know.
        component: what a mapping with `type` builds: network, loss, optimizer, scheduler, metric.
    """

    kind: Kind
    help: str
    required: bool = False
    null: bool = False
    default: Any = None
    fields: Mapping[str, 'Field'] | None = None
    component: str | None = None


Fields = Mapping[str, Field]


def is_number(value: Any) -> bool:
    """A finite number; a bool is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """An int; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_folder_name(value: Any) -> bool:
    """Text that names one folder below another, a visible one: runs and images must stay where they belong."""
    return (
        isinstance(value, str)
        and value.isprintable()  # NUL is not, nor is what cannot be encoded
        and not any(mark in value for mark in '/\\')
        and not value.startswith('.')
        and 0 < len(value.encode()) <= 200  # BasicSR adds to it, and file systems take 255
    )


def whole(low: int) -> Kind:
    """A whole number from `low` on."""
    return Kind(f'a whole number >= {low}' if low != 1 else 'a whole number > 0', lambda v: is_whole(v) and v >= low)


def count(low: int = 1) -> Kind:
    """As `whole`, and `5e3` will do: so BasicSR's own files write iterations."""
    return Kind(whole(low).expected, lambda v: is_number(v) and v == int(v) and v >= low)


def one_of(*choices: str) -> Kind:
    """One of some words."""
    return Kind(' or '.join(choices) if len(choices) < 3 else f'one of {", ".join(choices)}', lambda v: v in choices)


def list_of(kind: Kind, what: str) -> Kind:
    """A list, not empty, of values of a kind."""
    return Kind(f'a list of {what}', lambda v: isinstance(v, list) and bool(v) and all(map(kind.accepts, v)))


ANY = Kind('anything', lambda v: True)
BOOL = Kind('true or false', lambda v: isinstance(v, bool))
TEXT = Kind('text', lambda v: isinstance(v, str) and bool(v))
MAPPING = Kind('a mapping', lambda v: isinstance(v, dict))
POSITIVE = Kind('a number > 0', lambda v: is_number(v) and v > 0)
NOT_NEGATIVE = Kind('a number >= 0', lambda v: is_number(v) and v >= 0)
FRACTION = Kind('a number from 0 to below 1', lambda v: is_number(v) and 0 <= v < 1)
COUNTS = list_of(count(1), 'whole numbers > 0')
NUM_GPU = Kind("'auto' or a whole number >= 0", lambda v: v == 'auto' or whole(0).accepts(v))
NAMES = Kind('a list of texts', lambda v: isinstance(v, list) and all(map(TEXT.accepts, v)))
ROOTS = Kind('a path, or a list of them', lambda v: TEXT.accepts(v) or list_of(TEXT, '').accepts(v))
SPEED = Kind(
    'two numbers > 0, the lower first',
    lambda v: list_of(POSITIVE, '').accepts(v) and len(v) == 2 and v[0] <= v[1],
)
BETAS = Kind('two numbers from 0 to below 1', lambda v: list_of(FRACTION, '').accepts(v) and len(v) == 2)


FOLDER_NAME = Kind('one folder name', is_folder_name)


def scales_from(low: int) -> Kind:
    """A scale, or a list of distinct ones."""
    one = whole(low)
    many = list_of(one, '')
    return Kind(
        f'{one.expected}, or a list of distinct ones',
        lambda v: one.accepts(v) or (many.accepts(v) and len(set(v)) == len(v)),
    )


LOADER: Fields = {
    'name': Field(Kind('text', lambda v: TEXT.accepts(v) or is_whole(v)), 'name in logs and reports', required=True),
    'type': Field(TEXT, 'the registered data set', required=True),
    'batch_size_per_gpu': Field(whole(1), 'samples of a step in each process'),
    'num_worker_per_gpu': Field(whole(0), 'processes that load data', default=0),
    'prefetch_mode': Field(one_of('cpu', 'cuda'), 'load ahead of the training', null=True),
    'num_prefetch_queue': Field(whole(1), 'batches loaded ahead (prefetch_mode: cpu)', default=1),
    'pin_memory': Field(BOOL, 'page-locked memory: faster copies to a GPU', default=False),
    'persistent_workers': Field(BOOL, 'keep the loading processes between epochs', default=False),
    'dataset_enlarge_ratio': Field(POSITIVE, 'how many times an epoch runs through the data', default=1),
}
DATASETS: Mapping[str, Fields] = {
    'LatentDataset': {
        **LOADER,
        'iterations_per_epoch': Field(whole(1), 'length of an epoch, which means nothing here', default=1000),
    },
    'BicubicImageDataset': {
        **LOADER,
        'dataroot_gt': Field(ROOTS, 'folder or LMDB of HR images, or skimage', required=True),
        'scale': Field(scales_from(1), 'the scale; in training also several'),
        'color': Field(one_of('y', 'rgb'), 'channels', default='rgb'),
        'interpolate': Field(BOOL, 'give LR enlarged to HR size by bicubic', default=False),
        'gt_size': Field(whole(1), 'training: side of the HR patches'),
        'use_hflip': Field(BOOL, 'training: random flips', default=True),
        'use_rot': Field(BOOL, 'training: random quarter turns', default=True),
        'enlarge': Field(whole(1), 'training: patches of an image in an epoch', default=1),
    },
    'DegradedClipDataset': {
        **LOADER,
        'dataroot_gt': Field(TEXT, 'folder of clips, each a folder of HR frames, or skimage', required=True),
        'clips': Field(NAMES, 'names of clips, to take these alone', null=True),
        'scale': Field(whole(1), 'the scale', required=True),
        'degradation': Field(one_of('bicubic', 'blur'), 'how LR is made', default='bicubic'),
        'sigma': Field(POSITIVE, 'of the blur, in HR pixels', default=1.5),
        'num_frame': Field(whole(1), 'training: frames of a sample; validation: the least that a clip has', default=1),
        'gt_size': Field(whole(1), 'training: side of the HR patches'),
        'use_hflip': Field(BOOL, 'training: random flips', default=True),
        'use_rot': Field(BOOL, 'training: random quarter turns', default=True),
        'use_reverse': Field(BOOL, 'training: random reversal of time', default=True),
        'invented': Field(FRACTION, 'training: share of samples that are invented clips instead', default=0),
        'invented_speed': Field(SPEED, 'of these, from and to, LR pixels a frame', default=[0.03, 3.0]),
        'enlarge': Field(whole(1), 'training: samples of a clip in an epoch', default=1),
    },
}

PATH: Fields = {
    'pretrain_network_*': Field(TEXT, 'checkpoint of a network, or zoo:NAME', null=True),
    'param_key_*': Field(TEXT, 'entry of the checkpoint that holds the weights', null=True, default='params'),
    'strict_load_*': Field(BOOL, 'every weight must be there, and no other', default=True),
    'resume_state': Field(TEXT, 'training state to go on from', null=True),
    'ignore_resume_networks': Field(NAMES, 'networks whose checkpoint resuming leaves alone', null=True),
}
VAL: Fields = {
    'val_freq': Field(count(), 'iterations between validations'),
    'save_img': Field(BOOL, 'write the images', default=False),
    'suffix': Field(TEXT, 'end of the names of images', null=True),
    'pbar': Field(BOOL, 'show a progress bar', default=False),
    'metrics': Field(MAPPING, 'name: {type, …}', null=True),
}
STOCK_VAL: Fields = {
    'flip_seq': Field(BOOL, 'average with the sequence played backwards', default=False),
    'center_frame_only': Field(BOOL, 'validate the middle frame alone', default=False),
    'num_val_samples': Field(whole(1), 'StyleGAN2: images drawn', default=16),
}
LOGGER: Fields = {
    'print_freq': Field(count(), 'iterations between lines of the log', default=100),
    'save_checkpoint_freq': Field(count(), 'iterations between checkpoints', default=1000),
    'keep_checkpoints': Field(whole(1), 'how many checkpoints stay; all if not given', null=True),
    'use_tb_logger': Field(BOOL, 'write for TensorBoard', default=True),
    'wandb': Field(
        MAPPING,
        'Weights & Biases',
        null=True,
        fields={
            'project': Field(TEXT, 'its project; none: it is not used', null=True),
            'resume_id': Field(TEXT, 'the run to go on with', null=True),
        },
    ),
}
# What every BasicSR model reads in `train`; the rest of a foreign model's keys are not ours to know.
TRAIN: Fields = {
    'total_iter': Field(count(), 'length of the training', required=True),
    'warmup_iter': Field(count(-1), 'iterations in which the learning rate rises; -1: none', default=-1),
    'ema_decay': Field(FRACTION, 'of the moving average of the weights; 0: none', default=0),
    'optim_*': Field(MAPPING, 'optimiser of a network', component='optimizer'),
    'scheduler': Field(MAPPING, 'learning rate over time', component='scheduler'),
    '*_opt': Field(MAPPING, 'a loss', null=True, component='loss'),
}
LOSSES = {  # of models that train with data
    'MultiScaleSRModel': ('pixel_opt', 'perceptual_opt'),
    'ClipSRModel': ('pixel_opt', 'perceptual_opt', 'alignment_opt'),
}
GROWTH: Fields = {
    'start': Field(whole(1), 'blocks active at the first iteration', required=True),
    'every': Field(count(), 'add blocks after every so many iterations', null=True),
    'milestones': Field(COUNTS, 'add blocks after these iterations, instead of every', null=True),
    'step': Field(whole(1), 'blocks added at a time', default=1),
    'block_start': Field(one_of('identity', 'random'), 'how a new block starts', default='identity'),
}
DISTILLATION_TRAIN: Fields = {
    'init': Field(one_of('random', 'teacher'), "the student's start", default='random'),
    'growth': Field(MAPPING, 'blocks active over time; all from the start if not given', null=True, fields=GROWTH),
    'self_ensemble': Field(BOOL, "learn from the teacher's mean over flips and rotations", default=False),
    'distill_opt': Field(MAPPING, 'what the student learns by', required=True, component='loss'),
    'adversarial_opt': Field(MAPPING, 'drives the generator to disagreement', null=True, component='loss'),
    'reconstruction_opt': Field(MAPPING, 'keeps the generator near images', null=True, component='loss'),
    'feature_opt': Field(MAPPING, "ties layers of the student to the teacher's", null=True, component='loss'),
    'temporal_opt': Field(MAPPING, 'video: keeps the student steady along the motion', null=True, component='loss'),
    'temporal_z_opt': Field(
        MAPPING, 'video: keeps the generator to clips that come out steady', null=True, component='loss'
    ),
    'checkpointed': Field(
        BOOL, "video: compute the student's features anew for the gradient, to save memory", default=False
    ),
    'generator_freq': Field(count(), 'student steps to one step of the generator', default=50),
    'optim_g': Field(MAPPING, "the student's optimiser", required=True, component='optimizer'),
    'optim_z': Field(MAPPING, "the generator's optimiser", null=True, component='optimizer'),
    'scheduler': Field(MAPPING, "the student's learning rate over time", required=True, component='scheduler'),
    'scheduler_z': Field(MAPPING, "the generator's learning rate over time", null=True, component='scheduler'),
    'grad_clip': Field(POSITIVE, "largest norm of the student's gradient", null=True),
    'grad_clip_z': Field(POSITIVE, "largest norm of the generator's gradient", null=True),
    **{key: TRAIN[key] for key in ('ema_decay', 'warmup_iter', 'total_iter')},
}
BANK: Fields = {
    'reuse': Field(whole(1), 'how often each input and its output by the teacher is used', default=1),
    'rows': Field(whole(2), 'inputs kept of each scale', default=1024),
    'turn': Field(BOOL, 'flip and rotate what is used again', default=True),
    'numbers': Field(one_of('fp16', 'uint8'), 'how pairs are kept', default='fp16'),
    'hr_size': Field(whole(1), 'side of the HR patches that are kept, if larger than those given', null=True),
    'frames': Field(whole(2), 'video: frames of the clips that are kept, if more than those given', null=True),
    'path': Field(ROOTS, 'stored banks (patterns as a*.lmdb too), instead of sources and teacher', null=True),
}
CLIPS: Fields = {
    'frames': Field(whole(2), 'of a clip', required=True),
    'degradation': Field(one_of('bicubic', 'blur', 'none'), "the teacher's; none: rendered at LR size", required=True),
    'sigma': Field(POSITIVE, 'of the blur, in HR pixels', default=1.5),
    'objects': Field(whole(0), 'in front of the ground, at most', default=2),
    'motion': Field(one_of('full', 'translation', 'still'), 'how the ground and objects move', default='full'),
    'speed': Field(SPEED, 'of the motion, from and to, LR pixels a frame', default=[0.03, 3.0]),
    'picture_size': Field(whole(1), 'side of the pictures that are set in motion', null=True),
}
SYNTHESIS: Fields = {
    'hr_size': Field(whole(1), 'side of the HR patches, a multiple of every scale', default=48),
    'sources': Field(list_of(MAPPING, 'mappings with a type'), 'where inputs come from', null=True),
    'bank': Field(MAPPING, 'inputs kept with the outputs of the teacher', null=True, fields=BANK),
    'clips': Field(MAPPING, 'video: how pictures of the sources are set in motion', null=True, fields=CLIPS),
}
_SOURCE: Fields = {
    'type': Field(one_of('procedural', 'learned', 'noise', 'images'), 'kind of source', required=True),
    'weight': Field(POSITIVE, 'share of a batch', default=1),
}
SOURCES: Mapping[str, Fields] = {
    'learned': _SOURCE,
    'noise': _SOURCE,
    'images': {**_SOURCE, 'dataroot_gt': Field(ROOTS, 'folders or LMDBs of HR images, or skimage', required=True)},
    'procedural': {
        **_SOURCE,
        'num_images': Field(whole(1), 'images painted', default=2000),
        'image_size': Field(whole(1), 'their side', default=96),
        'cache_dir': Field(TEXT, 'folder that keeps them for other runs', null=True),
    },
}

_COMMON: Fields = {
    'name': Field(TEXT, "the experiment's name and folder", required=True),
    'model_type': Field(TEXT, 'the registered model', required=True),
    'scale': Field(whole(1), 'the scale, for data sets that do not say theirs'),
    'num_gpu': Field(NUM_GPU, 'GPUs; 0: the CPU', default='auto'),
    'manual_seed': Field(whole(0), 'seed of everything random; drawn if not given', null=True),
    'datasets': Field(MAPPING, 'train, val_1, … (in a test test_1, …)', required=True),
    'network_*': Field(MAPPING, 'a network', component='network'),
    'path': Field(MAPPING, 'files', fields=PATH),
    'train': Field(MAPPING, 'the training'),
    'val': Field(MAPPING, 'the validation', fields=VAL),
    'logger': Field(MAPPING, 'log and checkpoints', fields=LOGGER),
    'dist_params': Field(MAPPING, 'for init_dist under slurm'),
    'find_unused_parameters': Field(BOOL, "DistributedDataParallel's", default=False),
}
_PRECISION = Field(one_of('auto', 'bf16', 'fp32'), 'number format of convolutions', default='auto')
# RealESRGAN's models read how images are degraded from the top level.
_REAL_ESRGAN = (
    'gt_usm', 'l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm', 'high_order_degradation', 'gt_size', 'queue_size',
    'second_blur_prob',
    *(
        f'{key}{order}' for order in ('', '2') for key in (
            'resize_prob', 'resize_range', 'gaussian_noise_prob', 'gray_noise_prob', 'noise_range',
            'poisson_scale_range', 'jpeg_range',
        )
    ),
)  # fmt: skip


def schema_of(model: str) -> Fields:
    """The top level of the options of a model; one of `OURS` or any other."""
    if model in DISTILLING:
        return {
            **{key: field for key, field in _COMMON.items() if key != 'scale'},
            'scales': Field(scales_from(2), 'the scales; each step draws one'),
            'precision': _PRECISION,
            'synthesis': Field(MAPPING, 'where the inputs come from', fields=SYNTHESIS),
            'train': Field(MAPPING, 'the training', fields=DISTILLATION_TRAIN),
        }
    train = Field(MAPPING, 'the training', fields=TRAIN)
    if model in OURS:
        clips = {'precision': _PRECISION} if model in ON_CLIPS else {}  # else the network's own option says it
        return {**_COMMON, **clips, 'train': train}
    degradations = {key: Field(ANY, 'how images are degraded') for key in _REAL_ESRGAN} if 'RealESR' in model else {}
    return {**_COMMON, **degradations, 'train': train, 'val': Field(MAPPING, 'validation', fields={**VAL, **STOCK_VAL})}
