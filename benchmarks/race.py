"""The race: the paper's recipe and ours by turns on one machine, PSNR against minutes.

Run: `python benchmarks/race.py --minutes 12 --teacher datasets/vdsr_291.pth --set datasets/Set5 -o docs/race.md`. Only
what a training does counts as its time (its start included), not the measuring between. Both recipes are options files
as they are, of the same teacher and seed. Writes the page, and the picture and the figures beside it.
"""

import argparse
import datetime
import json
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from measuring import cells

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.ops.precision import describe_device
from vsrkd_plugin.registration import register_all
from vsrkd_plugin.run.whole_files import write_text_atomically

OPTIONS = {'paper': 'options/dfkd_vdsr_paper.yml', 'ours': 'options/dfkd_vdsr.yml'}
LABELS = {'paper': "the paper's recipe", 'ours': 'our recipe'}
PAPER_STEPS = 480_000
PAPER = {'Set5 x2': 37.20, 'Set5 x3': 33.13, 'Set5 x4': 30.71}  # its data-free column (table 1)


@dataclass
class Racer:
    """A training that runs for a while at a time."""

    name: str
    model: Any
    total: int
    seconds: float = 0.0
    iteration: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)  # seconds, iteration, psnr by cell

    def run(self, duration: float) -> None:
        """Train for about `duration` seconds, one step at least, or to the end."""
        started = time.monotonic()
        while self.iteration < self.total:
            self.iteration += 1
            self.model.update_learning_rate(self.iteration)
            self.model.optimize_parameters(self.iteration)
            if time.monotonic() - started >= duration:
                break
        if self.model.device.type == 'cuda':
            torch.cuda.synchronize()
        self.seconds += time.monotonic() - started

    def measure(self, root: str) -> None:
        """Add where it stands to its curve."""
        task = self.model.task
        network = task.exported
        resolver = ImageSRAdapter(network, 1).eval()
        psnr = cells({'student': resolver}, [root], task.scales, self.model.device)['student']
        network.train(network is task.student)  # a moving average is never trained
        self.curve.append({'seconds': round(self.seconds, 2), 'iteration': self.iteration, 'psnr': psnr})
        print(
            f'{self.name:>6} {self.seconds / 60:6.2f} min {self.iteration:7,} steps   '
            + '   '.join(f'{cell} {value:.2f}' for cell, value in psnr.items()),
            flush=True,
        )


def enter(name: str, teacher: str | None, seed: int) -> Racer:
    """A racer at the start; what building it takes is part of its time."""
    options = load_options(OPTIONS[name])
    if teacher:
        options['path']['pretrain_network_t'] = teacher
    options['manual_seed'] = seed
    options['datasets'] = {'train': options['datasets']['train']}
    validate(options, True)
    complete(options, '.', True)
    from basicsr.models import build_model

    torch.manual_seed(seed)
    started = time.monotonic()
    racer = Racer(name, build_model(options), options['train']['total_iter'])
    racer.seconds = time.monotonic() - started
    return racer


def mean(point: dict[str, Any]) -> float:
    """PSNR of a point of a curve, mean over its cells."""
    return sum(point['psnr'].values()) / len(point['psnr'])


def overtaken(curve: list[dict[str, Any]], level: float) -> float | None:
    """Seconds at which a curve first reached `level` dB (mean over the cells); None if never."""
    return next((point['seconds'] for point in curve if mean(point) >= level), None)


def to_markdown(curves: dict[str, list[dict[str, Any]]], facts: dict[str, Any], picture: str) -> str:
    """The page: curves as tables, times at equal PSNR, and what the paper's whole training would take here."""
    names = list(curves['ours'][0]['psnr'])
    best = max(curves['paper'], key=mean)
    reached = overtaken(curves['ours'], mean(best))
    lines = [
        '# The race',
        '',
        f"The paper's recipe (`{OPTIONS['paper']}`) and ours (`{OPTIONS['ours']}`), by turns in one process: teacher "
        f'`{facts["teacher"]}`, seed {facts["seed"]}, {facts["device"]}, {facts["date"]}. Made by',
        '',
        f'    {facts["command"]}',
        '',
        f'![PSNR against minutes]({picture})',
        '',
    ]
    if reached is not None:
        lines += [
            f"- The paper's recipe came to {mean(best):.2f} dB (mean of {', '.join(names)}) in "
            f'{best["seconds"] / 60:.1f} minutes; ours was there after {reached:.0f} seconds, its start included: '
            f'**{best["seconds"] / reached:.0f} times** faster to equal PSNR.'
        ]
    last = curves['paper'][-1]
    whole = (last['seconds'] - curves['paper'][0]['seconds']) / last['iteration'] * PAPER_STEPS
    lines.append(
        f'- Its {PAPER_STEPS:,} steps would take {whole / 86400:.1f} days here, at {whole / PAPER_STEPS:.2f} s a step.'
    )
    if set(PAPER) <= set(names):
        published = sum(PAPER.values()) / len(PAPER)
        ours = overtaken(curves['ours'], published)
        if ours is not None:
            lines[-1] += (
                f' What it reached with them ({" / ".join(f"{value:.2f}" for value in PAPER.values())}) ours passed '
                f'after {ours / 60:.1f} minutes: {whole / ours:,.0f} times faster, by the published figure.'
            )
    for name, title in (('paper', "The paper's recipe"), ('ours', 'Ours')):
        lines += [
            '',
            f'## {title}',
            '',
            f'| minutes | steps | {" | ".join(names)} |',
            f'|---:|---:|{"---:|" * len(names)}',
        ]
        for point in curves[name]:
            values = ' | '.join(f'{point["psnr"][cell]:.2f}' for cell in names)
            lines.append(f'| {point["seconds"] / 60:.2f} | {point["iteration"]:,} | {values} |')
    return '\n'.join([*lines, ''])


def draw(curves: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """PSNR against minutes, a diagram for each data set and scale."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    names = list(curves['ours'][0]['psnr'])
    figure, grid = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.4), layout='constrained', squeeze=False)
    for axes, cell in zip(grid[0], names, strict=True):
        for name, colour in (('paper', '#0072b2'), ('ours', '#d55e00')):
            points = curves[name]
            x, y = [point['seconds'] / 60 for point in points], [point['psnr'][cell] for point in points]
            axes.plot(x, y, marker='o', markersize=3, color=colour, label=LABELS[name])
        if cell in PAPER:
            axes.axhline(
                PAPER[cell],
                linestyle='--',
                color='#0072b2',
                linewidth=1,
                label=f'the paper after {PAPER_STEPS:,} steps',
            )
        axes.set_title(cell)
        axes.set_xlabel('minutes')
        axes.set_ylabel('PSNR (dB)')
        axes.grid(alpha=0.25)
    grid[0][0].legend(fontsize=8)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--minutes', type=float, default=12, help='training time of each')
    parser.add_argument('--turn', type=float, default=30, help='seconds of training between two measurements')
    parser.add_argument('--teacher', help="path or zoo:NAME; default: the options'")
    parser.add_argument('--set', default='datasets/Set5', help='HR images to measure PSNR on')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('-o', type=Path, default=Path('race.md'), help='Markdown file to write')
    args = parser.parse_args()
    register_all(None)
    racers = {name: enter(name, args.teacher, args.seed) for name in OPTIONS}
    facts = {
        'teacher': args.teacher or load_options(OPTIONS['ours'])['path']['pretrain_network_t'],
        'seed': args.seed,
        'device': describe_device(racers['ours'].model.device),
        'date': datetime.date.today().isoformat(),
        'command': shlex.join(['python', *sys.argv]),
    }
    args.o.parent.mkdir(parents=True, exist_ok=True)
    for racer in racers.values():
        racer.measure(args.set)
    while running := [r for r in racers.values() if r.seconds < 60 * args.minutes and r.iteration < r.total]:
        for racer in running:
            racer.run(args.turn)
            racer.measure(args.set)
        curves = {name: racer.curve for name, racer in racers.items()}
        write_text_atomically(json.dumps({'facts': facts, 'curves': curves}, indent=1), args.o.with_suffix('.json'))
        write_text_atomically(to_markdown(curves, facts, args.o.with_suffix('.png').name), args.o)
        draw(curves, args.o.with_suffix('.png'))


if __name__ == '__main__':
    main()
