"""What a distillation does, typed and frozen: made once from validated options; everything derived stands here."""

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.schema import (
    ContractOptions,
    DistillationOptions,
    PathOptions,
    options_model,
)
from vsrkd_plugin.config.synthesis_options import BankOptions, ClipsOptions, SourceOptions
from vsrkd_plugin.config.values import as_tuple
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.clips.scenes import count_layers
from vsrkd_plugin.synthesis.degrading import Degradation

Options = Mapping[str, Any]  # `{type, …}`: what a registered class is built with


@dataclass(frozen=True)
class NetworkPlan:
    """A network, and the checkpoint that it starts from (None: a random start).

    Attributes:
        contract: what the options say of what it wants (fields of `NetworkContract`).
    """

    options: Options
    weights: str | None = None
    param_key: str | None = None
    strict: bool = True
    contract: Options = field(default_factory=dict)


@dataclass(frozen=True)
class SourcePlan:
    """A source of inputs.

    Attributes:
        kind: its type in the options.
        weight: its share of a batch.
        settings: arguments of its class.
        options: as they were written; banks keep a hash of them.
    """

    kind: str
    weight: float
    settings: Options
    options: Options


@dataclass(frozen=True)
class ClipsPlan:
    """How pictures of the sources become clips; lengths in LR pixels.

    Attributes:
        frames, kept_frames: of the clips that the student learns from; of those that sources make and a bank keeps.
        options: as they were written; banks keep a hash of them.
    """

    frames: int
    kept_frames: int
    degradation: str
    sigma: float
    objects: int
    motion: str
    speed: tuple[float, float]
    picture_size: int
    options: Options

    @property
    def movement(self) -> dict[str, Any]:
        """What moves in them and how, in JSON's types, by the names of the options."""
        return {'objects': self.objects, 'motion': self.motion, 'speed': list(self.speed)}

    @property
    def layers(self) -> int:
        """Of a scene: the ground and the objects that may be there."""
        return count_layers(self.motion, self.objects)

    @property
    def made(self) -> str:
        """How LR is made of HR, in words: clips of other degradations are other samples."""
        return f'blur {self.sigma}' if self.degradation == 'blur' else self.degradation


@dataclass(frozen=True)
class BankPlan:
    """Inputs kept with the teacher's outputs, in memory (`reuse` > 1) or stored (`path`)."""

    reuse: int
    rows: int
    turn: bool
    numbers: str
    path: tuple[str, ...]

    def stored(self) -> list[str]:
        """The stored banks, patterns expanded, each once.

        Raises:
            UserError: a pattern that no bank fits.
        """
        found: list[str] = []
        for pattern in map(os.path.expanduser, self.path):
            is_pattern = glob.has_magic(pattern) and not os.path.exists(pattern)
            matching = sorted(glob.glob(pattern)) if is_pattern else [pattern]
            if not matching:
                raise UserError(f'{pattern}: no bank fits this pattern')
            found += matching
        return list({os.path.realpath(path): path for path in found}.values())


@dataclass(frozen=True)
class GrowthPlan:
    """Blocks of the student that are active over time."""

    start: int
    every: int | None
    milestones: tuple[int, ...] | None
    step: int
    block_start: str


@dataclass(frozen=True)
class LossPlan:
    """The losses, each as its options; None where it takes no part."""

    distill: Options
    adversarial: Options | None
    reconstruction: Options | None
    feature: Options | None
    temporal: Options | None
    temporal_z: Options | None
    sharpness: Options | None = None
    perceptual: Options | None = None


@dataclass(frozen=True)
class DiscriminatorPlan:
    """A discriminator of the student's outputs; it takes part after `start` iterations."""

    network: NetworkPlan
    loss: Options
    optimizer: Options
    start: int


@dataclass(frozen=True)
class DistillationPlan:
    """What a distillation does.

    Attributes:
        scales: each step draws one.
        batch: samples of a step in each process.
        hr_size, kept_hr_size: side of the HR patches that the student learns from; that sources make and a bank keeps.
        teacher: None where the options name none.
        generator: options of `network_z`, if there is one.
        clips: None for images.
        candidates: images that sources make for each one that is taken.
        degradation: of the images of sources that make clean ones; None for none.
    """

    is_video: bool
    scales: tuple[int, ...]
    precision: str
    seed: int
    rank: int
    world_size: int
    on_gpu: bool
    batch: int
    hr_size: int
    kept_hr_size: int
    teacher: NetworkPlan | None
    student: NetworkPlan
    generator: Options | None
    sources: tuple[SourcePlan, ...]
    clips: ClipsPlan | None
    candidates: int
    degradation: Degradation | None
    bank: BankPlan
    losses: LossPlan
    discriminator: DiscriminatorPlan | None
    starts_from_teacher: bool
    growth: GrowthPlan | None
    self_ensemble: bool
    checkpointed: bool
    generator_freq: int
    grad_clip: float | None
    grad_clip_z: float | None
    optim_g: Options
    optim_z: Options | None
    scheduler: Options
    scheduler_z: Options
    ema_decay: float
    total_iter: int

    @classmethod
    def from_options(cls, opt: Options) -> 'DistillationPlan':
        """The plan of validated options of a DataFreeDistillationModel, or of its video sibling."""
        options = options_model(opt)
        assert isinstance(options, DistillationOptions)  # those of these models
        train, synthesis, datasets = options.train, options.synthesis, options.datasets
        bank, clips, growth = synthesis.bank or BankOptions(), synthesis.clips, train.growth
        scales = as_tuple(options.scales)
        kept_hr_size = bank.hr_size or synthesis.hr_size
        video = _clips_plan(clips, bank, kept_hr_size, scales[0], opt['synthesis']['clips']) if clips else None
        largest = video.picture_size if video else kept_hr_size // min(scales)
        return cls(
            is_video=Model.of(opt).is_video,
            scales=scales,
            precision=options.precision,
            seed=options.manual_seed or 0,
            rank=opt.get('rank', 0),
            world_size=opt.get('world_size', 1),
            on_gpu=options.num_gpu not in (0, 'auto'),
            batch=datasets['train'].batch_size_per_gpu or 1,
            hr_size=synthesis.hr_size,
            kept_hr_size=kept_hr_size,
            teacher=_network_plan(options.network_t, options.path, 't', options.contract_t)
            if options.network_t
            else None,
            student=_network_plan(options.network_g, options.path, 'g', options.contract_g),
            generator=options.network_z,
            sources=tuple(
                SourcePlan(source.type, source.weight, _settings(source, largest), entry)
                for source, entry in zip(synthesis.sources or (), opt['synthesis'].get('sources') or (), strict=True)
            ),
            clips=video,
            candidates=synthesis.candidates,
            degradation=Degradation(**synthesis.degrade.model_dump()) if synthesis.degrade else None,
            bank=BankPlan(
                reuse=bank.reuse,
                rows=bank.rows,
                # Of a turned clip that was reduced by blur other pixels would have been kept.
                turn=bank.turn and not (clips and clips.degradation == 'blur'),
                numbers=bank.numbers,
                path=as_tuple(bank.path),
            ),
            losses=LossPlan(
                train.distill_opt,
                train.adversarial_opt,
                _reconstruction(train.reconstruction_opt, clips),
                train.feature_opt,
                train.temporal_opt,
                train.temporal_z_opt,
                train.sharpness_opt,
                train.perceptual_opt,
            ),
            discriminator=DiscriminatorPlan(
                NetworkPlan(options.network_d, *options.path.weights('d')),
                train.gan_opt,
                train.optim_d,
                train.gan_start,
            )
            if options.network_d and train.gan_opt and train.optim_d
            else None,
            starts_from_teacher=train.init == 'teacher',
            growth=GrowthPlan(**{**growth.model_dump(), 'milestones': growth.milestones and tuple(growth.milestones)})
            if growth
            else None,
            self_ensemble=train.self_ensemble,
            checkpointed=train.checkpointed,
            generator_freq=train.generator_freq,
            grad_clip=train.grad_clip,
            grad_clip_z=train.grad_clip_z,
            optim_g=train.optim_g,
            optim_z=train.optim_z,
            scheduler=train.scheduler,
            scheduler_z=train.scheduler_z or train.scheduler,
            ema_decay=train.ema_decay,
            total_iter=train.total_iter,
        )

    @property
    def lr_sizes(self) -> dict[int, int]:
        """Scale → side of the LR patches that the student learns from: SR is `hr_size` at every scale."""
        return {scale: self.hr_size // scale for scale in self.scales}

    @property
    def kept_lr_sizes(self) -> dict[int, int]:
        """The same of those that sources make and a bank keeps."""
        return {scale: self.kept_hr_size // scale for scale in self.scales}

    def sample_spec(self, channels: int) -> SampleSpec:
        """What the student learns from."""
        return self._spec(channels, self.lr_sizes, self.clips.frames if self.clips else None)

    def kept_spec(self, channels: int) -> SampleSpec:
        """What sources make and a bank keeps."""
        return self._spec(channels, self.kept_lr_sizes, self.clips.kept_frames if self.clips else None)

    def _spec(self, channels: int, lr_sizes: dict[int, int], frames: int | None) -> SampleSpec:
        made, layers = (self.clips.made, self.clips.layers) if self.clips else (None, None)
        return SampleSpec(channels, lr_sizes, frames, made, layers)

    @property
    def asks_teacher(self) -> bool:
        """Whether a training needs the teacher; not where stored banks have its outputs."""
        return self.teacher is not None and (self.starts_from_teacher or not self.bank.path)


def _network_plan(network: Options, path: PathOptions, label: str, contract: ContractOptions | None) -> NetworkPlan:
    return NetworkPlan(network, *path.weights(label), contract.said if contract else {})


def picture_size(clips: ClipsOptions, kept_hr_size: int, scale: int) -> int:
    """Side of the pictures that clips show: a frame must not run out of its picture, which has a quarter more."""
    shown = kept_hr_size // scale * (1 if clips.degradation == 'none' else scale)
    return clips.picture_size or shown * 5 // 4


def _clips_plan(clips: ClipsOptions, bank: BankOptions, kept_hr_size: int, scale: int, options: Options) -> ClipsPlan:
    return ClipsPlan(
        frames=clips.frames,
        kept_frames=bank.frames or clips.frames,
        degradation=clips.degradation,
        sigma=clips.sigma,
        objects=clips.objects,
        motion=clips.motion,
        speed=clips.speed,
        picture_size=picture_size(clips, kept_hr_size, scale),
        options=options,
    )


def _settings(source: SourceOptions, largest: int) -> Options:
    """Arguments of a source's class; `largest` is the side of the largest patch that it must give."""
    settings = source.model_dump(exclude={'type', 'weight'}, exclude_none=True)
    if 'image_size' in settings and 'image_size' not in source.model_fields_set:
        settings['image_size'] = max(settings['image_size'], largest * 7 // 6)
    return settings


def _reconstruction(options: Options | None, clips: ClipsOptions | None) -> Options | None:
    """The reconstruction loss of clips reduces as the clips are made."""
    if not options or not clips or clips.degradation == 'none':
        return options
    return {**options, **clips.model_dump(include={'degradation', 'sigma'})}
