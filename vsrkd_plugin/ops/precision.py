"""Which number format convolutions run in: bf16 where the machine computes faster in it, else fp32."""

import contextlib
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

PRECISIONS = ('auto', 'bf16', 'fp32')
# Makes the context in which networks run: `partial(autocast, device, dtype)`.
Autocast = Callable[[], contextlib.AbstractContextManager]


@lru_cache(maxsize=1)
def cpu_is_faster_in_bf16() -> bool:
    """True where a convolution takes this CPU clearly less time in bf16 than in fp32; measured once, in 0.1 s.

    Instructions for bf16 are not enough: cores with two units for fp32 and one for bf16 are slower in bf16. Only a
    clear gain counts, so that a resumed run measures the same answer again.
    """
    # Names that torch does not promise: a version may lack them.
    probes = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    if not any(getattr(torch.cpu, probe, lambda: False)() for probe in probes):
        return False
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = (
            values.to(dtype=dtype, memory_format=torch.channels_last)
            for values in (torch.full((4, 64, 48, 48), 0.5), torch.full((64, 64, 3, 3), 0.01))
        )
        times = []
        with torch.no_grad():
            for _ in range(6):
                start = time.perf_counter()
                torch.nn.functional.conv2d(x, weight, padding=1)
                times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return seconds[torch.float32] > 1.25 * seconds[torch.bfloat16]


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
