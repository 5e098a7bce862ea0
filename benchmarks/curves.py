"""Quality of students against their weights, operations and time: three curves for each test set and scale.

`python benchmarks/ablation.py benchmarks/compression.yml …` draws them; time is measured then, for students that have
none yet, teacher and student by turns, and kept beside the records: let nothing else run.
"""

import json
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.ops.precision import describe_device
from vsrkd_plugin.reports.complexity import measure_complexity
from vsrkd_plugin.run.allocator import keep_freed_memory
from vsrkd_plugin.run.whole_files import write_text_atomically

COSTS = {'params': 'weights', 'macs': 'multiply-accumulates', 'seconds_per_image': 'time'}
SIDE = 256  # of the result that is timed, in pixels
_MARKS = 'osD^vP'


def kind_of(options: dict[str, Any]) -> str:
    """Which curve a student's point belongs to."""
    network, teacher = options['network_g'], options['network_t']
    if network['type'] != teacher['type']:
        return network['type']
    if 'rank' in network:
        return 'rank' if network['num_feat'] == teacher['num_feat'] else 'channels and rank'
    return 'channels' if network.get('num_block') == teacher.get('num_block') else 'fewer blocks'


def shares(options: dict[str, Any]) -> dict[str, float]:
    """A student's cost as a share of its teacher's, at the first scale, by the keys of `COSTS`; with random weights."""
    from basicsr.archs import build_network

    keep_freed_memory()
    scale, networks = options['scales'][0], {}
    for name, key in (('teacher', 'network_t'), ('student', 'network_g')):
        network = build_network(dict(options[key])).to(memory_format=torch.channels_last)
        networks[name] = ImageSRAdapter(freeze(network), input_channels(network, options[key]))
    teacher, student = measure_complexity(networks, scale, torch.device('cpu'), lr_side=SIDE // scale)
    return {key: student[key] / teacher[key] for key in COSTS}


def measured(rows: list[dict[str, Any]], file: Path) -> dict[str, dict[str, Any]]:
    """The shares of each row, by its label; those in `file` (JSON) are not measured again, new ones are added to it."""
    known = json.loads(file.read_text(encoding='utf-8')) if file.is_file() else {}
    for row in rows:
        networks = {key: row['options'][key] for key in ('network_t', 'network_g')}
        if known.get(row['label'], {}).get('networks') != networks:
            machine = f'{describe_device(torch.device("cpu"))}, fp32, a result of {SIDE}x{SIDE}'
            known[row['label']] = {**shares(row['options']), 'machine': machine, 'networks': networks}
            write_text_atomically(json.dumps(known, indent=1) + '\n', file)
    return {row['label']: known[row['label']] for row in rows}


def draw_curves(
    rows: list[dict[str, Any]], costs: dict[str, dict[str, Any]], teacher: dict[str, float], file: Path
) -> None:
    """A diagram for each cell (down) and cost (across), a curve for each kind of student.

    Args:
        rows: records of students: `label`, `options`, `psnr` by cell.
        costs: shares of the teacher's cost by label.
        teacher: its PSNR by cell.
        file: the picture.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, PercentFormatter

    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(kind_of(row['options']), []).append(row)
    figure, grid = plt.subplots(
        len(teacher), len(COSTS), figsize=(4.5 * len(COSTS), 3.4 * len(teacher)), layout='constrained', squeeze=False
    )
    for axes_of_cell, (cell, level) in zip(grid, teacher.items(), strict=True):
        for axes, (cost, words) in zip(axes_of_cell, COSTS.items(), strict=True):
            axes.axhline(level, color='0.5', linestyle=':', linewidth=1)
            for number, (kind, members) in enumerate(kinds.items()):
                points = sorted(
                    (100 * costs[row['label']][cost], row['psnr'][cell]) for row in members if cell in row['psnr']
                )
                mark = f'{_MARKS[number % len(_MARKS)]}-'
                axes.plot(*zip(*points, strict=True) if points else ([], []), mark, label=kind, markersize=5)
            axes.set_xscale('log')
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
            axes.xaxis.set_minor_formatter('')
            axes.set_title(f'{cell}: PSNR (dB) against {words}', fontsize=10)
            axes.grid(alpha=0.25, which='both')
    for axes, words in zip(grid[-1], COSTS.values(), strict=True):
        axes.set_xlabel(f"{words}, share of the teacher's")
    grid[0, 0].legend(fontsize=8, loc='lower right')
    figure.savefig(file, dpi=110)
    plt.close(figure)
