"""One metric of one image, and means over images that are not spoilt by a value that is not finite."""

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

Values = dict[str, list[float]]  # by metric, for image after image


def measure(image: np.ndarray, reference: np.ndarray | None, options: Mapping[str, Any]) -> float:
    """One of BasicSR's metrics of an image.

    Args:
        image, reference: uint8, `(h, w)` or BGR `(h, w, 3)`; `reference` is None for metrics without one.
        options: of the metric, with its `type`.

    Returns:
        The value: infinite for the PSNR of equal images, `nan` for an image that is too small for the metric (nothing
        is left inside `crop_border`, or less than SSIM's window).
    """
    if min(image.shape[:2]) <= 2 * (options.get('crop_border') or 0):
        return math.nan
    settings = {key: value for key, value in options.items() if key != 'better'}
    images = {'img': image} if reference is None else {'img': image, 'img2': reference}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # numpy's, of the mean of nothing
        return float(calculate_metric(images, settings))


def compares(options: Mapping[str, Any]) -> bool:
    """Whether a metric, given by its options, compares with GT; NIQE does not."""
    return 'img2' in inspect.signature(METRIC_REGISTRY.get(options['type'])).parameters


@dataclass(frozen=True)
class Means:
    """Means over the same images for several methods.

    Attributes:
        by_method: method → metric → mean; `nan` where no image counts.
        left_out: a sentence for each metric in which images do not count: which, and why.
    """

    by_method: dict[str, dict[str, float]]
    left_out: list[str] = field(default_factory=list)


def finite_means(by_method: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str], what: str) -> Means:
    """Means over images, without those for which a value is not finite.

    An image that does not count for one method counts for none: means are compared, and must be over the same images.

    Args:
        by_method: method → metric → values, one for each of the images.
        names: of the images.
        what: what they are: `images`, `frames`, `clips`.
    """
    means: dict[str, dict[str, float]] = {method: {} for method in by_method}
    left_out = []
    for metric in dict.fromkeys(metric for values in by_method.values() for metric in values):
        columns = {method: values[metric] for method, values in by_method.items() if metric in values}
        counts = [all(map(math.isfinite, row)) for row in zip(*columns.values(), strict=True)]
        for method, values in columns.items():
            kept = [value for value, counted in zip(values, counts, strict=True) if counted]
            means[method][metric] = sum(kept) / len(kept) if kept else math.nan
        unfit = [name for name, counted in zip(names, counts, strict=True) if not counted]
        if unfit:
            shown = ', '.join(unfit[:5]) + (', …' if len(unfit) > 5 else '')
            text = f'{len(unfit)} of {len(names)} {what} left out: {metric} of {shown} is not finite'
            left_out.append(text)
    return Means(means, left_out)
