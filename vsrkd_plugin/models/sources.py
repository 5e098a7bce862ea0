"""Builds the sources of training inputs that the options ask for."""

from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY

from vsrkd_plugin.distillation.steps import Autocast
from vsrkd_plugin.models.optimizers import make_optimizer
from vsrkd_plugin.synthesis.learned import LearnedSource
from vsrkd_plugin.synthesis.mixture import MixtureSource
from vsrkd_plugin.synthesis.procedural import ProceduralSource
from vsrkd_plugin.synthesis.source import Source


def lr_sizes(opt: dict[str, Any]) -> dict[int, int]:
    """Scale → side of the LR patches, so that SR is `synthesis.hr_size` at every scale."""
    scales = opt['scales'] if isinstance(opt['scales'], list) else [opt['scales']]
    return {scale: opt['synthesis'].get('hr_size', 48) // scale for scale in scales}


def build_source(opt: dict[str, Any], channels: int, device: torch.device, autocast: Autocast) -> Source:
    """The source of `synthesis.sources`: one, or a mixture of several.

    Args:
        opt: the validated options of a training.
        channels: of the LR images, 1 (Y) or 3 (RGB).
        device: where the images are wanted.
        autocast: makes the context for a generator's layers.
    """
    place = {'rank': opt['rank'], 'world_size': opt['world_size']}
    sizes = lr_sizes(opt)
    sources, weights = [], []
    for number, entry in enumerate(opt['synthesis']['sources']):
        settings = dict(entry)
        kind = settings.pop('type')
        weights.append(settings.pop('weight', 1))
        seed = opt['manual_seed'] + 1 + number
        if kind == 'procedural':
            sources.append(
                ProceduralSource(channels=channels, lr_sizes=sizes, seed=seed, device=device, **settings, **place)
            )
            continue
        network = dict(opt['network_z'])
        arch = ARCH_REGISTRY.get(network.pop('type'))
        generators = {
            scale: arch(**{'num_out_ch': channels, **network, 'lr_size': size}).to(
                device=device, memory_format=torch.channels_last
            )
            for scale, size in sizes.items()
        }
        sources.append(
            LearnedSource(
                generators,
                lambda parameters: make_optimizer(opt['train']['optim_z'], parameters),
                seed=seed,
                autocast=autocast,
                grad_clip=opt['train'].get('grad_clip_z'),
                **place,
            )
        )
    return sources[0] if len(sources) == 1 else MixtureSource(sources, weights)
