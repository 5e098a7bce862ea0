"""Students that are tried, as their teacher's kind is built and called."""

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from basicsr.archs import build_network
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.inspection.teacher import Inspection

_SIDE, _FRAMES = 48, 7  # LR pixels, and of clips


def built(options: Mapping[str, Any]) -> nn.Module:
    """A registered network at its random start, in evaluation mode; random states stay, and nothing is printed."""
    with redirect_stdout(StringIO()), torch.random.fork_rng(devices=[]):
        return build_network(dict(options)).eval()


def contract_of(found: Inspection, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was found of the teacher's class holds for a student of the same."""
    keys = ('type', 'family', 'model')
    own = plain(options)
    return found.contract if all(own.get(key) == found.options.get(key) for key in keys) else {}


def plain(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a network without the low rank of its layers."""
    return options['network'] if options['type'] == 'LowRankNetwork' else options


@torch.no_grad()
def called(
    found: Inspection, student: nn.Module, options: Mapping[str, Any]
) -> tuple[ImageSRAdapter | VideoSRAdapter, Tensor]:
    """A student called as its teacher's kind is, and an input: `(1, c, 48, 48)`, or `(1, 7, 3, 48, 48)` of a clip."""
    comply(student, contract_of(found, options), options)
    if found.is_video:
        return VideoSRAdapter(student, found.scale, options, lr_size=_SIDE), torch.rand(1, _FRAMES, 3, _SIDE, _SIDE)
    return ImageSRAdapter(student, found.channels, _SIDE), torch.rand(1, found.channels, _SIDE, _SIDE)
