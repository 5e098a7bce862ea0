"""What validation, a test and the report do with a data set of clips, tried beforehand."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from basicsr.data.data_util import read_img_seq

from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.data.whole_clips import STOCK, gives_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.clip_validation import LR_SIDE, validation_adapter
from vsrkd_plugin.preflight.trial import Trial, cropped, described

_FRAMES = 9  # at least as many as a window is looked for with; clips that are shorter are tried as they are


@dataclass(frozen=True)
class Clips:
    """What a data set gives: height and width of the first clip's LR frames, scale, frames of each clip by its name."""

    lq_size: tuple[int, int]
    scale: int
    lengths: dict[str, int]


def clips_of(build: Any, options: dict[str, Any], place: str) -> Clips | None:
    """What a data set gives; None of one that cannot be known: a class of the user's, or one that is not found.

    Raises:
        UserError: it holds no whole clips, or its first frames cannot be read.
    """
    if issubclass(build, BicubicImageDataset) or not gives_clips(build):
        fit = ' or '.join(('DegradedClipDataset', *STOCK))
        raise UserError(f'{place}, type: {options["type"]} gives no whole clips; expected {fit}')
    if issubclass(build, DegradedClipDataset):
        try:
            dataset = build(deepcopy(options))
        except UserError:
            return None  # told with the other data sets
        try:
            size = dataset.lq_size()
        except UserError as error:
            raise UserError(f'{place}: {error}') from error
        return Clips(size, dataset.scale, {name: len(frames) for name, frames in dataset.clips})
    if not build.__module__.startswith('basicsr.'):
        return None
    try:
        stock = build({**deepcopy(options), 'cache_data': False})
        first = next(iter(stock.imgs_lq))
        lq, gt = (read_img_seq(frames[first][:1]).shape for frames in (stock.imgs_lq, stock.imgs_gt))
        lengths = {folder: len(frames) for folder, frames in stock.imgs_lq.items()}
    except Exception as error:  # whatever BasicSR's data sets raise of their options, validation would meet it
        raise UserError(f'{place}: {build.__name__} gives no first frame: {described(error)}') from error
    return Clips((lq[-2], lq[-1]), gt[-1] // lq[-1], lengths)


def try_clips(trial: Trial, clips: Clips) -> None:
    """As `ClipValidation` and `reports.clips.evaluate_clips` do: find the network's window, then go through frames.

    Raises:
        UserError: the network does not take the frames, does not enlarge by their scale, or has a window that is longer
            than a clip.
    """
    try:
        adapter = _adapter(trial, clips)
    except UNFIT as error:
        what = f'scale: {clips.scale} does not suit {trial.key}'
        raise UserError(f'{trial.place}, {what}: {described(error)}') from error
    for clip, frames in clips.lengths.items():
        if frames < (adapter.window or 1):
            found = f'{clip} has {frames} frames'
            raise UserError(f'{trial.place}: {found}, fewer than the window of {adapter.window} of {trial.key}')
    length = adapter.window or min(_FRAMES, *clips.lengths.values())
    height, width = map(cropped, clips.lq_size)
    if height == width and length in (adapter.window, _FRAMES):
        return  # the window was found with frames like these
    try:
        trial.run(adapter, (length, CLIP_CHANNELS, *clips.lq_size))
    except UNFIT as error:
        size = 'x'.join(map(str, reversed(clips.lq_size)))
        raise UserError(f'{trial.place}: LR frames of {size} do not suit {trial.key}: {described(error)}') from error


def _adapter(trial: Trial, clips: Clips) -> VideoSRAdapter:
    """The network as validation calls it, its window found with small frames, or, if these are too small, larger."""
    side = min(clips.lq_size)
    options = {'network_g': trial.arguments}
    try:
        return validation_adapter(trial.network, options, trial.dataset, clips.scale, cropped(side))
    except UNFIT:
        if cropped(side) >= min(LR_SIDE, side):
            raise
        return validation_adapter(trial.network, options, trial.dataset, clips.scale, side)
