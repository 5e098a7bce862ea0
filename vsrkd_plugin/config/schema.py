"""The options, section by section: each with its kind, range, default and meaning.

A default stands here, or is taken from the class that it is for.

What may be `~`, which is the same as leaving it out, is optional by its type; where only the default is None, it may be
left out, but not be `~`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, create_model

from vsrkd_plugin.basicsr_patches.terminal import VALIDATION_BAR
from vsrkd_plugin.config import values as v
from vsrkd_plugin.config.components import Generator, Loss, Metric, Network, Optimizer, Scheduler
from vsrkd_plugin.config.dataset_options import Dataset
from vsrkd_plugin.config.registries import VIDEO, Model
from vsrkd_plugin.config.section import Section, option
from vsrkd_plugin.config.synthesis_options import SynthesisOptions, VideoSynthesisOptions
from vsrkd_plugin.distillation.task import GENERATOR_FREQ

Precision = Literal['auto', 'bf16', 'fp32']


class PathOptions(Section):
    """Files."""

    pretrain_networks: dict[str, v.Text | None] = option('checkpoint, or zoo:NAME', {}, 'pretrain_network_*')
    param_keys: dict[str, v.Text | None] = option(
        'its entry with the weights; default: the validated one', {}, 'param_key_*'
    )
    strict_loads: dict[str, v.Bool] = option('it holds every weight, and no other; default true', {}, 'strict_load_*')
    resume_state: v.Text | None = option('training state to go on from', None)
    ignore_resume_networks: v.Names | None = option('networks whose checkpoint resuming leaves alone', None)

    def weights(self, label: str) -> tuple[str | None, str | None, bool]:
        """The checkpoint of a network, its entry that holds the weights, and whether every weight must be there."""
        return (
            self.pretrain_networks.get(f'pretrain_network_{label}'),
            self.param_keys.get(f'param_key_{label}'),
            self.strict_loads.get(f'strict_load_{label}', True),
        )


class ValOptions(Section):
    """The validation."""

    others_may_add: ClassVar[bool] = True
    val_freq: v.Count = option('iterations between validations; training needs it', None)
    save_img: v.Bool = option('write the images', False)
    suffix: v.FolderName | None = option('end of the names of images', None)
    pbar: v.Bool = option('tell how far a validation is: a bar on a terminal, plain lines elsewhere', VALIDATION_BAR)
    metrics: dict[str, Metric] | None = option('name: {type, …}; better: lower, if less is better', None)


class StockValOptions(ValOptions):
    """The validation of BasicSR's models, and of yours."""

    flip_seq: v.Bool = option('average with the sequence played backwards', False)
    center_frame_only: v.Bool = option('validate the middle frame alone', False)
    num_val_samples: v.Whole = option('StyleGAN2: images drawn', 16)


class WandbOptions(Section):
    """Weights & Biases."""

    project: v.Text | None = option('its project; it is not used if not given', None)
    resume_id: v.Text | None = option('the run to go on with', None)


class LoggerOptions(Section):
    """Log and checkpoints."""

    print_freq: v.Count = option('iterations between lines of the log', 100)
    save_checkpoint_freq: v.Count = option('iterations between checkpoints', 1000)
    keep_checkpoints: v.Whole | None = option('how many checkpoints stay; all if not given', None)
    use_tb_logger: v.Bool = option('write for TensorBoard, in a training', True)
    wandb: WandbOptions | None = option('Weights & Biases', None)


class AnyTrainOptions(Section):
    """Any training."""

    total_iter: v.Count = option('length of the training', training=True)
    warmup_iter: v.CountOrNone = option('iterations in which the learning rate rises; -1: none', -1)
    ema_decay: v.Fraction = option('of the moving average of the weights; 0: none', 0)


class TrainOptions(AnyTrainOptions):
    """A training with data; other keys of a model are its own."""

    model_config = ConfigDict(extra='allow')
    optimizers: dict[str, Optimizer] = option('optimiser of a network', {}, 'optim_*')
    scheduler: Scheduler = option('learning rate over time', None)
    losses: dict[str, Loss | None] = option('a loss', {}, '*_opt')


class GrowthOptions(Section):
    """Blocks of the student that are active over time."""

    start: v.Whole = option('blocks active at the first iteration', training=True)
    every: v.Count | None = option('add blocks after every so many iterations', None)
    milestones: v.Counts | None = option('add blocks after these iterations, instead of every', None)
    step: v.Whole = option('blocks added at a time', 1)
    block_start: Literal['identity', 'random'] = option('how a new block starts', 'identity')


class DistillationTrainOptions(AnyTrainOptions):
    """A distillation."""

    init: Literal['random', 'teacher'] = option("the student's start", 'random')
    growth: GrowthOptions | None = option('blocks active over time; all from the start if not given', None)
    self_ensemble: v.Bool = option("learn from the teacher's mean over flips and rotations", False)
    distill_opt: Loss = option('what the student learns by', training=True)
    adversarial_opt: Loss | None = option('drives the generator to disagreement', None)
    reconstruction_opt: Loss | None = option('keeps the generator near images', None)
    sharpness_opt: Loss | None = option('keeps the student as sharp as the teacher, place by place', None)
    perceptual_opt: Loss | None = option("BasicSR's PerceptualLoss between student and teacher", None)
    feature_opt: Loss | None = option("ties layers of the student to the teacher's", None)
    gan_opt: Loss | None = option('a GANLoss: the student is to be taken for the teacher, by network_d', None)
    gan_start: v.Count0 = option('iterations without it', 0)
    temporal_opt: Loss | None = option('video: keeps the student steady along the motion', None)
    temporal_z_opt: Loss | None = option('video: keeps the generator to clips that come out steady', None)
    checkpointed: v.Bool = option("video: compute the student's features anew for the gradient, to save memory", False)
    generator_freq: v.Count = option('student steps to one step of the generator', GENERATOR_FREQ)
    optim_g: Optimizer = option("the student's optimiser", training=True)
    optim_z: Optimizer | None = option("the generator's optimiser", None)
    optim_d: Optimizer | None = option("the discriminator's optimiser", None)
    scheduler: Scheduler = option("the student's learning rate over time, and the discriminator's", training=True)
    scheduler_z: Scheduler | None = option("the generator's; the student's if not given", None)
    grad_clip: v.Positive | None = option("largest norm of the student's gradient", None)
    grad_clip_z: v.Positive | None = option("largest norm of the generator's gradient", None)


class AdaptationTrainOptions(AnyTrainOptions):
    """An adaptation; every loss takes part where it is given, pixel_opt always."""

    pixel_opt: Loss = option('of SR of the source and its HR', training=True)
    perceptual_opt: Loss | None = option("BasicSR's PerceptualLoss beside pixel_opt and cycle_opt", None)
    gan_opt: Loss | None = option('a GANLoss: SR of the source is to be taken for HR, by network_dsr', None)
    align_opt: Loss | None = option(
        'an AlignmentLoss: features of source and target are to be alike, by network_df', None
    )
    restore_opt: Loss | None = option("of the target's LR and what network_lr makes of its features", None)
    style_opt: Loss | None = option(
        'a GANLoss: what network_lr makes of features of the source is to be taken for the target, by network_dt', None
    )
    identity_opt: Loss | None = option('of features of the source and of what network_lr makes of them', None)
    cycle_opt: Loss | None = option('of SR of what network_lr makes of the source and its HR', None)
    optim_g: Optimizer = option("the SR network's optimiser", training=True)
    optim_lr: Optimizer | None = option("network_lr's optimiser; that of optim_g if not given", None)
    optim_d: Optimizer | None = option('optimiser of each discriminator', None)
    scheduler: Scheduler = option('learning rates over time', training=True)
    grad_clip: v.Positive | None = option('largest norm of the gradient, but for the discriminators', None)


class ContractOptions(Section):
    """What a network wants, where it does not say so itself, or wrongly."""

    channels: v.Channels | None = option('of its input: 1 (Y) or 3 (RGB)', None)
    value_range: v.ValueRange | None = option('black and white of what it takes and gives, such as [0, 255]', None)
    size_multiple: v.Whole | None = option('sides of its input must be multiples of it; they are padded', None)
    min_size: v.Whole | None = option('the least side of its input; smaller ones are padded', None)
    pre_upsampling: v.Bool | None = option('its input is enlarged by bicubic before', None)
    multi_scale: v.Bool | None = option('it has an argument scale, and serves every scale', None)
    recurrent: v.Bool | None = option('it takes clips of any length', None)
    window: v.Whole | None = option('frames of its sliding window, an odd number', None)
    luma_only: v.Bool | None = option('false: a network with a method luma is learned from by its colours too', None)
    growing_body: v.Text | None = option('its attribute that holds equal blocks in a Sequential, to grow by', None)
    chain: v.Roots | None = option('modules that are its plain chain of convolutions, for init: teacher', None)

    @property
    def said(self) -> dict[str, Any]:
        """What is given."""
        return self.model_dump(exclude_none=True)


class RunOptions(Section):
    """Any run."""

    others_may_add: ClassVar[bool] = True
    name: v.FolderName = option("the experiment's name and folder")
    model_type: v.Text = option('the registered model')
    num_gpu: v.GPUs = option('GPUs; 0: the CPU', 'auto')
    manual_seed: v.Seed | None = option('seed of everything random; drawn if not given', None)
    datasets: dict[str, Dataset] = option('train, val_1, … (in a test test_1, …)')
    networks: dict[str, Network] = option('a network', {}, 'network_*')
    contract_g: ContractOptions | None = option('what network_g wants', None)
    compare: v.Names | None = option(
        'networks that the report shows beside the others: [oracle] for network_oracle, pretrain_network_oracle', None
    )
    path: PathOptions = option('files', PathOptions())
    val: ValOptions = option('the validation', None)
    logger: LoggerOptions = option('log and checkpoints', LoggerOptions())
    dist_params: dict[str, Any] = option('for init_dist under slurm', {})
    find_unused_parameters: v.Bool = option("DistributedDataParallel's", False)


class DistillationOptions(RunOptions):
    """A distillation of images."""

    scales: v.Scales = option('the scales; each step draws one', training=True)
    precision: Precision = option('number format of convolutions', 'auto')
    network_g: Network = option('the student')
    network_t: Network = option('the teacher; banks that are stored can stand for it', None)
    contract_t: ContractOptions | None = option('what network_t wants', None)
    network_z: Generator = option('the generator of learned sources, one for each scale', None)
    network_d: Network = option("the discriminator, which tells the student's outputs from the teacher's", None)
    synthesis: SynthesisOptions = option('where the inputs come from', training=True)
    train: DistillationTrainOptions = option('the training', training=True)


class VideoDistillationOptions(DistillationOptions):
    """A distillation of video."""

    synthesis: VideoSynthesisOptions = option('where the inputs come from', training=True)


class DomainAdaptationOptions(RunOptions):
    """An adaptation to LR of another kind, without pairs."""

    scale: v.Whole = option('the scale')
    precision: Precision = option('number format of convolutions', 'auto')
    network_g: Network = option('the SR network: encoder and decoder in one')
    decoder_start: v.Text | None = option(
        'the module of network_g that its decoder starts with; what it is given are the features', None
    )
    network_t: Network = option('a teacher, whose SR of bicubic LR stands for HR', None)
    contract_t: ContractOptions | None = option('what network_t wants', None)
    network_lr: Network = option('makes LR of the target of features: losses restore, style, identity, cycle', None)
    network_df: Network = option('discriminator of features, for align_opt', None)
    network_dt: Network = option("discriminator of the target's LR, for style_opt", None)
    network_dsr: Network = option('discriminator of SR, for gan_opt', None)
    train: AdaptationTrainOptions = option('the training', training=True)


ADAPTATION_JUDGES = {'network_df': 'align_opt', 'network_dt': 'style_opt', 'network_dsr': 'gan_opt'}
ADAPTATION_BY_DECODER = ('restore_opt', 'style_opt', 'identity_opt', 'cycle_opt')  # what network_lr is for


class TrainingOptions(RunOptions):
    """A training with data."""

    scale: v.Whole = option('the scale, for data sets that do not say theirs', None)
    train: TrainOptions = option('the training', training=True)


class ClipTrainOptions(TrainOptions):
    """A training with clips; other keys of a model are its own."""

    start: Literal['random', 'differences'] = option(
        'differences: half of the 3D filters (DUF) see at first what changes from frame to frame alone', 'random'
    )


class ClipTrainingOptions(TrainingOptions):
    """A training with clips."""

    train: ClipTrainOptions = option('the training', training=True)
    precision: Precision = option('number format of convolutions', 'auto')


class StockOptions(TrainingOptions):
    """Models of BasicSR, and yours, which may have more keys."""

    val: StockValOptions = option('the validation', None)


# RealESRGAN's models read how images are degraded from the top level.
REAL_ESRGAN = (
    'gt_usm', 'l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm', 'high_order_degradation', 'gt_size', 'queue_size',
    'second_blur_prob',
    *(
        f'{key}{order}' for order in ('', '2') for key in (
            'resize_prob', 'resize_range', 'gaussian_noise_prob', 'gray_noise_prob', 'noise_range',
            'poisson_scale_range', 'jpeg_range',
        )
    ),
)  # fmt: skip
_degradations: dict[str, Any] = {key: (Any, option('how images are degraded', None)) for key in REAL_ESRGAN}
RealESRGANOptions = create_model('RealESRGANOptions', __base__=StockOptions, **_degradations)

# The keys of all models.
AnyOptions = create_model(
    'AnyOptions', __base__=(DistillationOptions, StockOptions), decoder_start=(Any, option('of an adaptation', None))
)

OPTIONS_OF: Mapping[str, type[RunOptions]] = {
    'DataFreeDistillationModel': DistillationOptions,
    VIDEO: VideoDistillationOptions,
    'DomainAdaptationModel': DomainAdaptationOptions,
    'MultiScaleSRModel': TrainingOptions,
    'ClipSRModel': ClipTrainingOptions,
}
LOSSES = {  # of models that train with data
    'MultiScaleSRModel': ('pixel_opt', 'perceptual_opt'),
    'ClipSRModel': ('pixel_opt', 'perceptual_opt', 'alignment_opt'),
}


def options_of(model: Model) -> type[RunOptions]:
    """The options of a model."""
    return OPTIONS_OF.get(model.kind, RealESRGANOptions if 'RealESR' in model.kind else StockOptions)


def options_model(opt: Mapping[str, Any]) -> RunOptions:
    """Validated options as a typed object, its defaults filled; what `complete` or a model's own keys add is left out.

    Raises:
        pydantic.ValidationError: options that `validate` would have refused.
    """
    return options_of(Model.of(opt)).model_validate(dict(opt))
