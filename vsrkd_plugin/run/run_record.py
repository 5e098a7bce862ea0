"""Facts of a training that its report tells: how long it took, on what, in which precision, with how much memory."""

import json
import sys
import time
from pathlib import Path

import torch

from vsrkd_plugin.ops.precision import describe_device
from vsrkd_plugin.run.whole_files import write_text_atomically

OPTIONS = 'options.yml'  # of an experiment: what ran, completed


def peak_memory_mb(device: torch.device) -> float | None:
    """The most memory that this process has held, of the GPU if it works on one; None where that is not known."""
    if device.type == 'cuda':
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == 'darwin' else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


class Clock:
    """Seconds of a training, those before an interruption included; validation counts."""

    def __init__(self) -> None:
        self.start(0.0)

    def start(self, before: float) -> None:
        self._before, self._since = before, time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._since


clock = Clock()


def write_run_record(folder: Path, iterations: int, device: torch.device, precision: str, seed: int) -> None:
    """`training.json` in an experiment's folder: the facts of a training that its report tells."""
    facts = {
        'iterations': iterations,
        'seconds': round(clock.seconds(), 1),
        'device': describe_device(device),
        'precision': precision,
        'seed': seed,
        'peak_memory_mb': peak_memory_mb(device),
    }
    write_text_atomically(json.dumps(facts, allow_nan=False) + '\n', folder / 'training.json')
