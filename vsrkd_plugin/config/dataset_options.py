"""The options of data sets."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Tag

from vsrkd_plugin.config import values as v
from vsrkd_plugin.config.components import Built
from vsrkd_plugin.config.section import Section, option, tag
from vsrkd_plugin.ops.degradation import SIGMA
from vsrkd_plugin.synthesis.clips.scenes import SPEED
from vsrkd_plugin.synthesis.degrading import Degradation
from vsrkd_plugin.synthesis.sources.procedural import NUM_HR_IMAGES


class LoaderOptions(Section):
    """Any data set."""

    type: Annotated[v.Text, Built('data set')] = option('the registered data set')
    name: v.SetName = option('name in logs and reports, and of the folder for its images')
    batch_size_per_gpu: v.Whole = option('samples of a step in each process; training needs it', None)
    num_worker_per_gpu: v.Whole0 = option('training: processes that load data', 0)
    prefetch_mode: Literal['cpu', 'cuda'] | None = option('load ahead of the training', None)
    num_prefetch_queue: v.Whole = option('batches loaded ahead (prefetch_mode: cpu)', 1)
    pin_memory: v.Bool = option('page-locked memory: faster copies to a GPU', False)
    persistent_workers: v.Bool = option('training: keep the loading processes between epochs', False)
    dataset_enlarge_ratio: v.Positive = option('how many times an epoch runs through the data', 1)


class LatentDatasetOptions(LoaderOptions):
    """LatentDataset, which holds nothing, for a distillation."""

    type: Literal['LatentDataset'] = option('this data set')
    iterations_per_epoch: v.Whole = option('length of an epoch, which means nothing here', 1000)


class BicubicImageDatasetOptions(LoaderOptions):
    """BicubicImageDataset, HR images of which LR is made by MATLAB's bicubic."""

    type: Literal['BicubicImageDataset'] = option('this data set')
    dataroot_gt: v.Roots = option('folder or LMDB of HR images, or skimage')
    scale: v.Scale = option('the scale; in training also several', None)
    color: Literal['y', 'rgb'] = option('channels', 'rgb')
    interpolate: v.Bool = option('give LR enlarged to HR size by bicubic', False)
    gt_size: v.Whole = option('side of the HR patches; training needs it', None)
    use_hflip: v.Bool = option('training: random flips', True)
    use_rot: v.Bool = option('training: random quarter turns', True)
    enlarge: v.Whole = option('training: patches of an image in an epoch', 1)


class DegradedClipDatasetOptions(LoaderOptions):
    """DegradedClipDataset, HR clips of which LR is made as the teacher expects it."""

    type: Literal['DegradedClipDataset'] = option('this data set')
    dataroot_gt: v.Text = option('folder of clips, each a folder of HR frames, or skimage')
    clips: v.Names | None = option('names of clips, to take these alone', None)
    scale: v.Whole = option('the scale')
    degradation: Literal['bicubic', 'blur'] = option('how LR is made', 'bicubic')
    sigma: v.Positive = option('of the blur, in HR pixels', SIGMA)
    num_frame: v.Whole = option('training: frames of a sample; validation: the least that a clip has', 1)
    gt_size: v.Whole = option('side of the HR patches; training needs it', None)
    use_hflip: v.Bool = option('training: random flips', True)
    use_rot: v.Bool = option('training: random quarter turns', True)
    use_reverse: v.Bool = option('training: random reversal of time', True)
    invented: v.Fraction = option('training: share of samples that are invented clips instead', 0)
    invented_speed: v.Speed = option('of these, from and to, LR pixels a frame', SPEED)
    enlarge: v.Whole = option('training: samples of a clip in an epoch', 1)


class DegradeOptions(Section):
    """How images are degraded at random; what is not given takes no part. At least one part is given."""

    clean_prob: v.Share = option('share of the images that stay clean', Degradation.clean_prob)
    apply_prob: v.Share = option('share of the other images that have each part, at least one', Degradation.apply_prob)
    blur_sigma: v.Range | None = option('part: Gaussian blur, sigma from and to, LR pixels', None)
    anisotropic_prob: v.Share = option(
        'share of the blurs that are stronger in one direction', Degradation.anisotropic_prob
    )
    resize_range: v.FactorRange | None = option('part: resizing by a factor, from and to, and back', None)
    noise_range: v.Range | None = option('part: Gaussian noise, sigma from and to, levels of 255', None)
    poisson_scale_range: v.Range | None = option(
        'part: Poisson noise, strength from and to; at 1 white is 256 photons', None
    )
    gray_noise_prob: v.Share = option('share of noise that is the same in all channels', Degradation.gray_noise_prob)
    jpeg_range: v.QualityRange | None = option('part: JPEG, quality from and to', None)


class UnpairedLRDatasetOptions(LoaderOptions):
    """UnpairedLRDataset, HR of a source and LR of a target, for an adaptation."""

    type: Literal['UnpairedLRDataset'] = option('this data set')
    dataroot_gt: v.Roots = option('folders or LMDBs of HR images of the source, skimage, or procedural: made ones')
    dataroot_lq: v.Roots = option('LR images of the target: folders, those in them included, or LMDBs')
    scale: v.Whole = option('the scale', None)
    gt_size: v.Whole = option('side of the HR patches, a multiple of the scale; training needs it', None)
    color: Literal['y', 'rgb'] = option('channels', 'rgb')
    degrade: DegradeOptions | None = option('how LR of the source is degraded after bicubic', None)
    num_images: v.Whole = option('source images that are made', NUM_HR_IMAGES)
    manual_seed: v.Seed | None = option('of what is drawn; the one of the run if not given', None)


class OtherDatasetOptions(LoaderOptions):
    """Data sets of BasicSR, and yours, which have keys of their own."""

    model_config = ConfigDict(extra='allow')
    io_backend: dict[str, Any] | None = option('how files are read, such as {type: disk}; BasicSR needs it', None)


_DATASETS = (
    LatentDatasetOptions,
    BicubicImageDatasetOptions,
    DegradedClipDatasetOptions,
    UnpairedLRDatasetOptions,
)
_SETS = tuple(cls.__name__.removesuffix('Options') for cls in _DATASETS)
Dataset = Annotated[
    Annotated[LatentDatasetOptions, Tag('*LatentDataset')]
    | Annotated[BicubicImageDatasetOptions, Tag('*BicubicImageDataset')]
    | Annotated[DegradedClipDatasetOptions, Tag('*DegradedClipDataset')]
    | Annotated[UnpairedLRDatasetOptions, Tag('*UnpairedLRDataset')]
    | Annotated[OtherDatasetOptions, Tag('*')],
    Discriminator(lambda options: tag(options, _SETS)),
]
