"""Several experiments side by side: quality against operations, for `basicsr report` of a folder of experiments."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.reports.picture import COLOURS, DPI, save_figure
from vsrkd_plugin.reports.writing import markdown_table
from vsrkd_plugin.run.run_record import OPTIONS
from vsrkd_plugin.run.whole_files import write_text_atomically

logger = logging.getLogger('basicsr')

_BESIDE = ((4, -9), (-4, 3), (4, 3), (-4, -9), (4, -18), (-4, 12), (4, 12), (-4, -18), (4, -27), (-4, 21))  # points
Cell = tuple[str, int]  # data set, scale
_LARGEST = 1e24  # numbers in a report are smaller: a year has 3e16 nanoseconds
Quality = tuple[tuple[Cell, float], ...]  # PSNR by cell, in order


@dataclass(frozen=True)
class Member:
    """One experiment: its student's cost and quality, its teacher's, and how long it trained."""

    name: str
    cost: dict[str, dict[str, Any]]  # teacher (if any), student → params, macs, …, macs_per_pixel
    psnr: dict[str, dict[Cell, float]]  # bicubic, teacher, student → dB
    seconds: float | None


def is_collection(folder: Path) -> bool:
    """Whether a folder holds experiments rather than being one."""
    return not (folder / OPTIONS).exists() and any(folder.glob(f'*/{OPTIONS}'))


def compare_experiments(folder: Path) -> list[Member]:
    """Write `comparison.md` and `comparison.png` into a folder of experiments, of those that have a report.

    Args:
        folder: holds experiments' folders, each with the `report.json` that its training made.

    Returns:
        What was compared, fewest operations first.

    Raises:
        UserError: no experiment has a report, a report is broken, or the folder cannot be written.
    """
    members, unfinished = [], []
    for options in sorted(Path(folder).glob(f'*/{OPTIONS}')):
        file = options.with_name('report.json')
        if file.is_file():
            members.append(_read(file))
        else:
            unfinished.append(options.parent.name)
    if not members:
        raise UserError(f'{folder}: none of its experiments has a report.json; trainings make one at their end')
    members.sort(key=lambda member: (member.cost['student']['macs_per_pixel'] or math.inf, member.name))
    left_out = f'Without a report.json, left out: {", ".join(unfinished)}.' if unfinished else ''
    try:
        write_text_atomically(_page(members, Path(folder).name, left_out), Path(folder) / 'comparison.md')
        draw_comparison(members, Path(folder) / 'comparison.png')
    except OSError as error:
        raise UserError(f'{folder}: the comparison cannot be written there ({error.strerror})') from error
    if left_out:
        logger.warning(left_out)
    logger.info('Comparison of %d experiments written: %s', len(members), Path(folder) / 'comparison.md')
    return members


def _read(file: Path) -> Member:
    try:
        report = json.loads(file.read_text(encoding='utf-8'))
        cost = {}
        for entry in report['complexity']:
            # Operations for a pixel of the result are comparable between scales, those for an input are not.
            pixels = math.prod(entry['input'][2:]) * entry['scale'] ** 2
            cost[entry['network']] = {**entry, 'macs_per_pixel': entry['macs'] and entry['macs'] / pixels}
        psnr: dict[str, dict[Cell, float]] = {}
        for result in report['results']:
            if result['psnr'] is not None:
                psnr.setdefault(result['method'], {})[result['dataset'], result['scale']] = result['psnr']
        if 'student' not in cost:
            raise ValueError('no student in it')
        _check_numbers(cost, psnr, report['training']['seconds'])
        return Member(file.parent.name, cost, psnr, report['training']['seconds'])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(f'{file}: is not a report of this version ({first_line(error)}); make it again') from error


def _check_numbers(cost: dict[str, dict[str, Any]], psnr: dict[str, dict[Cell, float]], seconds: float | None) -> None:
    """Refuse what no report has: it would end the page or the picture.

    Raises:
        TypeError: where a number belongs there is something else.
    """
    numbers = [value for values in psnr.values() for value in values.values()]
    optional = [seconds]
    for entry in cost.values():
        if len(entry['input']) < 4:
            raise TypeError(f'expected the shape of an input, got {entry["input"]!r:.40}')
        numbers += [entry['params'], entry['seconds_per_image'], *entry['input'][2:]]
        optional.append(entry['macs_per_pixel'])
    for value in numbers + [value for value in optional if value is not None]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise TypeError(f'expected a number, got {value!r:.40}')
    for dataset, scale in (cell for values in psnr.values() for cell in values):
        if not isinstance(dataset, str) or not isinstance(scale, int):
            raise TypeError(f'expected a data set and its scale, got {dataset!r:.40} and {scale!r:.40}')


def _cells(members: list[Member]) -> list[Cell]:
    return list(dict.fromkeys(cell for member in members for cell in member.psnr.get('student', {})))


def _teachers(members: list[Member]) -> list[Member]:
    """One experiment for each teacher: same cost and same quality is the same."""
    found: dict[tuple[float | None, Quality], Member] = {}
    for member in members:
        if 'teacher' in member.cost:
            quality = tuple(sorted(member.psnr.get('teacher', {}).items()))
            found.setdefault((member.cost['teacher']['macs_per_pixel'], quality), member)
    return list(found.values())


def _page(members: list[Member], name: str, note: str) -> str:
    cells = _cells(members)
    header = ['', 'weights', 'multiply-accumulates per pixel', 'fewer than teacher', 'time per image', 'trained']
    rows = [[*header, *(f'{dataset} x{scale}' for dataset, scale in cells)]]
    for label, role, member in [
        *((f'teacher of {m.name}', 'teacher', m) for m in _teachers(members)),
        *((m.name, 'student', m) for m in reversed(members)),
    ]:
        cost, teacher = member.cost[role], member.cost.get('teacher', {})
        ratio = ''
        if role == 'student' and cost['macs_per_pixel'] and teacher.get('macs_per_pixel'):
            ratio = f'{teacher["macs_per_pixel"] / cost["macs_per_pixel"]:.1f}x'
        trained = f'{member.seconds / 60:.1f} min' if role == 'student' and member.seconds else ''
        quality = [member.psnr.get(role, {}).get(cell) for cell in cells]
        rows.append([
            label, f'{cost["params"]:,}', f'{cost["macs_per_pixel"]:,.0f}' if cost['macs_per_pixel'] else '-', ratio,
            f'{1000 * cost["seconds_per_image"]:.1f} ms', trained,
            *('-' if value is None else f'{value:.2f}' for value in quality),
        ])  # fmt: skip
    side = '{}x{}'.format(*members[0].cost['student']['input'][2:])
    return '\n'.join([
        f'# {name}: {len(members)} students', '', *markdown_table(rows), '',
        'PSNR in dB. Multiply-accumulates are for one pixel of the result, at the first scale of each experiment; time '
        f'is that of an LR image of {side} when its own report was made.', '',
        '![PSNR against operations](comparison.png)', '', *([note, ''] if note else []),
    ])  # fmt: skip


def draw_comparison(members: list[Member], path: Path) -> None:
    """Quality against operations, a diagram for each data set and scale."""
    cells = _cells(members)
    columns = min(max(len(cells), 1), 3)
    rows = math.ceil(len(cells) / columns) or 1
    figure = Figure(figsize=(5 * columns, 4 * rows), dpi=DPI, layout='constrained', facecolor='white')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, cell in zip(grid.flat, cells, strict=False):
        _draw_cell(axes, members, cell)
    for axes in grid.flat[len(cells) :]:
        axes.set_axis_off()
    figure.draw_without_rendering()  # where labels come to lie is known now
    for axes in grid.flat[: len(cells)]:
        _keep_apart(axes)
    save_figure(figure, path)


def _draw_cell(axes: Axes, members: list[Member], cell: Cell) -> None:
    points = [
        (member.cost['student']['macs_per_pixel'], member.psnr['student'][cell], member.name)
        for member in members
        if member.cost['student']['macs_per_pixel'] and cell in member.psnr.get('student', {})
    ]
    for x, y, name in points:
        axes.plot(x, y, 'o', color=COLOURS['student'], markersize=5)
        axes.annotate(name, (x, y), textcoords='offset points', xytext=_BESIDE[0], fontsize=7, parse_math=False)
    for member in _teachers(members):
        cost, level = member.cost['teacher']['macs_per_pixel'], member.psnr.get('teacher', {}).get(cell)
        if cost and level is not None:
            axes.plot(cost, level, '*', color=COLOURS['teacher'], markersize=12)
            text = f'teacher {level:.2f}'
            axes.annotate(text, (cost, level), textcoords='offset points', xytext=(-4, -12), ha='right', fontsize=8)
    bicubic = next((m.psnr['bicubic'][cell] for m in members if cell in m.psnr.get('bicubic', {})), None)
    axes.set_title(
        f'{cell[0]} x{cell[1]}' + ('' if bicubic is None else f' (bicubic {bicubic:.2f})'),
        fontsize=11,
        parse_math=False,
    )
    axes.set_xscale('log')
    axes.margins(x=0.15, y=0.15)
    axes.set_xlabel('multiply-accumulates for a pixel of the result', fontsize=9)
    axes.set_ylabel('PSNR (dB)', fontsize=9)
    axes.grid(alpha=0.25, which='both')
    axes.spines[['top', 'right']].set_visible(False)


def _keep_apart(axes: Axes) -> None:
    """Put each label of a point where it covers no other one, if there is such a place beside its point."""
    taken: list[Bbox] = []
    for label in axes.texts:
        if not isinstance(label, Annotation):
            continue
        start = label.get_position()
        for place in (start, *_BESIDE):
            label.set_position(place)
            label.set_horizontalalignment('right' if place[0] < 0 else 'left')
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        else:
            label.set_position(start)
            label.set_horizontalalignment('right' if start[0] < 0 else 'left')
            box = label.get_window_extent()
        taken.append(box)
