"""Which number format convolutions run in: bf16 where the machine computes faster in it, else fp32."""

import contextlib
import platform
from pathlib import Path

import torch

PRECISIONS = ('auto', 'bf16', 'fp32')


def cpu_has_fast_bf16() -> bool:
    """True where this CPU multiplies bf16 in hardware (avx512_bf16 or AMX)."""
    probes = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


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
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == 'bf16' else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Autocast to `dtype` on `device`; nothing for fp32 (an outer autocast stays in force)."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


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
