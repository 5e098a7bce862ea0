"""Does work that is killed at random moments end as work that is not? And is memory flat over a long training?

    python benchmarks/soak.py                      # 100 kills, then 20,000 iterations; about half an hour on one core
    python benchmarks/soak.py --kills 6 --iterations 400
    python benchmarks/soak.py --seed 1 --work FOLDER    # what was made stays there

A training, the filling of a bank and the enlarging of a film are run to their end; then again, and killed (mostly by
SIGKILL; one in four by SIGTERM or SIGINT) at moments that are drawn evenly over their length, repeated as a user would,
until all kills are spent. At the end the weights and states, samples and frames must be those of the first run, bit for
bit, and nothing may be left beside them. Needs the extra `video`. Prints JSON; exit status 1 if anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import lmdb
import torch
import yaml
from film import moving_pattern

import vsrkd_plugin  # noqa: F401 - before basicsr
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.deploy.film_writing import write_pictures
from vsrkd_plugin.run.checkpoints import fingerprint

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL,
           signal.SIGKILL, signal.SIGINT)  # fmt: skip
PATIENCE = 600  # seconds that a run may take


@dataclass
class Work:
    """Something that is killed.

    Attributes:
        name: of it.
        command: its arguments.
        results: its folder → name → what must be alike, of all that it makes.
        kills, ends: how often it was killed, and came to its end.
        differing: what was not as in the run that was not killed.
        failed: runs that ended otherwise than with 0 or by the signal.
    """

    name: str
    command: list[str]
    results: Callable[[Path], dict[str, Any]]
    kills: int = 0
    ends: int = 0
    differing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def options(work: Path, total: int) -> dict[str, Any]:
    """A small distillation with all its parts: growth, generators, a bank, an average, validation, a report."""
    val = {'type': 'BicubicImageDataset', 'dataroot_gt': str(work / 'pictures'), 'color': 'y'}
    return {
        'name': 'soak', 'model_type': 'DataFreeDistillationModel', 'scales': [2, 3], 'num_gpu': 0, 'manual_seed': 0,
        'precision': 'fp32',
        'datasets': {
            'train': {'name': 'latent', 'type': 'LatentDataset', 'batch_size_per_gpu': 4, 'iterations_per_epoch': 50},
            'val_x2': {**val, 'name': 'x2', 'scale': 2},
        },
        'network_t': {'type': 'VDSR', 'num_feat': 16, 'num_block': 6},
        'network_g': {'type': 'VDSR', 'num_feat': 8, 'num_block': 6},
        'network_z': {'type': 'LatentGenerator', 'num_latent': 16, 'num_feat': 16},
        'path': {'pretrain_network_t': str(work / 'teacher.pth')},
        'synthesis': {
            'hr_size': 24, 'bank': {'reuse': 4, 'rows': 64},
            'sources': [{'type': 'procedural', 'num_images': 100}, {'type': 'learned'}],
        },
        'train': {
            'init': 'teacher', 'growth': {'start': 4, 'every': 40}, 'generator_freq': 10, 'ema_decay': 0.99,
            'distill_opt': {'type': 'DistillationLoss'}, 'adversarial_opt': {'type': 'AdversarialDistillationLoss'},
            'reconstruction_opt': {'type': 'ReconstructionLoss'},
            'optim_g': {'type': 'Muon', 'lr': 2e-3}, 'optim_z': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'eta_min': 1e-6}, 'total_iter': total,
        },
        'val': {'val_freq': 100, 'save_img': True, 'metrics': {'psnr': {'type': 'calculate_psnr'}}},
        'logger': {'print_freq': 20, 'save_checkpoint_freq': 20, 'keep_checkpoints': 2, 'use_tb_logger': False},
    }  # fmt: skip


def prepare(work: Path, length: int) -> list[Work]:
    """Write teacher, pictures, options and film into a folder; the works on them."""
    torch.manual_seed(0)
    torch.save({'params': VDSR(num_feat=16, num_block=6).state_dict()}, work / 'teacher.pth')
    (work / 'pictures').mkdir()
    for number, picture in enumerate(moving_pattern(2, 48, 64)):
        cv2.imwrite(str(work / 'pictures' / f'{number}.png'), picture)
    (work / 'soak.yml').write_text(yaml.safe_dump(options(work, length)), encoding='utf-8')
    write_pictures(work / 'film.mp4', moving_pattern(3 * length, 24, 32), 25)
    synthesize = ['synthesize', '-opt', '../soak.yml', '-n', str(length * 20), '--batch', '16', '-o', 'bank.lmdb']
    upscale = ['upscale', '-m', 'zoo:vdsr_s_x234', '-i', '../film.mp4', '-o', 'large.mkv', '-s', '2']
    return [
        Work('train', ['train', '-opt', '../soak.yml', '--auto_resume'], of_training),
        Work('synthesize', synthesize, of_bank),
        # Without loss, so that frames are compared and not an encoder.
        Work('upscale', [*upscale, '--codec', 'ffv1', '--device', 'cpu', '--precision', 'fp32'], of_film),
    ]


def of_training(folder: Path) -> dict[str, Any]:
    """Weights and last state of a training, validated pictures; names of everything."""
    experiment = folder / 'experiments' / 'soak'
    found: dict[str, Any] = {}
    for file in (*experiment.glob('models/*.pth'), *experiment.glob('training_states/*.state')):
        content = torch.load(file, weights_only=True)
        content.pop('seconds', None)  # how long it took
        found[file.name] = fingerprint(flat(content))
    for file in sorted(experiment.glob('visualization/**/*.png')):
        found[str(file.relative_to(experiment))] = zlib.crc32(file.read_bytes())
    for line in (experiment / 'metrics.jsonl').read_text(encoding='utf-8').splitlines():
        measured = json.loads(line)
        found[f'{measured["dataset"]} at {measured["iteration"]}'] = measured['metrics']
    names = [str(path.relative_to(experiment)) for path in experiment.rglob('*') if path.suffix != '.log']
    return {**found, 'names': ', '.join(sorted(names))}


def flat(content: Any, name: str = '') -> dict[str, torch.Tensor]:
    """Tensors and numbers of nested containers, by their path."""
    if isinstance(content, dict | list | tuple):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        return {key: value for k, each in pairs for key, value in flat(each, f'{name}/{k}').items()}
    return {name: content if isinstance(content, torch.Tensor) else torch.tensor(list(repr(content).encode()))}


def of_bank(folder: Path) -> dict[str, Any]:
    """Every sample of a bank, and what it says of itself."""
    with lmdb.open(str(folder / 'bank.lmdb'), readonly=True, lock=False) as bank, bank.begin() as transaction:
        found = {key.decode(): zlib.crc32(value) for key, value in transaction.cursor()}
    return {**found, 'names': ', '.join(sorted(path.name for path in folder.iterdir()))}


def of_film(folder: Path) -> dict[str, Any]:
    """Every frame of a film with its time, and what is beside it; the file itself holds a random number (Matroska)."""
    with av.open(str(folder / 'large.mkv')) as film:
        frames = {f'frame {frame.pts}': zlib.crc32(frame.to_ndarray().tobytes()) for frame in film.decode(video=0)}
    return {**frames, 'names': ', '.join(sorted(path.name for path in folder.iterdir()))}


def start(arguments: list[str], folder: Path) -> subprocess.Popen:
    """A command in a process of its own."""
    folder.mkdir(exist_ok=True)
    told = open(folder.with_suffix('.log'), 'ab')  # noqa: SIM115 - the process's
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-m', 'vsrkd_plugin', *arguments]
    try:
        return subprocess.Popen(command, cwd=folder, stdout=told, stderr=told, env=environment)
    finally:
        told.close()


def whole(work: Work, folder: Path) -> tuple[dict[str, Any], float]:
    """A run that is not killed: what it makes, and its seconds."""
    begun = time.monotonic()
    status = start(work.command, folder).wait(PATIENCE)
    if status:
        raise SystemExit(f'{work.name} ended with {status}: see {folder.with_suffix(".log")}')
    return work.results(folder), time.monotonic() - begun


def kill(work: Work, kills: int, folder: Path, expected: dict[str, Any], seconds: float, dice: random.Random) -> None:
    """Kill a work so often, and compare each time that it comes to its end."""
    while True:
        process = start(work.command, folder)
        number = SIGNALS[work.kills % len(SIGNALS)]
        after = dice.uniform(0, seconds) if work.kills < kills else PATIENCE
        try:
            status = process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            work.kills += 1
            status = process.wait(60)
            if status not in (-number, 128 + number, 0):
                work.failed.append(f'{number.name}: {status}')
            if status:
                continue
        if status:
            work.failed.append(f'by itself: {status}')
            return
        work.ends += 1
        found = work.results(folder)
        work.differing += [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        print(f'{work.name}: {work.kills} kills, {work.ends} ends, {len(work.differing)} differ', file=sys.stderr)
        if work.kills >= kills:
            return
        shutil.rmtree(folder)


def sample_memory(work: Path, iterations: int) -> dict[str, Any]:
    """Memory and open files of a training, from when its start is over."""
    (work / 'long.yml').write_text(yaml.safe_dump({**options(work, iterations), 'name': 'long'}), encoding='utf-8')
    process = start(
        ['train', '-opt', 'long.yml', '--force_yml', f'logger:save_checkpoint_freq={min(500, iterations // 10)}'], work
    )
    samples: list[tuple[float, int, int]] = []
    begun, trains = time.monotonic(), False
    while process.poll() is None:
        time.sleep(max(0.05, iterations / 20_000))
        try:
            pages = int(Path(f'/proc/{process.pid}/statm').read_text(encoding='ascii').split()[1])
            files = len(os.listdir(f'/proc/{process.pid}/fd'))
        except (FileNotFoundError, ProcessLookupError, IndexError):  # it has ended
            break
        # From the second state on: until then it grows, and fills its bank.
        trains = trains or len(list((work / 'experiments' / 'long' / 'training_states').glob('*.state'))) > 1
        reports = (work / 'experiments' / 'long' / 'training.json').is_file()  # written when the training is over
        if trains and not reports:
            samples.append((time.monotonic() - begun, pages * os.sysconf('SC_PAGE_SIZE') >> 20, files))
    status = process.wait()
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    return {
        'iterations': iterations, 'status': status, 'samples': len(samples),
        'seconds': round(samples[-1][0]) if samples else None,
        'megabytes': {'first quarter': max(s[1] for s in first), 'last quarter': max(s[1] for s in last)},
        'files': {'first quarter': max(s[2] for s in first), 'last quarter': max(s[2] for s in last)},
    }  # fmt: skip


def main() -> int:
    """Run it; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=100, help='in all, shared out among the works')
    parser.add_argument('--works', nargs='+', default=['train', 'synthesize', 'upscale'], help='that are killed')
    parser.add_argument('--iterations', type=int, default=20_000, help='of the long training; 0: none')
    parser.add_argument('--length', type=int, default=400, help='iterations of the training that is killed')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--work', type=Path, help='a new folder for what is made; a temporary one if not given')
    args = parser.parse_args()
    folder = (args.work or Path(tempfile.mkdtemp(prefix='soak-'))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    works = [work for work in prepare(folder, args.length) if work.name in args.works]
    dice, told = random.Random(args.seed), {}
    for index, work in enumerate(works):
        expected, seconds = whole(work, folder / f'{work.name}_whole')
        kills = args.kills // len(works) + (index < args.kills % len(works))
        kill(work, kills, folder / work.name, expected, seconds, dice)
        told[work.name] = {
            'seconds': round(seconds, 1), 'kills': work.kills, 'ends': work.ends, 'compared': len(expected),
            'differing': sorted(set(work.differing)), 'failed': work.failed,
        }  # fmt: skip
    if args.iterations:
        told['memory'] = sample_memory(folder, args.iterations)
    print(json.dumps({'seed': args.seed, **told}, indent=1))
    if not args.work:
        shutil.rmtree(folder)
    return int(any(work.differing or work.failed for work in works))


if __name__ == '__main__':
    raise SystemExit(main())
