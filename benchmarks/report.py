"""What `vsrkd report` takes: the first time, again, and by another copy of the package; in turns, as ratios.

    python benchmarks/report.py experiments/dfkd_vdsr --before ../the/copy/of/before

Made on copies of the experiment, so that what one leaves helps no other. Time is that of the processor, which other
processes of a busy machine do not change much; and, in brackets, that of the clock.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def seconds(experiment: Path, package: Path) -> tuple[float, float]:
    """Processor's and clock's seconds of one report by the package that lies in a folder."""
    environment = os.environ | {'PYTHONPATH': str(package)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, '-m', 'vsrkd_plugin', 'report', str(experiment)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('experiment', type=Path)
    parser.add_argument('--before', type=Path, help='a copy of the repository, of before a change')
    parser.add_argument('--repeats', type=int, default=2)
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch, 'experiments', args.experiment.name)
            shutil.copytree(args.experiment, copy, ignore=shutil.ignore_patterns('training_states'))
            if args.before:
                found.setdefault('before', []).append(seconds(copy, args.before.resolve()))
            for name in ('the first time', 'again'):
                found.setdefault(name, []).append(seconds(copy, HERE))
    reference = statistics.median(cpu for cpu, _ in found[next(iter(found))])
    for name, values in found.items():
        cpu, clock = (statistics.median(column) for column in zip(*values, strict=True))
        print(f'{name:>15}: {cpu:6.1f} s ({clock:.1f} s), {cpu / reference:.2f} of {next(iter(found))}')


if __name__ == '__main__':
    main()
