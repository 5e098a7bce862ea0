"""What validation, a test and the report do with a data set of single images, tried beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from PIL import Image
from torch import Tensor

from vsrkd_plugin.adapters.contract import UNFIT, input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.multi_scale_sr_model import super_resolve
from vsrkd_plugin.preflight.contracts import told
from vsrkd_plugin.preflight.data_sets import DataSets
from vsrkd_plugin.preflight.trial import Trial, described, telling_sizes

_ORIENTATION = 0x0112  # EXIF's tag
_QUARTER_TURNED = (5, 6, 7, 8)  # its values where width and height change places when the image is decoded


@dataclass(frozen=True)
class Images:
    """What the first sample of a data set is like: shapes `(c, h, w)` of LR, and of HR if there is any; and `(h, w)` of
    those LR images that a network is tried on (`telling_sizes`).
    """

    lq: tuple[int, ...]
    gt: tuple[int, ...] | None
    scale: int | None  # that the sample or the options tell; None where neither does
    sizes: tuple[tuple[int, int], ...]

    @property
    def first(self) -> 'Images':
        """The same with one size alone."""
        return replace(self, sizes=self.sizes[:1])

    @property
    def factors(self) -> tuple[int, ...]:
        """How many times as high and as wide HR is; 0 where no whole number does."""
        if self.gt is None:
            return ()
        return tuple(0 if high % low else high // low for high, low in zip(self.gt[-2:], self.lq[-2:], strict=True))


def images_of(data_sets: DataSets, phase: str, place: str) -> Images | None:
    """What a data set gives; None of one that cannot be known: a class of the user's, or one that is not found.

    Raises:
        UserError: it holds clips, or an image cannot be read.
    """
    cls, options = data_sets.cls(phase), data_sets.options[phase]
    if issubclass(cls, DegradedClipDataset):
        raise UserError(f'{place}, type: {options["type"]} gives clips, but the model takes single images')
    if issubclass(cls, BicubicImageDataset):
        try:
            dataset = data_sets.build(phase)
        except UserError:
            return None  # told with the other data sets
        try:
            shapes = [dataset.lq_shape(index) for index in range(len(dataset.images))]
        except UserError as error:
            raise UserError(f'{place}: {error}') from error
        factor = 1 if dataset.interpolate else options['scale']
        channels, height, width = shapes[0]
        sizes = telling_sizes(shape[1:] for shape in shapes)
        return Images(shapes[0], (channels, height * factor, width * factor), options['scale'], sizes)
    if not cls.__module__.startswith('basicsr.'):
        return None
    try:
        dataset = data_sets.build(phase)
        sample = dataset[0]
        gt = tuple(sample['gt'].shape) if 'gt' in sample else None
        sizes = telling_sizes([sample['lq'].shape[-2:], *_sizes_by_headers(dataset, gt is None)])
        return Images(tuple(sample['lq'].shape), gt, options.get('scale'), sizes)
    except Exception as error:  # whatever BasicSR's data sets raise of their options, validation would meet it
        raise UserError(f'{place}: {cls.__name__} gives no first sample: {described(error)}') from error


def try_validation(trial: Trial, images: Images, tells_scale: bool) -> None:
    """As `MultiScaleSRModel.test` does, or, unless `tells_scale`, `SRModel.test`; then compare sizes as metrics will.

    Raises:
        UserError: the network does not take the images, or does not give HR's size.
    """
    for size in images.sizes:
        _try_size(trial, images, size, tells_scale)


def _try_size(trial: Trial, images: Images, size: tuple[int, int], tells_scale: bool) -> None:
    scale, interpolated = images.scale, bool(trial.dataset.get('interpolate'))
    try:
        call = partial(super_resolve, trial.network, scale=scale, interpolated=interpolated)
        lq, output = trial.run(call if tells_scale else trial.network, (*images.lq[:-2], *size))
    except UNFIT as error:
        _check_channels(trial, images)
        raise UserError(
            f'{trial.place}: {_named(size)} does not suit {trial.key}: {told(error, trial.key, trial.network)}'
        ) from error
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
    except UNFIT as error:
        raise UserError(f'{trial.place}: does not suit {trial.key}: {told(error, trial.key, trial.network)}') from error
    for size in images.sizes:
        try:
            trial.run(lambda x: adapter(x, factor), (*images.lq[:-2], *size))
        except UNFIT as error:
            what = f'scale: {factor}, {_named(size)} does not suit {trial.key}'
            raise UserError(f'{trial.place}, {what}: {described(error)}') from error


def _sizes_by_headers(dataset: Any, of_lq: bool) -> Iterator[tuple[int, int]]:
    """Height and width of the LR files of one of BasicSR's data sets; `of_lq`: it has no other files.

    Of an LMDB nothing: its keys are no files.
    """
    for entry in getattr(dataset, 'paths', ()):
        file = entry.get('lq_path') if isinstance(entry, dict) else entry if of_lq else None
        if file is None:
            continue
        try:
            with Image.open(file) as image:
                turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNED
                yield (image.width, image.height) if turned else (image.height, image.width)
        except (OSError, Image.DecompressionBombError):
            continue  # no file, or none that Pillow knows; whether BasicSR does, validation will tell


def _named(size: tuple[int, int]) -> str:
    return f'LR of {size[1]}x{size[0]}'


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
