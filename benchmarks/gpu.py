"""What a GPU makes of it: steps against what the hardware could do, steps without synchronisation, a training that goes
on bit for bit, and the default recipe for some minutes. Writes a JSON file and prints a table for docs/results.md.

Run: `python benchmarks/gpu.py [--minutes 5] [--out gpu.json]`. On a CPU it does the same at small size (`--minutes 0`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.distillation.task import DistillationTask
from vsrkd_plugin.models.task import build_task, student_options
from vsrkd_plugin.models.teacher import build
from vsrkd_plugin.ops.precision import describe_device, place, resolve_precision
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.budget import time_task
from vsrkd_plugin.registration import register
from vsrkd_plugin.reports.complexity import count_macs
from vsrkd_plugin.reports.writing import markdown_table
from vsrkd_plugin.run.checkpoints import read_weights

OPTIONS = 'options/dfkd_vdsr.yml'
SMALL = [
    'network_t:num_feat=16', 'network_g:num_feat=16', 'network_g:rank=8', 'synthesis:hr_size=24',
    'synthesis:sources:0:num_images=64',
]  # fmt: skip


def seconds_of(call: Callable[[], Any], device: torch.device, least: float = 0.5) -> float:
    """The shortest of several calls, in seconds; the first one warms up."""
    call()
    shortest, end = float('inf'), time.perf_counter() + least
    while shortest == float('inf') or time.perf_counter() < end:
        _finish(device)
        start = time.perf_counter()
        call()
        _finish(device)
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def peaks(device: torch.device) -> dict[str, float]:
    """What the device reaches where nothing is in the way: operations a second of a product of matrices in the format
    that `precision: auto` takes, and bytes a second of a copy, read and written."""
    side, size = (8192, 1 << 28) if device.type == 'cuda' else (1024, 1 << 24)
    matrix = torch.ones(side, side, device=device, dtype=resolve_precision('auto', device))
    values = torch.ones(size, device=device, dtype=torch.uint8)
    return {
        'operations_per_second': 2 * side**3 / seconds_of(lambda: matrix @ matrix, device),
        'bytes_per_second': 2 * size / seconds_of(values.clone, device),
    }


class Made(NamedTuple):
    """A distillation, how often each of its inputs is used, and the side of its LR patches at x2."""

    task: DistillationTask
    reuse: int
    side: int


def make_task(overrides: list[str], batch: int, device: torch.device) -> Made:
    """The default recipe as if it went on from a state, so that the start from the teacher is not waited for."""
    gpu = 1 if device.type == 'cuda' else 0
    asked = [f'num_gpu={gpu}', f'datasets:train:batch_size_per_gpu={batch}', 'train:growth=~', *overrides]
    opt = load_options(OPTIONS, asked)
    with tempfile.TemporaryDirectory() as root, unnoticed():
        complete(opt, root, True)
        plan = DistillationPlan.from_options(opt)
        student = place(build(plan.student, student_options(plan)), device)
        return Made(build_task(plan, student, device, resumes=True), plan.bank.reuse, opt['synthesis']['hr_size'] // 2)


def step_row(batch: int, overrides: list[str], device: torch.device, peak: dict[str, float]) -> dict[str, Any]:
    """The time of a step, and what its convolutions would take at the peak: forward in the teacher for one input in
    `reuse`, forward and twice as much backward in the student."""
    task, reuse, side = make_task(overrides, batch, device)
    lr = torch.rand(1, 1, side, side, device=device)
    macs = [_macs(adapter, lr) for adapter in (task.networks.teacher, task.networks.student)]
    seconds = time_task(task, device, reuse)
    floor = 2 * batch * (macs[0] / reuse + 3 * macs[1]) / peak['operations_per_second']
    return {'batch': batch, 'seconds': seconds, 'floor': floor, 'share': floor / seconds, 'patches': batch / seconds}


def _macs(adapter: Any, lr: Tensor) -> int:
    assert isinstance(adapter, ImageSRAdapter)
    return count_macs(adapter, lr, 2) or 0


def silent_steps(count: int, overrides: list[str], device: torch.device) -> str:
    """Whether steps wait for the device; told, where torch can tell."""
    task, reuse, _ = make_task(overrides, 8, device)
    for iteration in range(1, 2 * reuse + 1):  # the first steps fill what later ones read
        task.step(iteration)
    if device.type != 'cuda':
        for iteration in range(count):
            task.step(2 * reuse + 1 + iteration)
        return f'{count} steps; no GPU, which would tell'
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        for iteration in range(count):
            task.step(2 * reuse + 1 + iteration)
    except RuntimeError as error:
        return f'a step waits: {str(error).splitlines()[0]}'
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return f'{count} steps, none waits'


def train(root: Path, name: str, iterations: int, overrides: list[str], *arguments: str) -> Path:
    """A stock training by the default recipe; its folder."""
    asked = [f'name={name}', f'train:total_iter={iterations}', f'val:val_freq={iterations}']
    asked += ['logger:use_tb_logger=false', *overrides]
    line = [sys.executable, '-m', 'vsrkd_plugin', 'train', '-opt', OPTIONS, '--root', str(root), *arguments]
    line += ['--force_yml', *asked]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(line)}: {done.stderr.strip().splitlines()[-1:]}')
    return root / 'experiments' / name


def goes_on_bit_for_bit(root: Path, iterations: int, overrides: list[str]) -> bool:
    """Whether a training in two parts gives the weights of one in one part."""
    # One cosine over the whole length, however much of it is trained.
    overrides = [*overrides, f'train:scheduler:periods=[{2 * iterations}]']
    whole = train(root, 'whole', 2 * iterations, overrides)
    train(root, 'parts', iterations, overrides)
    parts = train(root, 'parts', 2 * iterations, overrides, '--auto_resume')
    ours, theirs = (read_weights(folder / 'models' / 'net_g_latest.pth') for folder in (parts, whole))
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def gpu_tests() -> str:
    """The last line of `pytest -m gpu`; without a GPU it skips them all."""
    line = [sys.executable, '-m', 'pytest', '-m', 'gpu', '-n', '0', 'tests/test_gpu.py', 'tests/synthesis']
    done = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return ((done.stdout.strip() or done.stderr.strip()).splitlines() or ['nothing was said'])[-1]


def measure(minutes: float, device: torch.device) -> dict[str, Any]:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(minutes, device, Path(folder))


def _measure(minutes: float, device: torch.device, root: Path) -> dict[str, Any]:
    small: list[str] = []
    if device.type == 'cpu':  # a teacher that has learned nothing, but is quick
        torch.manual_seed(0)
        torch.save({'params': VDSR(num_feat=16).state_dict()}, root / 'teacher.pth')
        small = [*SMALL, f'path:pretrain_network_t={root / "teacher.pth"}']
    batches, count, iterations = ((2, 8), 8, 4) if small else ((8, 32, 128, 512), 200, 100)
    found: dict[str, Any] = {
        'device': describe_device(device), 'torch': torch.__version__, 'options': OPTIONS, 'overrides': small,
        'precision': str(resolve_precision('auto', device)).removeprefix('torch.'), **peaks(device),
    }  # fmt: skip
    found['steps'] = [step_row(batch, small, device, found) for batch in batches]
    found['waiting'] = silent_steps(count, small, device)
    found['tests'] = gpu_tests()
    found['bit_for_bit'] = goes_on_bit_for_bit(root, iterations, small)
    if minutes > 0:
        steps = max(100, int(60 * minutes / found['steps'][0]['seconds']))
        report = json.loads((train(root, 'default', steps, []) / 'report.json').read_text(encoding='utf-8'))
        found['default'] = {'iterations': steps, 'training': report['training'], 'results': report['results']}
    return found


def table(found: dict[str, Any]) -> str:
    """For docs/results.md."""
    rows = [['batch', 'a step', 'at the peak', 'share', 'patches a second']]
    for row in found['steps']:
        times = [f'{1e3 * row[name]:.2f} ms' for name in ('seconds', 'floor')]
        rows.append([f'{row["batch"]}', *times, f'{100 * row["share"]:.0f} %', f'{row["patches"]:,.0f}'])
    lines = [
        f'{found["device"]}, torch {found["torch"]}: {found["operations_per_second"] / 1e12:.2f} TFLOP/s '
        f'({found["precision"]}), {found["bytes_per_second"] / 1e9:.0f} GB/s',
        '',
        *markdown_table(rows),
        '',
        f'Waiting for the device: {found["waiting"]}. Goes on bit for bit: {"yes" if found["bit_for_bit"] else "no"}.',
        f'`pytest -m gpu`: {found["tests"]}',
    ]
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--minutes', type=float, default=0.0, help='of the default recipe; 0 leaves it out')
    parser.add_argument('--out', default='gpu.json', help='the JSON file; default: gpu.json')
    args = parser.parse_args()
    register()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    found = measure(args.minutes, device)
    Path(args.out).write_text(json.dumps(found, indent=1), encoding='utf-8')
    print(table(found))


if __name__ == '__main__':
    main()
