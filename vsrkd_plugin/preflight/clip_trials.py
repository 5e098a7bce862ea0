"""What validation, a test and the report do with a data set of clips, tried beforehand."""

from copy import deepcopy
from dataclasses import dataclass

from basicsr.data.data_util import read_img_seq

from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.data.whole_clips import STOCK, gives_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.clip_validation import LR_SIDE, validation_adapter
from vsrkd_plugin.preflight.contracts import told
from vsrkd_plugin.preflight.data_sets import DataSets
from vsrkd_plugin.preflight.trial import Trial, cropped, described, telling_sizes

_FRAMES = 9  # at least as many as a window is looked for with; clips that are shorter are tried as they are


@dataclass(frozen=True)
class Clips:
    """What a data set gives.

    Attributes:
        lq_size: height and width of the first clip's LR frames.
        sizes: of those clips that a network is tried on (`telling_sizes`).
        scale: of the first clip.
        lengths: frames of each clip by its name.
    """

    lq_size: tuple[int, int]
    sizes: tuple[tuple[int, int], ...]
    scale: int
    lengths: dict[str, int]


def clips_of(data_sets: DataSets, phase: str, place: str) -> Clips | None:
    """What a data set gives; None of one that cannot be known: a class of the user's, or one that is not found.

    Raises:
        UserError: it holds no whole clips, or the first frames of its clips cannot be read.
    """
    cls, options = data_sets.cls(phase), data_sets.options[phase]
    if issubclass(cls, BicubicImageDataset) or not gives_clips(cls):
        fit = ' or '.join(('DegradedClipDataset', *STOCK))
        raise UserError(f'{place}, type: {options["type"]} gives no whole clips; expected {fit}')
    if issubclass(cls, DegradedClipDataset):
        try:
            dataset = data_sets.build(phase)
        except UserError:
            return None  # told with the other data sets
        try:
            sizes = [dataset.lq_size(index) for index in range(len(dataset.clips))]
        except UserError as error:
            raise UserError(f'{place}: {error}') from error
        lengths = {name: len(frames) for name, frames in dataset.clips}
        return Clips(sizes[0], telling_sizes(sizes), dataset.scale, lengths)
    if not cls.__module__.startswith('basicsr.'):
        return None
    try:
        stock = cls({**deepcopy(options), 'cache_data': False})
        sizes = [_frame_size(frames) for frames in stock.imgs_lq.values()]
        scale = _frame_size(stock.imgs_gt[next(iter(stock.imgs_lq))])[1] // sizes[0][1]
        lengths = {folder: len(frames) for folder, frames in stock.imgs_lq.items()}
    except Exception as error:  # whatever BasicSR's data sets raise of their options, validation would meet it
        raise UserError(f'{place}: {cls.__name__} gives no first frame: {described(error)}') from error
    return Clips(sizes[0], telling_sizes(sizes), scale, lengths)


def _frame_size(files: list[str]) -> tuple[int, int]:
    """Height and width of a clip's first frame."""
    height, width = read_img_seq(files[:1]).shape[-2:]
    return height, width


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
        raise UserError(f'{trial.place}, {what}: {told(error, trial.key, trial.network, _FRAMES)}') from error
    for clip, frames in clips.lengths.items():
        if frames < (adapter.window or 1):
            found = f'{clip} has {frames} frames'
            raise UserError(f'{trial.place}: {found}, fewer than the window of {adapter.window} of {trial.key}')
    length = adapter.window or min(_FRAMES, *clips.lengths.values())
    for height, width in clips.sizes:
        try:
            trial.run(adapter, (length, CLIP_CHANNELS, height, width))
        except UNFIT as error:
            what = f'LR frames of {width}x{height} do not suit {trial.key}'
            raise UserError(f'{trial.place}: {what}: {told(error, trial.key, trial.network, length)}') from error


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
