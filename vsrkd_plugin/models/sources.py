"""Builds the sources of training inputs that a plan asks for, and the bank around them."""

from dataclasses import replace
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from vsrkd_plugin.config.plan import DistillationPlan, SourcePlan
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degradations import degrade_each
from vsrkd_plugin.data.lr_images import read_own_lr_images
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.precision import Autocast, place
from vsrkd_plugin.optim.factory import make_optimizer
from vsrkd_plugin.synthesis.bank.file import BankFile
from vsrkd_plugin.synthesis.bank.memory import ReplayBank, TeacherTarget
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.degrading import DegradedSource
from vsrkd_plugin.synthesis.detailed import DetailedSource
from vsrkd_plugin.synthesis.source import SharedSource, Source
from vsrkd_plugin.synthesis.sources.baselines import ImageSource, NoiseSource
from vsrkd_plugin.synthesis.sources.learned import LearnedSource
from vsrkd_plugin.synthesis.sources.mixture import MixtureSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_BANK_SEED = 1000  # apart from the sources' seeds
_MOTION_SEED = 2000
_DEGRADE_SEED = 3000
_CHOICE_SEED = 4000
_CLEAN = ('procedural', 'learned', 'images')  # sources that a degradation is for: users' own LR images are as they are


def build_source(plan: DistillationPlan, channels: int, device: torch.device, autocast: Autocast) -> SharedSource:
    """The sources of a plan: one, or a mixture of several; set in motion where there are `clips`.

    Args:
        plan: of a training.
        channels: of the LR images, 1 (Y) or 3 (RGB).
        device: where the images are wanted.
        autocast: makes the context for a generator's layers.
    """
    clips = plan.clips
    sizes = {PICTURE: clips.picture_size} if clips else plan.kept_lr_sizes
    sources = []
    for number, entry in enumerate(plan.sources, 1):
        source = _build_image_source(plan, entry, plan.seed + number, sizes, channels, device, autocast)
        if plan.candidates > 1 and entry.kind != 'learned':
            source = DetailedSource(source, plan.candidates, seed=plan.seed + _CHOICE_SEED + number)
        if plan.degradation and entry.kind in _CLEAN:
            seed = plan.seed + _DEGRADE_SEED + number
            source = DegradedSource(source, plan.degradation, degrade_each, seed=seed)
        sources.append(source)
    pictures = sources[0] if len(sources) == 1 else MixtureSource(sources, [entry.weight for entry in plan.sources])
    if not clips:
        return pictures
    return MovingSource(
        pictures,
        frames=clips.kept_frames,
        lr_sizes=plan.kept_lr_sizes,
        degradation=clips.degradation,
        sigma=clips.sigma,
        objects=clips.objects,
        motion=clips.motion,
        speed=clips.speed,
        seed=plan.seed + _MOTION_SEED,
        device=device,
        rank=plan.rank,
        world_size=plan.world_size,
    )


def _build_image_source(
    plan: DistillationPlan,
    entry: SourcePlan,
    seed: int,
    sizes: dict[int, int],
    channels: int,
    device: torch.device,
    autocast: Autocast,
) -> SharedSource:
    share: dict[str, Any] = {'rank': plan.rank, 'world_size': plan.world_size, 'seed': seed}
    common: dict[str, Any] = {**share, 'channels': channels, 'lr_sizes': sizes, 'device': device}
    if entry.kind == 'procedural':
        return ProceduralSource(**entry.settings, **common)
    if entry.kind == 'noise':
        return NoiseSource(**common)
    if entry.kind == 'images':
        return ImageSource(read_lr_images(entry.settings['dataroot_gt'], sizes, channels), **common)
    if entry.kind == 'lr_images':
        own = read_own_lr_images(entry.settings['dataroot_lq'], sizes, channels, seed)
        return ImageSource(dict.fromkeys(sizes, own), **common)
    assert plan.generator is not None and plan.optim_z is not None  # the options are checked for them
    network, optimizer = dict(plan.generator), plan.optim_z
    arch = ARCH_REGISTRY.get(network.pop('type'))
    return LearnedSource(
        {
            scale: place(arch(**{'num_out_ch': channels, **network, 'lr_size': size}), device)
            for scale, size in sizes.items()
        },
        lambda parameters: make_optimizer(optimizer, parameters),
        autocast=autocast,
        grad_clip=plan.grad_clip_z,
        **share,
    )


def sources_that_need_not_learn(plan: DistillationPlan, command: str) -> DistillationPlan:
    """The plan with learned sources left out, for commands that do not train.

    Raises:
        UserError: no source is left.
    """
    kept = tuple(entry for entry in plan.sources if entry.kind != 'learned')
    if not kept:
        raise UserError(f'{command}: expected a source that need not learn (procedural) in synthesis, sources')
    if len(kept) < len(plan.sources):
        print('Learned sources are left out: they learn only in a training.')
    return replace(plan, sources=kept)


def read_lr_images(roots: str | list[str], sizes: dict[int, int], channels: int) -> dict[int, list[Tensor]]:
    """Real images of one folder or several, reduced by MATLAB bicubic: scale → LR images `(c, h, w)`.

    Raises:
        UserError: a missing or empty folder, a corrupt image, no image as large as a patch.
    """
    found = {}
    for scale, size in sizes.items():
        color = 'y' if channels == 1 else 'rgb'
        settings = {'name': 'synthesis, sources', 'phase': 'val', 'dataroot_gt': roots, 'scale': scale, 'color': color}
        dataset = BicubicImageDataset(settings)
        found[scale] = [dataset.pair(index, scale)[0].clamp(0, 1) for index in range(len(dataset))]
        if not any(min(image.shape[1:]) >= size for image in found[scale]):
            raise UserError(f'{roots}: holds no image as large as a patch of x{scale}, {size * scale}x{size * scale}')
    return found


def build_inputs(
    plan: DistillationPlan, channels: int, device: torch.device, autocast: Autocast, teacher_target: TeacherTarget
) -> Source:
    """Where a training's inputs come from: stored banks, a bank around the sources, or the sources alone.

    Args:
        teacher_target: LR images and their scale → the teacher's SR.
    """
    bank, wanted, kept = plan.bank, plan.sample_spec(channels), plan.kept_spec(channels)
    seed = plan.seed + _BANK_SEED
    if paths := bank.stored():
        return BankFile(
            paths, wanted, turn=bank.turn, seed=seed, device=device, rank=plan.rank, world_size=plan.world_size
        )
    source = build_source(plan, channels, device, autocast)
    if bank.reuse == 1 and wanted == kept:
        return source
    return ReplayBank(
        source,
        teacher_target,
        kept,
        wanted=wanted,
        reuse=bank.reuse,
        rows=bank.rows,
        numbers=bank.numbers,
        turn=bank.turn,
        seed=seed,
        device=device,
    )
