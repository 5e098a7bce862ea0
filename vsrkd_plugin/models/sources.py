"""Builds the sources of training inputs that the options ask for, and the bank around them."""

import glob
import os
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.distillation.steps import Autocast
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.optim.factory import make_optimizer
from vsrkd_plugin.synthesis.bank.file import BankFile
from vsrkd_plugin.synthesis.bank.memory import ReplayBank, TeacherTarget
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.source import Source
from vsrkd_plugin.synthesis.sources.baselines import ImageSource, NoiseSource
from vsrkd_plugin.synthesis.sources.learned import LearnedSource
from vsrkd_plugin.synthesis.sources.mixture import MixtureSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_BANK_SEED = 1000  # apart from the sources' seeds
_MOTION_SEED = 2000
_HR_SIZE = 48
_IMAGE_SIZE = 96  # of procedural images, unless patches are larger


def lr_sizes(opt: dict[str, Any], kept: bool = False) -> dict[int, int]:
    """Scale → side of the LR patches, so that SR is `synthesis.hr_size` at every scale.

    Args:
        kept: those that sources make and a bank keeps, which may be larger than those that the student learns from.
    """
    scales = opt['scales'] if isinstance(opt['scales'], list) else [opt['scales']]
    synthesis = opt['synthesis']
    size = synthesis.get('hr_size', _HR_SIZE)
    if kept:
        size = (synthesis.get('bank') or {}).get('hr_size') or size
    return {scale: size // scale for scale in scales}


def sample_spec(opt: dict[str, Any], channels: int, kept: bool = False) -> SampleSpec:
    """What the student learns from; with `kept` what sources make and a bank keeps."""
    clips, frames, made, layers = opt['synthesis'].get('clips'), None, None, None
    if clips:
        layers = 1 + (clips.get('objects', 2) if clips.get('motion', 'full') == 'full' else 0)
        bank = opt['synthesis'].get('bank') or {}
        frames = (kept and bank.get('frames')) or clips['frames']
        made = f'blur {clips.get("sigma", 1.5)}' if clips['degradation'] == 'blur' else clips['degradation']
    return SampleSpec(channels, lr_sizes(opt, kept), frames, made, layers)


def build_source(opt: dict[str, Any], channels: int, device: torch.device, autocast: Autocast) -> Source:
    """The source of `synthesis.sources`: one, or a mixture of several; set in motion where there is `synthesis.clips`.

    Args:
        opt: the validated options of a training.
        channels: of the LR images, 1 (Y) or 3 (RGB).
        device: where the images are wanted.
        autocast: makes the context for a generator's layers.
    """
    share = {'rank': opt['rank'], 'world_size': opt['world_size']}
    if clips := opt['synthesis'].get('clips'):
        kind = sample_spec(opt, channels, kept=True)
        settings = {**{key: value for key, value in clips.items() if key != 'picture_size'}, 'frames': kind.frames}
        sizes = {PICTURE: picture_size(opt)}
        pictures = _build_image_source(opt, sizes, channels, device, autocast)
        seed = opt['manual_seed'] + _MOTION_SEED
        return MovingSource(pictures, lr_sizes=kind.lr_sizes, seed=seed, device=device, **settings, **share)
    return _build_image_source(opt, lr_sizes(opt, kept=True), channels, device, autocast)


def picture_size(opt: dict[str, Any]) -> int:
    """Side of the pictures that clips show: given, or a quarter more than what a frame shows of them."""
    clips = opt['synthesis']['clips']
    scale, size = next(iter(lr_sizes(opt, kept=True).items()))
    shown = size * (1 if clips.get('degradation') == 'none' else scale)
    return clips.get('picture_size') or shown * 5 // 4


def _build_image_source(
    opt: dict[str, Any], sizes: dict[int, int], channels: int, device: torch.device, autocast: Autocast
) -> Source:
    share = {'rank': opt['rank'], 'world_size': opt['world_size']}
    sources, weights = [], []
    for number, entry in enumerate(opt['synthesis']['sources']):
        settings = dict(entry)
        kind = settings.pop('type')
        weights.append(settings.pop('weight', 1))
        seed = opt['manual_seed'] + 1 + number
        if kind == 'procedural':
            settings.setdefault('image_size', max(_IMAGE_SIZE, max(sizes.values()) * 7 // 6))
            sources.append(
                ProceduralSource(channels=channels, lr_sizes=sizes, seed=seed, device=device, **settings, **share)
            )
            continue
        if kind in ('noise', 'images'):
            common = {'channels': channels, 'lr_sizes': sizes, 'seed': seed, 'device': device, **share}
            images = kind == 'images' and read_lr_images(settings['dataroot_gt'], sizes, channels)
            sources.append(ImageSource(images, **common) if images else NoiseSource(**common))
            continue
        network = dict(opt['network_z'])
        arch = ARCH_REGISTRY.get(network.pop('type'))
        generators = {
            scale: place(arch(**{'num_out_ch': channels, **network, 'lr_size': size}), device)
            for scale, size in sizes.items()
        }
        sources.append(
            LearnedSource(
                generators,
                lambda parameters: make_optimizer(opt['train']['optim_z'], parameters),
                seed=seed,
                autocast=autocast,
                grad_clip=opt['train'].get('grad_clip_z'),
                **share,
            )
        )
    return sources[0] if len(sources) == 1 else MixtureSource(sources, weights)


def sources_that_need_not_learn(opt: dict[str, Any], command: str) -> dict[str, Any]:
    """The options with learned sources left out, for commands that do not train.

    Raises:
        UserError: no source is left.
    """
    entries = opt['synthesis'].get('sources') or []
    kept = [entry for entry in entries if entry['type'] != 'learned']
    if not kept:
        raise UserError(f'{command}: expected a source that need not learn (procedural) in synthesis, sources')
    if len(kept) < len(entries):
        print('Learned sources are left out: they learn only in a training.')
    return {**opt, 'synthesis': {**opt['synthesis'], 'sources': kept}}


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


def bank_paths(opt: dict[str, Any]) -> list[str]:
    """The stored banks that a training reads instead of asking a teacher; none if it has sources.

    Raises:
        UserError: a pattern that no bank fits.
    """
    path = (opt['synthesis'].get('bank') or {}).get('path')
    found = []
    for one in path if isinstance(path, list) else [path] if path else []:
        one = os.path.expanduser(one)
        matching = sorted(glob.glob(one)) if glob.has_magic(one) and not os.path.exists(one) else [one]
        if not matching:
            raise UserError(f'{one}: no bank fits this pattern')
        found += matching
    return list({os.path.realpath(one): one for one in found}.values())  # each once


def build_inputs(
    opt: dict[str, Any], channels: int, device: torch.device, autocast: Autocast, teacher_target: TeacherTarget
) -> Source | ReplayBank | BankFile:
    """Where a training's inputs come from: stored banks, a bank around the sources, or the sources alone.

    Args:
        teacher_target: LR images and their scale → the teacher's SR.
    """
    bank = opt['synthesis'].get('bank') or {}
    wanted, kept = sample_spec(opt, channels), sample_spec(opt, channels, kept=True)
    settings = {'seed': opt['manual_seed'] + _BANK_SEED, 'device': device, 'turn': bank.get('turn', True)}
    if (opt['synthesis'].get('clips') or {}).get('degradation') == 'blur':
        settings['turn'] = False  # the pixels that it keeps are others in a turned clip
    if paths := bank_paths(opt):
        return BankFile(paths, wanted, **settings, rank=opt['rank'], world_size=opt['world_size'])
    source = build_source(opt, channels, device, autocast)
    if bank.get('reuse', 1) == 1 and wanted == kept:
        return source
    settings |= {key: bank[key] for key in ('rows', 'numbers') if key in bank}
    return ReplayBank(
        source, teacher_target, kept, wanted=wanted, reuse=bank.get('reuse', 1), keep=opt['world_size'] == 1, **settings
    )
