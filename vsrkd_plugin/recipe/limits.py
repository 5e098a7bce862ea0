"""What a student may cost: so many operations, or so much time on this machine."""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.deploy.model import Model, header_of
from vsrkd_plugin.deploy.streaming import open_stream
from vsrkd_plugin.deploy.upscaling import choose_device
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.teacher import Inspection
from vsrkd_plugin.recipe.building import called, contract_of
from vsrkd_plugin.reports.complexity import count_macs
from vsrkd_plugin.run.faults import is_out_of_memory

SPEEDUP = 4.0
SIZE = (480, 270)  # width and height of LR: a quarter of a film of 1080 lines
_TOLERATED = 1.05  # times the operations that were asked for
_UNITS = {'ms': 1e-3, 's': 1.0}
_FRAMES = 6  # of a clip that is timed
_LEAST_RUNS, _MOST_RUNS, _PATIENCE = 3, 15, 0.6  # seconds of runs that are timed, at most


class Limit(Protocol):
    """What a student may cost.

    Attributes:
        asked: as it was asked for, to begin an error with.
    """

    @property
    def asked(self) -> str: ...

    def most(self, found: Inspection) -> float:
        """The cost that is allowed, of a student of this teacher; infinite where it is not known."""

    def cost(self, found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> float | None:
        """Of a student; None where it is not known."""

    def told(self, cost: float | None) -> str:
        """A cost in words; empty where there is nothing to add."""


@dataclass(frozen=True)
class Operations:
    """So many times fewer operations than the teacher has.

    Args:
        speedup: how many.
    """

    speedup: float = SPEEDUP

    @property
    def asked(self) -> str:
        return f'--speedup {self.speedup:g}'

    def most(self, found: Inspection) -> float:
        return (found.macs_per_megapixel or math.inf) / self.speedup * _TOLERATED

    def cost(self, found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> float | None:
        """Multiply-accumulates for a megapixel of the result."""
        adapter, x = called(found, student, options)
        macs = count_macs(adapter, x, found.scale, x.shape[1] if found.is_video else 1)
        return macs and macs / (x.shape[-1] * found.scale) ** 2 * 1e6

    def told(self, cost: float | None) -> str:
        return ''


@dataclass(frozen=True)
class Time:
    """So long for a picture, or a frame of a film, as `upscale` makes it on this machine: by the device and the number
    format that it chooses, at the network's largest factor.

    Args:
        seconds: at most.
        size: width and height of the picture, LR.
    """

    seconds: float
    size: tuple[int, int] = SIZE

    @property
    def asked(self) -> str:
        return f'--target {_in_words(self.seconds)} --size {self.size[0]}x{self.size[1]}'

    def most(self, found: Inspection) -> float:
        return self.seconds

    def cost(self, found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> float:
        """Seconds."""
        return seconds_a_frame(model_of(found, student, options), self.size, 2 * self.seconds)

    def told(self, cost: float | None) -> str:
        return '' if cost is None else f'{_in_words(cost)} for {self.size[0]}x{self.size[1]} pixels'


def model_of(found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> Model:
    """A student as a file of it would be opened."""
    adapter, _ = called(found, student, options)
    header = header_of(student, options, found.scales, found.is_video, contract_of(found, options))
    return Model('the student', freeze(student), adapter, header)


@torch.inference_mode()
def seconds_a_frame(model: Model, size: tuple[int, int], hopeless: float = math.inf) -> float:
    """What a model needs for a picture or a frame, as `upscale` makes it, files aside: the lower quartile of some runs.

    Args:
        model: opened.
        size: width and height of LR.
        hopeless: seconds; where two runs take longer, there are no more.
    """
    device = choose_device()
    width, height = size
    frame = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    frames = _FRAMES if model.is_video else 1
    seconds: list[float] = []
    while len(seconds) < _MOST_RUNS:
        stream, _ = open_stream(model, None, max(size), None, device, 'auto', lambda text: None)
        begun = time.perf_counter()
        for _ in range(frames):
            stream.push(frame)
        stream.finish()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        seconds.append((time.perf_counter() - begun) / frames)
        if len(seconds) > _LEAST_RUNS and sum(seconds[1:]) * frames > _PATIENCE:
            break
        if len(seconds) == 2 and (min(seconds) > hopeless or min(seconds) * frames > _PATIENCE):
            return min(seconds)
    # The first one plans its convolutions; the slower ones met other work of the machine.
    return sorted(seconds[1:])[(len(seconds) - 1) // 4]


def time_of(text: str) -> float:
    """Seconds of `30ms`, `0.5s`, or of a frame in `25fps`.

    Raises:
        UserError: no such time, or none above 0.
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*(ms|s|fps)', text.strip().lower())
    number = float(found[1]) if found else 0.0
    if found is None or not 0 < number < math.inf:
        raise UserError(
            f'--target: expected a time for a picture or frame, such as 30ms, 0.5s or 25fps, got {text[:60]}'
        )
    return 1 / number if found[2] == 'fps' else number * _UNITS[found[2]]


def size_of(text: str) -> tuple[int, int]:
    """Width and height of `480x270`.

    Raises:
        UserError: no such size, or a side below 8 or above 16,384.
    """
    found = re.fullmatch(r'(\d{1,5})\s*x\s*(\d{1,5})', text.strip().lower())
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(8 <= side <= 16384 for side in size):
        raise UserError(f'--size: expected width and height of LR in pixels, such as 480x270, got {text[:60]}')
    return size


def _in_words(seconds: float) -> str:
    return f'{seconds * 1e3:.3g}ms' if seconds < 0.9995 else f'{seconds:.3g}s'


def largest_within(values: Sequence[int], cost: Callable[[int], float | None], most: float) -> int | None:
    """The largest of ascending values whose cost is allowed; None if there is none.

    Args:
        values: more of them cost more.
        cost: of a value; None where it is not known, which is taken to be allowed. It may raise what a class raises of
            a number that it does not take: such values are left out. What needs too much memory costs too much.
        most: the cost that is allowed.
    """
    left, best = list(values), None
    while left:
        middle = len(left) // 2
        try:
            found = cost(left[middle])
        except (*UNFIT, ZeroDivisionError) as error:
            if is_out_of_memory(error):
                left = left[:middle]
            else:
                del left[middle]
            continue
        if found is None or found <= most:
            best, left = left[middle], left[middle + 1 :]
        else:
            left = left[:middle]
    return best
