"""The report's picture: crops by every method above, PSNR over the training below."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vsrkd_plugin.reports.evaluation import Crop
from vsrkd_plugin.reports.names import NAMES, titles
from vsrkd_plugin.run.whole_files import whole_file

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {'bicubic': '#7f7f7f', 'teacher': '#0072b2', 'student': '#d55e00'}
_MORE_COLOURS = ('#009e73', '#cc79a7', '#e69f00', '#56b4e9')  # of networks that are compared, in turn
WIDTH = 12.0  # inches
_USUAL_COLUMNS = 5  # LR, bicubic, teacher, student, HR
DPI = 120


@dataclass(frozen=True)
class Curve:
    """The student's PSNR on one data set over the training, and the levels to hold it against."""

    title: str
    points: list[tuple[int, float]]  # (iteration, dB), in order
    levels: dict[str, float]  # dB by method (`bicubic`, `teacher`)
    names: Mapping[str, str] = field(default_factory=lambda: NAMES)


def draw_report(
    path: Path,
    title: str,
    subtitle: str,
    crops: list[Crop],
    curves: list[Curve],
    bold: bool = True,
    names: Mapping[str, str] = NAMES,
) -> None:
    """Draw the picture and put it at `path` as a whole (PNG).

    Args:
        title, subtitle: what stands on top; the subtitle is wrapped.
        crops: a row each; a method that none of them has gets no column.
        curves: a small diagram each.
        bold: set the best PSNR of each crop in bold type.
        names: method → what it is called, in order.

    Raises:
        OSError: `path` cannot be written.
    """
    with names_as_they_are():
        _draw_report(path, title, subtitle, crops, curves, bold, names)


@contextmanager
def names_as_they_are() -> Iterator[None]:
    """Text of figures that are made within is drawn as it stands: dollars in a name begin no formula."""
    with matplotlib.rc_context({'text.parse_math': False}):
        yield


def _draw_report(
    path: Path,
    title: str,
    subtitle: str,
    crops: list[Crop],
    curves: list[Curve],
    bold: bool,
    names: Mapping[str, str],
) -> None:
    curve_columns = min(max(len(curves), 1), 4)
    curve_rows = math.ceil(len(curves) / curve_columns)
    subtitle = textwrap.fill(subtitle, 125)
    columns = len({method for crop in crops for method in crop.panels})
    row = 2.55 * min(1, (_USUAL_COLUMNS + 0.5) / (columns + 0.5))  # panels are squares; half a one for what is beside
    heights = [0.75 + 0.2 * subtitle.count('\n'), row * len(crops) or 0.5, 0.45 + 2.7 * curve_rows]
    # A Figure without pyplot: no global state, no display, drawn by Agg.
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout=layout, facecolor='white')
    grid = GridSpec(3, 1, figure, height_ratios=heights)
    head, above, below = (figure.add_subfigure(grid[row]) for row in range(3))
    head.text(0.5, 0.92, title, ha='center', va='top', fontsize=15, weight='bold')
    head.text(0.5, 0.08, subtitle, ha='center', va='bottom', fontsize=11)
    if crops:
        _draw_crops(above, crops, bold, titles(names))
    else:
        above.text(0.5, 0.5, 'no validation set with images: no crops', ha='center', va='center')
    if curves:
        below.suptitle('PSNR over the training', fontsize=12)
        for axes, curve in zip(below.subplots(curve_rows, curve_columns, squeeze=False).flat, curves, strict=False):
            draw_curve(axes, curve)
        for axes in below.axes[len(curves) :]:
            axes.set_axis_off()
    else:
        below.text(0.5, 0.5, 'no validation recorded during the training: no curves', ha='center', va='center')
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Put a figure at `path` as a PNG, as a whole.

    Raises:
        OSError: `path` cannot be written.
    """
    with whole_file(path) as file:
        figure.savefig(file, format='png')


def _draw_crops(figure: SubFigure, crops: list[Crop], bold: bool, shown: dict[str, str]) -> None:
    columns = [key for key in shown if any(key in crop.panels for crop in crops)]
    grid = figure.subplots(len(crops), len(columns), squeeze=False)
    for row, crop in zip(grid, crops, strict=True):
        for axes, key in zip(row, columns, strict=True):
            axes.set(xticks=[], yticks=[])
            if key not in crop.panels:
                axes.set_axis_off()
                continue
            _show(axes, crop.panels[key])
            if key in crop.psnr:
                axes.set_xlabel(decibels(crop.psnr[key]), fontsize=11)
                # As many digits as are shown decide what is best.
                best = max(round(crop.psnr[other], 2) for other in crop.psnr)
                if bold and round(crop.psnr[key], 2) == best:
                    axes.xaxis.label.set_weight('bold')
        row[0].set_ylabel(f'{crop.dataset} x{crop.scale}\n{crop.image}', fontsize=11)
    for axes, key in zip(grid[0], columns, strict=True):
        axes.set_title(shown[key], fontsize=12)


def _show(axes: Axes, image: np.ndarray) -> None:
    if image.ndim == 3:
        axes.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), interpolation='nearest')
    else:
        axes.imshow(image, cmap='gray', vmin=0, vmax=255, interpolation='nearest')


def draw_curve(axes: Axes, curve: Curve) -> None:
    """Draw a curve with its levels, its title and its legend."""
    iterations, values = zip(*curve.points, strict=True)
    for method, level in curve.levels.items():
        label = f'{curve.names[method]} {level:.2f}'
        axes.axhline(level, color=_colour(method, curve.names), linestyle='--', linewidth=1.3, label=label)
    label = f'{curve.names["student"]} {values[-1]:.2f}'
    axes.plot(iterations, values, color=COLOURS['student'], marker='o', markersize=3.5, linewidth=1.6, label=label)
    axes.set_title(curve.title, fontsize=11)
    axes.set_xlabel('iteration', fontsize=10)
    axes.set_ylabel('PSNR (dB)', fontsize=10)
    axes.tick_params(labelsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.0f}'))
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    axes.margins(y=0.12)
    axes.legend(fontsize=8.5, framealpha=0.85, loc='best')


def _colour(method: str, names: Mapping[str, str]) -> str:
    more = [name for name in names if name not in COLOURS]
    return COLOURS.get(method) or _MORE_COLOURS[more.index(method) % len(_MORE_COLOURS)]


def decibels(value: float) -> str:
    """A PSNR in words."""
    return f'{value:.2f} dB' if math.isfinite(value) else 'exact'
