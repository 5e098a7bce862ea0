"""Which number format is chosen, and where."""

import pytest
import torch

from vsrkd_plugin.ops import precision
from vsrkd_plugin.ops.precision import autocast, resolve_precision


@pytest.mark.parametrize('fast', [True, False])
def test_auto_takes_bf16_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(precision, 'cpu_has_fast_bf16', lambda: fast)
    assert resolve_precision('auto', 'cpu') == (torch.bfloat16 if fast else torch.float32)
    # Emulated bf16 is slower than fp32: every GPU has that.
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: fast or including_emulation)
    assert resolve_precision('auto', torch.device('cuda', 0)) == (torch.bfloat16 if fast else torch.float32)


def test_cpu_probe_agrees_with_the_kernel() -> None:
    try:
        with open('/proc/cpuinfo', encoding='ascii', errors='replace') as file:
            flags = set(next((line for line in file if line.startswith('flags')), '').split())
    except OSError:
        pytest.skip('no /proc/cpuinfo here')
    if not flags:
        pytest.skip('no x86 flags in /proc/cpuinfo')
    expected = bool(flags & {'avx512_bf16', 'amx_tile'})
    if precision.cpu_has_fast_bf16() and not expected:
        pytest.fail('bf16 chosen on a CPU that has neither avx512_bf16 nor AMX')
    if expected and not precision.cpu_has_fast_bf16():
        pytest.skip('the CPU has it, but this torch or container does not let it be used')


def test_named_formats_and_errors() -> None:
    assert resolve_precision('fp32', 'cpu') == torch.float32
    assert resolve_precision('bf16', 'cpu') == torch.bfloat16
    with pytest.raises(ValueError, match='auto, bf16, fp32'):
        resolve_precision('fp16', 'cpu')


def test_autocast_reaches_convolutions_and_leaves_an_outer_one_alone() -> None:
    convolution, x = torch.nn.Conv2d(1, 2, 3), torch.rand(1, 1, 5, 5)
    device = torch.device('cpu')
    with autocast(device, torch.bfloat16):
        assert convolution(x).dtype == torch.bfloat16
    with autocast(device, torch.float32):
        assert convolution(x).dtype == torch.float32
    with torch.autocast('cpu', dtype=torch.bfloat16), autocast(device, torch.float32):
        assert convolution(x).dtype == torch.bfloat16
