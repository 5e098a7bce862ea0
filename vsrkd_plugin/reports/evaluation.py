"""Bicubic, teacher and student on the validation sets, measured with BasicSR's metrics as stock validation does."""

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import tensor2img
from torch import Tensor

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.data.whole_clips import Samples
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.metrics.means import Means, Values, finite_means, measure
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.reports.likeness import Likeness
from vsrkd_plugin.reports.names import printable, short_name
from vsrkd_plugin.reports.perceptual import Metric, Perceptual
from vsrkd_plugin.run.progress import progress

logger = logging.getLogger('basicsr')

DEFAULT_METRICS = {
    'psnr': {'type': 'calculate_psnr', 'test_y_channel': True},
    'ssim': {'type': 'calculate_ssim', 'test_y_channel': True},
}
CROP_SIZE = 64  # pixels of HR: small enough to see single ones, large enough to see what it is
WINDOW_SIZE = 192  # pixels of HR, of the windows that the page shows enlarged
MOST_SHOWN = 4  # crops in the picture, windows on the page


@dataclass(frozen=True, eq=False)  # arrays have no truth value to compare by
class Crop:
    """A window of one image, every method beside the other."""

    dataset: str
    scale: int
    image: str
    error: float  # mean |HR - bicubic| of the window, in grey values of 0 to 255; without HR, how much detail it has
    panels: dict[
        str, np.ndarray
    ]  # lr, bicubic, teacher, student, hr if there is one: uint8, `(h, w)` or BGR `(h, w, 3)`
    psnr: dict[str, float]  # of the window, by method


@dataclass(frozen=True, eq=False)
class Film:
    """A window of one clip, every method beside the other; all frames."""

    clip: str
    panels: dict[str, np.ndarray]  # lr, bicubic, teacher, student, hr: uint8 BGR `(t, h, w, 3)`


@dataclass
class Evaluation:
    """What one data set, or several, gave."""

    results: list[dict[str, Any]] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)  # of CROP_SIZE, one of each image; of clips also over time
    windows: list[Crop] = field(default_factory=list)  # of WINDOW_SIZE, the hardest of each set
    over_time: list[Crop] = field(default_factory=list)  # lines of clips over time, as wide, the hardest of each set
    films: list[Film] = field(default_factory=list)  # of clips

    def extend(self, other: 'Evaluation') -> None:
        self.results += other.results
        self.crops += other.crops
        self.windows += other.windows
        self.over_time += other.over_time
        self.films += other.films


def metric_options(val: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The options of PSNR and SSIM in `val.metrics`, under whatever names; the usual ones (on Y) where it has none."""
    given = {metric.get('type'): metric for metric in ((val or {}).get('metrics') or {}).values()}
    return {name: dict(given.get(default['type'], default)) for name, default in DEFAULT_METRICS.items()}


@torch.no_grad()
def evaluate(
    samples: Samples,
    options: dict[str, Any],
    networks: dict[str, ImageSRAdapter],
    metrics: dict[str, dict[str, Any]],
    device: torch.device,
    perceptual: dict[str, Metric] | None = None,
    niqe: bool | None = None,
) -> Evaluation:
    """Measure bicubic and every network on one data set, in fp32, results rounded to 8 bits.

    Args:
        samples: gives dictionaries with `lq`, `gt` (`(c, h, w)` in [0, 1]) and perhaps `scale`, `lq_path`.
        options: the data set's options (`name`, `scale`, `interpolate`).
        networks: by method (`teacher`, `student`), on `device`, in eval mode.
        metrics: options of the metrics by name; `crop_border` is the scale where not given.
        perceptual: what `load_metrics` gives.
        niqe: as of `Likeness`.

    Returns:
        A result for each method, and each image's worst window. Empty if the data set has no ground truth; it is
        for `evaluate_without_gt`. An image for which a metric is not finite (equal to HR, or too small) does not count
        in that metric's mean, `left_out` of the results says so. Beside the metrics stand those of `Likeness`.

    Raises:
        UserError: a network does not take the set's channels or does not enlarge by its scale.
    """
    label, interpolated = options.get('name', '?'), options.get('interpolate', False)
    values: dict[str, Values] = {method: {metric: [] for metric in metrics} for method in ('bicubic', *networks)}
    crops: list[Crop] = []
    windows: list[Crop] = []
    names: list[str] = []
    likeness, distances = Likeness(niqe), Perceptual(perceptual or {}, device)
    scale = 1
    # Iterating a Dataset ends only if it raises IndexError.
    for index in progress(range(len(samples)), f'report: {label}', 'image'):
        sample = samples[index]
        if 'gt' not in sample or sample['lq'].ndim != 3:
            what = 'has no ground truth' if 'gt' not in sample else 'does not hold single images'
            logger.info('Report: data set %s is left out, it %s', label, what)
            return Evaluation()
        scale = int(sample.get('scale', options.get('scale', 1)))
        lq = sample['lq'].unsqueeze(0).to(device)
        gt = sample['gt'].unsqueeze(0)
        factor = 1 if interpolated else scale
        base = bicubic_resize(lq, factor)
        if base.shape != gt.shape:
            raise UserError(
                f'data set {label}: LR of {tuple(lq.shape[1:])}, enlarged by {factor}, does not have the size of HR, '
                f'{tuple(gt.shape[1:])}; check its scale'
            )
        outputs = {'bicubic': base}
        for method, network in networks.items():
            try:
                outputs[method] = network(lq, factor, base)
            except ValueError as error:
                raise UserError(f'data set {label}, {method}: not a network for it: {error}') from error
        images = {method: to_image(output) for method, output in outputs.items()}
        hr = to_image(gt)
        for method, image in images.items():
            for metric, metric_opt in metrics.items():
                values[method][metric].append(measure(image, hr, {'crop_border': scale, **metric_opt}))
        lr = to_image(bicubic_resize(gt, 1 / scale) if interpolated else lq)
        names.append(image_name(sample, index))
        likeness.add(names[-1], images, scale, {method: values[method]['psnr'][-1] for method in images})
        distances.add(names[-1], images, hr, scale)
        where = (short_name(label, scale), scale, names[-1])
        crops.append(worst_crop(*where, lr, images, hr))
        windows = hardest([*windows, worst_crop(*where, lr, images, hr, WINDOW_SIZE)])
    if not crops:
        return Evaluation()
    means = finite_means(values, names, 'images')
    results = result_entries(means, short_name(label, scale), scale)
    of_likeness = likeness.means()
    of_distances = finite_means(distances.values, distances.names, 'images').by_method
    results = [
        {**result, **of_likeness[result['method']], **of_distances.get(result['method'], {})} for result in results
    ]
    logger.info(
        'Report: %s x%d, %d image(s), PSNR: %s', short_name(label, scale), scale, len(crops),
        ', '.join(f'{result["method"]} {result["psnr"]:.2f}' for result in results),
    )  # fmt: skip
    return Evaluation(results, crops, windows)


def result_entries(means: Means, dataset: str, scale: int) -> list[dict[str, Any]]:
    """A result for each method, in the form of `report.json`; `left_out` is there only where something was."""
    left_out = {'left_out': means.left_out} if means.left_out else {}
    return [
        {'dataset': dataset, 'scale': scale, 'method': method, **values, **left_out}
        for method, values in means.by_method.items()
    ]


def hardest(crops: list[Crop], number: int = MOST_SHOWN) -> list[Crop]:
    """Those that bicubic gets most wrong, in that order: all that `choose_crops` could take of one data set."""
    return sorted(crops, key=lambda crop: -crop.error)[:number]


def choose_crops(crops: list[Crop], number: int = MOST_SHOWN) -> list[Crop]:
    """Some crops to show: spread over the data sets, of different images if there are enough, hardest first.

    The hardest are those that bicubic gets most wrong; what the networks make of them has no say.
    """
    sets: dict[tuple[str, int], list[Crop]] = {}
    for crop in crops:
        sets.setdefault((crop.dataset, crop.scale), []).append(crop)
    pools = [sorted(pool, key=lambda crop: -crop.error) for pool in sets.values()]
    if len(pools) >= number:
        turns = [round(position) for position in np.linspace(0, len(pools) - 1, number)]
    else:
        turns = sorted([*range(len(pools))] + [len(pools) - 1] * (number - len(pools))) if pools else []
    chosen: list[Crop] = []
    for turn in turns:
        shown = {crop.image for crop in chosen}
        left = [crop for crop in pools[turn] if crop not in chosen]
        if left:
            chosen.append(next((crop for crop in left if crop.image not in shown), left[0]))
    return chosen


def to_image(tensor: Tensor) -> np.ndarray:
    """An image in [0, 1] as uint8, BGR or grey."""
    # tensor2img clamps in place, which would reach into the data set's cache.
    return tensor2img(tensor.detach().clone())


def image_name(sample: dict[str, Any], index: int) -> str:
    """The name of a sample's file, without its folder and ending."""
    path = sample.get('lq_path') or sample.get('gt_path') or str(index)
    return printable(str(path).replace('\\', '/').rsplit('/', 1)[-1].rsplit('.', 1)[0])


def worst_crop(
    dataset: str,
    scale: int,
    name: str,
    lr: np.ndarray,
    images: dict[str, np.ndarray],
    hr: np.ndarray,
    side: int = CROP_SIZE,
) -> Crop:
    """The window of `side` pixels or less in which bicubic differs most from HR, its corners on LR's grid."""
    error = np.abs(hr.astype(np.float32) - images['bicubic'].astype(np.float32))
    place = worst_place(error, scale, side)
    panels = cut_panels(place, scale, lr, {**images, 'hr': hr})
    on_y = {**DEFAULT_METRICS['psnr'], 'crop_border': 0}
    psnr = {method: measure(panels[method], panels['hr'], on_y) for method in images}
    return Crop(dataset, scale, name, place.error, panels, psnr)


@dataclass(frozen=True)
class Place:
    """A window, in LR pixels, and the mean error of it in HR."""

    top: int
    left: int
    size: int
    error: float


def worst_place(error: np.ndarray, scale: int, side: int) -> Place:
    """The window of `side` pixels or less where an error of each HR pixel is largest, its corners on LR's grid."""
    size = max(min(side, *error.shape[:2]) // scale, 1)  # in LR pixels
    error = error.mean(2) if error.ndim == 3 else error
    total = cv2.integral(error)[::scale, ::scale]
    window = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    top, left = np.unravel_index(np.argmax(window), window.shape)
    return Place(int(top), int(left), size, float(window[top, left]) / (size * scale) ** 2)


def cut_panels(place: Place, scale: int, lr: np.ndarray, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """LR and each image, in a window."""

    def cut(image: np.ndarray, step: int) -> np.ndarray:
        top, left, size = place.top * step, place.left * step, place.size * step
        return np.ascontiguousarray(image[top : top + size, left : left + size])

    return {'lr': cut(lr, 1), **{method: cut(image, scale) for method, image in images.items()}}


def finite(value: float | None) -> float | None:
    """The value, or None for what JSON cannot hold: infinity and nan."""
    return value if value is not None and math.isfinite(value) else None
