"""Trains the rows of a YAML file, measures each on the test sets, and writes a table and a picture.

    python benchmarks/ablation.py benchmarks/ablation.yml --root runs/ablation -o docs/results.md

Rows that are done already are kept: stop it whenever you like, and start it again with the same command. `--rows` picks
some. Beside PSNR stands the agreement with the teacher on real images that neither of the two was tested on: PSNR of
student against teacher. Choose recipes by that column, never by the test sets.
"""

import argparse
import datetime
import json
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

import vsrkd_plugin  # noqa: F401 - before basicsr
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.checkpoints import load_weights, write_text_atomically
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.distillation.super_resolver import SuperResolver, freeze
from vsrkd_plugin.reports.evaluation import evaluate, metric_options

SCALES = (2, 3, 4)
CROP = 96  # side of the HR windows on which agreement is measured
MARGIN = 8  # of them left out: zero padding shows there


def merged(base: Any, change: Any) -> Any:
    """`base` with the mappings in `change` merged into it; the list under the key `-` names keys to drop."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    result = {key: value for key, value in base.items() if key not in change.get('-', [])}
    for key, value in change.items():
        if key != '-':
            result[key] = merged(result.get(key), value)
    return result


def load_network(options: dict[str, Any], weights: str) -> SuperResolver:
    """A VDSR of `options` with its weights, in fp32."""
    settings = {key: value for key, value in options.items() if key not in ('type', 'precision')}
    network = VDSR(**settings, precision='fp32')
    load_weights(network, weights, 'params', True)
    return SuperResolver(freeze(network), 1)


def cells(
    networks: dict[str, SuperResolver], roots: list[str], device: torch.device | str = 'cpu'
) -> dict[str, dict[str, float]]:
    """PSNR on Y of bicubic and `networks` (on `device`): method → `Set5 x2` → dB."""
    found: dict[str, dict[str, float]] = {}
    for root in roots:
        for scale in SCALES:
            opt = {'name': Path(root).name, 'phase': 'val', 'dataroot_gt': root, 'color': 'y', 'scale': scale}
            psnr_alone = {'psnr': metric_options(None)['psnr']}
            outcome = evaluate(BicubicImageDataset(opt), opt, networks, psnr_alone, torch.device(device))
            for result in outcome.results:
                found.setdefault(result['method'], {})[f'{opt["name"]} x{scale}'] = round(result['psnr'], 3)
    return found


@torch.no_grad()
def agreement(teacher: SuperResolver, student: SuperResolver, roots: list[str]) -> dict[str, float]:
    """Mean PSNR of student against teacher on a window of every sixth image, by scale."""
    found = {}
    for scale in SCALES:
        opt = {'name': 'held out', 'phase': 'val', 'dataroot_gt': roots, 'color': 'y', 'scale': scale}
        dataset, values = BicubicImageDataset(opt), []
        size = CROP // scale
        for index in range(0, len(dataset), 6):
            lr = dataset.pair(index, scale)[0]
            top, left = ((side - size) // 2 for side in lr.shape[1:])
            if min(top, left) < 0:
                continue
            window = lr[None, :, top : top + size, left : left + size]
            difference = (teacher(window, scale) - student(window, scale))[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            values.append(-10 * torch.log10(difference.square().mean() + 1e-9))
        found[f'x{scale}'] = round(float(torch.stack(values).mean()), 3)
    return found


def train_row(name: str, options: dict[str, Any], root: Path) -> tuple[Path, str]:
    """Train, or go on; gives the experiment's folder and the command."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / f'{name}.yml'
    write_text_atomically(yaml.safe_dump({**options, 'name': name}, sort_keys=False), file)
    command = ['train', '-opt', str(file), '--root', str(root), '--auto_resume']
    subprocess.run([sys.executable, '-m', 'vsrkd_plugin', *command], check=True, stdout=subprocess.DEVNULL)
    return root / 'experiments' / name, shlex.join(['basicsr', *command])


def measure_row(plan: dict[str, Any], change: dict[str, Any], label: str, seed: int, root: Path) -> dict[str, Any]:
    """Train and measure one row, unless it was done before."""
    name = re.sub(r'[^a-z0-9]+', '_', label.lower()).strip('_') + f'_seed{seed}'
    done = root / 'rows' / f'{name}.json'
    base = yaml.safe_load(Path(plan['base']).read_text(encoding='utf-8'))
    options = merged(merged(base, plan.get('common') or {}), change or {})
    options['manual_seed'] = seed
    options['datasets'] = {'train': options['datasets']['train']}  # measured here, not while it trains
    options.pop('val', None)
    if done.is_file():
        row = json.loads(done.read_text(encoding='utf-8'))
        if row['options'] == options:
            return row
        raise SystemExit(f'{done}: was made with other options; choose another --root, or remove it')
    folder, command = train_row(name, options, root)
    student = load_network(options['network_g'], str(folder / 'models' / 'net_g_latest.pth'))
    teacher = load_network(options['network_t'], options['path']['pretrain_network_t'])
    training = json.loads((folder / 'training.json').read_text(encoding='utf-8'))
    row = {
        'label': label,
        'seed': seed,
        'psnr': cells({'student': student}, plan['test'])['student'],
        'agreement': agreement(teacher, student, plan['held_out']),
        'training': training,
        'command': command,
        'date': datetime.date.today().isoformat(),
        'machine': f'{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}',
        'options': options,
    }
    done.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(json.dumps(row, indent=1), done)
    return row


def reference_rows(plan: dict[str, Any], root: Path) -> dict[str, dict[str, float]]:
    """Bicubic and the teacher on the test sets, measured once."""
    file = root / 'rows' / '_references.json'
    if file.is_file():
        return json.loads(file.read_text(encoding='utf-8'))
    options = merged(yaml.safe_load(Path(plan['base']).read_text(encoding='utf-8')), plan.get('common') or {})
    teacher = load_network(options['network_t'], options['path']['pretrain_network_t'])
    found = cells({'teacher': teacher}, plan['test'])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(json.dumps(found, indent=1), file)
    return found


def row_line(row: dict[str, Any]) -> str:
    """A row of the table."""
    facts = row['training']
    values = ' | '.join(f'{value:.2f}' for value in row['psnr'].values())
    minutes = f'{facts["seconds"] / 60:.1f}'
    return (
        f'| {row["label"]} | {row["seed"]} | {facts["iterations"]} | {minutes} | {mean_agreement(row):.2f} | {values} |'
    )


def mean_agreement(row: dict[str, Any]) -> float:
    """Over the scales."""
    return sum(row['agreement'].values()) / len(row['agreement'])


def to_markdown(rows: list[dict[str, Any]], references: dict[str, dict[str, float]], command: str) -> str:
    """The table, with what made each row below it."""
    columns = list(references['teacher'])
    lines = [
        f'Made by `{command}`. PSNR in dB on Y, border = scale; agreement: PSNR of student against teacher on held-out '
        'images, mean over the scales.',
        '',
        f'| | seed | steps | minutes | agreement | {" | ".join(columns)} |',
        f'|---|{"---|" * (4 + len(columns))}',
    ]
    for method in ('bicubic', 'teacher'):
        lines.append(f'| *{method}* | | | | | {" | ".join(f"{references[method][cell]:.2f}" for cell in columns)} |')
    lines += [row_line(row) for row in rows]
    machines = sorted({f'{row["date"]}: {row["machine"]}, {row["training"]["device"]}' for row in rows})
    return '\n'.join([*lines, '', *(f'- {machine}' for machine in machines), ''])


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Agreement with the teacher, a bar for each row."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    values = [mean_agreement(row) for row in rows]
    figure, axes = plt.subplots(figsize=(8, 0.35 * len(rows) + 1), layout='constrained')
    bars = axes.barh([f'{row["label"]} ({row["seed"]})' for row in rows], values)
    axes.bar_label(bars, fmt='%.2f', padding=3)
    axes.set_xlim(min(values) - 1, max(values) + 0.6)
    axes.set_xlabel('PSNR of student against teacher on held-out images, dB')
    axes.invert_yaxis()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('plan', help='YAML file with the rows')
    parser.add_argument('--root', type=Path, default=Path('runs/ablation'), help='where experiments and rows go')
    parser.add_argument('-o', type=Path, help='Markdown file to write; the picture lies beside it')
    parser.add_argument('--rows', nargs='+', help='only these')
    args = parser.parse_args()
    plan = yaml.safe_load(Path(args.plan).read_text(encoding='utf-8'))
    unknown = set(args.rows or []) - plan['rows'].keys()
    if unknown:
        parser.error(f'{args.plan} has no rows {", ".join(sorted(unknown))}; it has {", ".join(plan["rows"])}')
    wanted = {label: change for label, change in plan['rows'].items() if not args.rows or label in args.rows}
    references, rows = reference_rows(plan, args.root), []
    command = shlex.join(['python', *sys.argv])
    for seed in plan.get('seeds', [0]):
        for label, change in wanted.items():
            rows.append(measure_row(plan, change, label, seed, args.root))
            print(row_line(rows[-1]), flush=True)
            if args.o:
                args.o.parent.mkdir(parents=True, exist_ok=True)
                write_text_atomically(to_markdown(rows, references, command), args.o)
                draw(rows, args.o.with_suffix('.png'))


if __name__ == '__main__':
    main()
