"""What validation, a test and the report do with a data set of single images, tried beforehand."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor

from vsrkd_plugin.adapters.contract import UNFIT, input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.multi_scale_sr_model import super_resolve
from vsrkd_plugin.preflight.trial import Trial, described


@dataclass(frozen=True)
class Images:
    """What the first sample of a data set is like: shapes `(c, h, w)` of LR, and of HR if there is any."""

    lq: tuple[int, ...]
    gt: tuple[int, ...] | None
    scale: int | None  # that the sample tells; None where it tells none

    @property
    def factors(self) -> tuple[int, ...]:
        """How many times as high and as wide HR is; 0 where no whole number does."""
        if self.gt is None:
            return ()
        return tuple(0 if high % low else high // low for high, low in zip(self.gt[-2:], self.lq[-2:], strict=True))


def images_of(build: Any, options: dict[str, Any], place: str) -> Images | None:
    """What a data set gives; None of one that cannot be known: a class of the user's, or one that is not found.

    Raises:
        UserError: it holds clips, or its first sample cannot be read.
    """
    if issubclass(build, DegradedClipDataset):
        raise UserError(f'{place}, type: {options["type"]} gives clips, but the model takes single images')
    if issubclass(build, BicubicImageDataset):
        try:
            dataset = build(deepcopy(options))
        except UserError:
            return None  # told with the other data sets
        try:
            channels, height, width = dataset.lq_shape()
        except UserError as error:
            raise UserError(f'{place}: {error}') from error
        factor = 1 if dataset.interpolate else options['scale']
        return Images((channels, height, width), (channels, height * factor, width * factor), options['scale'])
    if not build.__module__.startswith('basicsr.'):
        return None
    try:
        sample = build(deepcopy(options))[0]
        return Images(tuple(sample['lq'].shape), tuple(sample['gt'].shape) if 'gt' in sample else None, None)
    except Exception as error:  # whatever BasicSR's data sets raise of their options, validation would meet it
        raise UserError(f'{place}: {build.__name__} gives no first sample: {described(error)}') from error


def try_validation(trial: Trial, images: Images, tells_scale: bool) -> None:
    """As `MultiScaleSRModel.test` does, or, unless `tells_scale`, `SRModel.test`; then compare sizes as metrics will.

    Raises:
        UserError: the network does not take the images, or does not give HR's size.
    """
    scale = images.scale if tells_scale else None
    interpolated = bool(trial.dataset.get('interpolate'))
    try:
        lq, output = trial.run(lambda x: super_resolve(trial.network, x, scale, interpolated), images.lq)
    except UNFIT as error:
        _check_channels(trial, images)
        raise UserError(f'{trial.place}: does not suit {trial.key}: {described(error)}') from error
    if images.gt is None:
        return
    if 0 in images.factors:
        raise UserError(f'{trial.place}: {_sizes(images)}; expected a whole multiple')
    sides = (side * factor for side, factor in zip(lq.shape[-2:], images.factors, strict=True))
    expected = (1, images.gt[0], *sides)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        _check_channels(trial, images)
        _refuse_size(trial, lq, output, expected)


def try_report(trial: Trial, images: Images) -> None:
    """As `reports.evaluation.evaluate` does. It leaves out a data set without HR.

    Raises:
        UserError: the network does not take the images, or does not enlarge by their scale.
    """
    if images.gt is None or len(images.lq) != 3:
        return
    channels = input_channels(trial.network, trial.arguments)
    if not (images.lq[0] == 3 and channels == 1):  # a network of Y takes RGB there
        _check_channels(trial, images)
    factor = 1 if trial.dataset.get('interpolate') else int(images.scale or trial.dataset.get('scale', 1))
    if images.factors != (factor, factor):
        raise UserError(f'{trial.place}, scale: {factor}, but {_sizes(images)}')
    try:
        adapter = ImageSRAdapter(trial.network, channels)
        trial.run(lambda x: adapter(x, factor), images.lq)
    except UNFIT as error:
        raise UserError(f'{trial.place}, scale: {factor} does not suit {trial.key}: {described(error)}') from error


def _check_channels(trial: Trial, images: Images) -> None:
    """Raise if a data set has other channels than a network: then whatever else is wrong follows from it."""
    channels, found = input_channels(trial.network, trial.arguments), images.lq[0]
    if channels != found:
        gives = f'gives {found} channel{"s" if found > 1 else ""} (color: {trial.dataset.get("color", "rgb")})'
        hint = {1: '; expected color: y', 3: '; expected color: rgb'}.get(channels, '')
        raise UserError(f'{trial.place}: {gives}, but {trial.key} takes {channels}{hint}')


def _refuse_size(trial: Trial, lq: Tensor, output: Any, expected: tuple[int, ...]) -> NoReturn:
    """Say how an output's shape is not HR's: by its factor, if it has one."""
    found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    by = found[-1] // lq.shape[-1] if isinstance(found, tuple) and len(found) == 4 else 0
    if not by or found != (1, expected[1], *(side * by for side in lq.shape[-2:])):
        raise UserError(f'{trial.place}: {trial.key} makes {found} of LR {tuple(lq.shape)}; expected {expected}')
    if trial.dataset.get('interpolate'):
        what = f'interpolate: true gives LR at the size of HR, but {trial.key} enlarges it by {by}'
        raise UserError(f'{trial.place}, {what}; expected interpolate: false')
    hint = '; where a network works at the size of HR, expected interpolate: true' if by == 1 else ''
    scale = trial.dataset.get('scale', expected[-1] // lq.shape[-1])
    raise UserError(f'{trial.place}, scale: {scale}, but {trial.key} enlarges by {by}{hint}')


def _sizes(images: Images) -> str:
    high, low = ('x'.join(map(str, shape[:-3:-1])) for shape in (images.gt or (), images.lq))
    return f'HR is {high} and LR {low}'
