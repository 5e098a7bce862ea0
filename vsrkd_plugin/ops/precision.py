"""Which number format convolutions run in: bf16 where the machine computes faster in it, else fp32."""

import contextlib
import math
import platform
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

PRECISIONS = ('auto', 'bf16', 'fp32')
# Makes the context in which networks run: `partial(autocast, device, dtype)`.
Autocast = Callable[[], contextlib.AbstractContextManager]


@lru_cache(maxsize=1)
def cpu_is_faster_in_bf16() -> bool:
    """True where a convolution takes this CPU clearly less time in bf16 than in fp32; measured once, in 0.1 to 2 s.

    Instructions for bf16 are not enough: cores with two units for fp32 and one for bf16 are slower in bf16. Only a
    clear gain counts.
    """
    # Names that torch does not promise: a version may lack them.
    probes = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    if not any(getattr(torch.cpu, probe, lambda: False)() for probe in probes):
        return False
    convolutions: list[Callable[[], Any]] = []
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = (
            values.to(dtype=dtype, memory_format=torch.channels_last)
            for values in (torch.full((4, 64, 48, 48), 0.5), torch.full((64, 64, 3, 3), 0.01))
        )
        convolutions.append(partial(torch.nn.functional.conv2d, x, weight, padding=1))
    with torch.no_grad():
        return first_is_slower(convolutions[0], convolutions[1], by=1.25)


def first_is_slower(first: Callable[[], Any], second: Callable[[], Any], by: float, seconds: float = 2.0) -> bool:
    """Whether a call takes more than `by` times as long as another; other work on the machine hardly matters.

    The shortest of each counts, of calls by turns, until twenty in a row have shortened neither.

    Args:
        seconds: the most that it takes.
    """
    shortest, since, end = [math.inf, math.inf], 0, time.perf_counter() + seconds
    while since < 20 and (time.perf_counter() < end or since == 0):
        since += 1
        for index, call in enumerate((first, second)):
            start = time.perf_counter()
            call()
            taken = time.perf_counter() - start
            if taken < 0.98 * shortest[index]:
                shortest[index], since = taken, 1
    return shortest[0] > by * shortest[1]


def resolve_precision(precision: str, device: torch.device | str) -> torch.dtype:
    """The dtype of convolutions on `device`: `torch.bfloat16` or `torch.float32`.

    Args:
        precision: `auto` (bf16 where it is faster), `bf16` or `fp32`.

    Raises:
        ValueError: any other name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    if precision == 'auto':
        on_gpu = torch.device(device).type == 'cuda'
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_is_faster_in_bf16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == 'bf16' else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Autocast to `dtype` on `device`; nothing for fp32 (an outer autocast stays in force)."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def place(module: nn.Module, device: torch.device | str) -> nn.Module:
    """A network on a device, its convolutions' weights channels_last, the layout in which they are fast.

    `Module.to(memory_format=torch.channels_last)` would refuse networks with 3-D convolutions (DUF).
    """
    module.to(device)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def describe_device(device: torch.device) -> str:
    """A device in words: the GPU's name, or the CPU's and its threads."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only Linux has it
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                name = line.partition(':')[2].strip()
                break
    return f'cpu ({name}, {torch.get_num_threads()} threads)'
