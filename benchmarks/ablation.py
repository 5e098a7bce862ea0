"""Trains the rows of a YAML file, measures each on the test sets, and writes a table and a picture.

    python benchmarks/ablation.py benchmarks/ablation.yml --records docs/ablation -o docs/results.md

Rows that are done already are kept (their records): stop it whenever you like, and start it again with the same
command. `--rows` trains some; the table has all that are done. A page that has the lines `<!-- NAME -->` and
`<!-- end of NAME -->`, NAME being the YAML file's, gets it between them. Beside PSNR stands the agreement with the
teacher on real images, or clips, that neither of the two was tested on: PSNR of student against teacher. Choose recipes
by that column, never by the test sets.
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
from curves import draw_curves, measured
from measuring import agreement, cells, clip_agreement, clip_cells, load_clip_network, load_network

import vsrkd_plugin  # noqa: F401 - before basicsr
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.registries import VIDEO
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.whole_files import write_text_atomically


def merged(base: Any, change: Any) -> Any:
    """`base` with the mappings in `change` merged into it; the list under the key `-` names keys to drop."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    result = {key: value for key, value in base.items() if key not in change.get('-', [])}
    for key, value in change.items():
        if key != '-':
            result[key] = merged(result.get(key), value)
    return result


def is_video(options: dict[str, Any]) -> bool:
    """Whether rows are networks of clips."""
    return options['model_type'] == VIDEO


def measure(plan: dict[str, Any], options: dict[str, Any], weights: str | None) -> tuple[dict, dict]:
    """PSNR of every method on the test sets, and the student's agreement with the teacher; the teacher alone if there
    are no weights of a student."""
    teacher_weights, scales = options['path']['pretrain_network_t'], options['scales']
    if is_video(options):
        return measure_video(plan, options, weights)
    teacher = load_network(options['network_t'], teacher_weights)
    if weights is None:
        return cells({'teacher': teacher}, plan['test'], scales), {}
    student = load_network(options['network_g'], weights)
    return cells({'student': student}, plan['test'], scales), agreement(teacher, student, plan['held_out'], scales)


def measure_video(plan: dict[str, Any], options: dict[str, Any], weights: str | None) -> tuple[dict, dict]:
    """The same of a network of clips."""
    (scale,), clips = options['scales'], options['synthesis']['clips']
    teacher = load_clip_network(options['network_t'], options['path']['pretrain_network_t'], scale)
    if weights is None:
        return clip_cells({'teacher': teacher}, plan['test'], scale, clips), {}
    student = load_clip_network(options['network_g'], weights, scale)
    return (
        clip_cells({'student': student}, plan['test'], scale, clips),
        clip_agreement(teacher, student, plan['held_out'], scale, clips),
    )


def train_row(name: str, options: dict[str, Any], root: Path) -> tuple[Path, str]:
    """Train, or go on; gives the experiment's folder and the command."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / f'{name}.yml'
    write_text_atomically(yaml.safe_dump({**options, 'name': name}, sort_keys=False), file)
    command = ['train', '-opt', str(file), '--root', str(root), '--auto_resume']
    subprocess.run([sys.executable, '-m', 'vsrkd_plugin', *command], check=True, stdout=subprocess.DEVNULL)
    return root / 'experiments' / name, shlex.join(['basicsr', *command])


def row_options(plan: dict[str, Any], change: dict[str, Any] | None, seed: int) -> dict[str, Any]:
    """The options of a row: base (the plan's, or the row's own), what is common, what is its own. Without validation,
    unless the plan asks for it."""
    own = {key: value for key, value in (change or {}).items() if key != 'base'}
    base = (change or {}).get('base', plan['base'])
    options = merged(merged(load_options(base), plan.get('common') or {}), own)
    options['manual_seed'] = seed
    if not plan.get('validate'):  # it is measured at the end
        options['datasets'] = {'train': options['datasets']['train']}
        options.pop('val', None)
    return options


def record_file(label: str, seed: int, records: Path) -> Path:
    """Where the figures of a row are kept."""
    return records / (re.sub(r'[^a-z0-9]+', '_', label.lower()).strip('_') + f'_seed{seed}.json')


def read_record(plan: dict[str, Any], label: str, seed: int, records: Path) -> dict[str, Any] | None:
    """The figures of a row that is done; None if it is not."""
    file = record_file(label, seed, records)
    if not file.is_file():
        return None
    row = json.loads(file.read_text(encoding='utf-8'))
    if row['options'] != row_options(plan, plan['rows'][label], seed):
        raise SystemExit(f'{file}: was made with other options; choose other --records, or remove it')
    return row


def measure_row(plan: dict[str, Any], label: str, seed: int, root: Path, records: Path) -> None:
    """Train and measure one row, unless it was done before."""
    if read_record(plan, label, seed, records):
        return
    options = row_options(plan, plan['rows'][label], seed)
    file = record_file(label, seed, records)
    folder, command = train_row(file.stem, options, root)
    psnr, agreed = measure(plan, options, str(folder / 'models' / 'net_g_latest.pth'))
    row = {
        'label': label,
        'seed': seed,
        'psnr': psnr['student'],
        'agreement': agreed,
        'training': json.loads((folder / 'training.json').read_text(encoding='utf-8')),
        'command': command,
        'date': datetime.date.today().isoformat(),
        'machine': f'{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}',
        'options': options,
    }
    write_text_atomically(json.dumps(row, indent=1), file)
    print(row_line(row, list(psnr['student'])), flush=True)


def reference_rows(plan: dict[str, Any], records: Path) -> dict[str, dict[str, float]]:
    """Bicubic and the teacher on the test sets, measured once."""
    file = records / '_references.json'
    if file.is_file():
        return json.loads(file.read_text(encoding='utf-8'))
    options = row_options(plan, None, 0)
    found, _ = measure(plan, options, None)
    write_text_atomically(json.dumps(found, indent=1), file)
    return found


def row_line(row: dict[str, Any], columns: list[str]) -> str:
    """A row of the table; a column stays empty where the row has no such scale."""
    facts, psnr = row['training'], row['psnr']
    values = ' | '.join(f'{psnr[column]:.2f}' if column in psnr else '' for column in columns)
    minutes = f'{facts["seconds"] / 60:.1f}'
    return (
        f'| {row["label"]} | {row["seed"]} | {facts["iterations"]} | {minutes} | {mean_agreement(row):.2f} | {values} |'
    )


def mean_agreement(row: dict[str, Any]) -> float:
    """Over the scales."""
    return sum(row['agreement'].values()) / len(row['agreement'])


def to_markdown(rows: list[dict[str, Any]], references: dict[str, dict[str, float]], command: str) -> str:
    """The table, and where its rows come from."""
    columns = list(references['teacher'])
    lines = [
        f"Made by `{command}`; one row alone by the same with `--rows 'NAME'`. PSNR in dB on Y, "
        'borders cut (as wide as the scale; 8 of clips); agreement: PSNR of student against teacher '
        'on held-out images, mean over the scales.',
        '',
        f'| | seed | steps | minutes | agreement | {" | ".join(columns)} |',
        f'|---|{"---|" * (4 + len(columns))}',
    ]
    for method in ('bicubic', 'teacher'):
        lines.append(f'| *{method}* | | | | | {" | ".join(f"{references[method][cell]:.2f}" for cell in columns)} |')
    lines += [row_line(row, columns) for row in rows]
    made: dict[str, list[str]] = {}
    for row in rows:
        made.setdefault(f'{row["date"]}, {row["machine"]}, {row["training"]["device"]}', []).append(row['label'])
    return '\n'.join([*lines, '', *(f'- {place}: {", ".join(labels)}' for place, labels in made.items()), ''])


def put_into(page: str, text: str, name: str = 'ablation') -> str:
    """`page` with `text` between the marks of `name`; `text` alone if it has none."""
    first, last = f'<!-- {name} -->', f'<!-- end of {name} -->'
    start, end = page.find(first), page.find(last)
    if start < 0 or end < start:
        return text
    return f'{page[: start + len(first)]}\n\n{text}\n{page[end:]}'


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Agreement with the teacher, a bar for each row."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    values = [mean_agreement(row) for row in rows]
    figure, axes = plt.subplots(figsize=(8, 0.35 * len(rows) + 1), layout='constrained')
    bars = axes.barh([f'{row["label"]} ({row["seed"]})' for row in rows], values)
    axes.bar_label(bars, fmt='%.2f', padding=3)
    axes.set_xlim(min(values) - 1, max(values) + 0.2 * (max(values) - min(values)) + 0.5)  # room for the last figures
    axes.set_xlabel('PSNR of student against teacher on held-out images, dB')
    axes.invert_yaxis()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('plan', help='YAML file with the rows')
    parser.add_argument('--root', type=Path, default=Path('runs/ablation'), help='where experiments and rows go')
    parser.add_argument('-o', type=Path, help='Markdown file to write; the picture lies beside it')
    parser.add_argument('--records', type=Path, help='where figures of rows are kept; default: ROOT/records')
    parser.add_argument('--rows', nargs='+', help='only these')
    args = parser.parse_args()
    records = args.records or args.root / 'records'
    records.mkdir(parents=True, exist_ok=True)
    plan = yaml.safe_load(Path(args.plan).read_text(encoding='utf-8'))
    unknown = set(args.rows or []) - plan['rows'].keys()
    if unknown:
        parser.error(f'{args.plan} has no rows {", ".join(sorted(unknown))}; it has {", ".join(plan["rows"])}')
    register()
    name = Path(args.plan).stem
    references, seeds = reference_rows(plan, records), plan.get('seeds', [0])
    written = ['-o', str(args.o)] if args.o else []
    kept = ['--records', str(args.records)] if args.records else []
    command = shlex.join(['python', sys.argv[0], args.plan, *kept, *written])
    for seed in seeds:
        for label in args.rows or plan['rows']:
            measure_row(plan, label, seed, args.root, records)
            found = [read_record(plan, label, seed, records) for seed in seeds for label in plan['rows']]
            if args.o:
                args.o.parent.mkdir(parents=True, exist_ok=True)
                page = args.o.read_text(encoding='utf-8') if args.o.is_file() else ''
                rows = [row for row in found if row]
                write_text_atomically(put_into(page, to_markdown(rows, references, command), name), args.o)
                if plan.get('curve'):
                    costs = measured(rows, records / '_costs.json')
                    draw_curves(rows, costs, references['teacher'], args.o.with_name(f'{name}.png'))
                else:
                    draw(rows, args.o.with_name(f'{name}.png'))


if __name__ == '__main__':
    main()
