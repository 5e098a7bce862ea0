"""Which number format is chosen, and where."""

import random
from functools import partial

import pytest
import torch

from vsrkd_plugin.ops import precision
from vsrkd_plugin.ops.precision import autocast, place, resolve_precision


@pytest.mark.parametrize('fast', [True, False])
def test_auto_takes_bf16_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(precision, 'cpu_is_faster_in_bf16', lambda: fast)
    assert resolve_precision('auto', 'cpu') == (torch.bfloat16 if fast else torch.float32)
    # Emulated bf16 is slower than fp32: every GPU has that.
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: fast or including_emulation)
    assert resolve_precision('auto', torch.device('cuda', 0)) == (torch.bfloat16 if fast else torch.float32)


def test_a_cpu_without_the_instructions_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    monkeypatch.setattr(torch.nn.functional, 'conv2d', lambda *_, **__: pytest.fail('measured for nothing'))
    precision.cpu_is_faster_in_bf16.cache_clear()
    assert not precision.cpu_is_faster_in_bf16()
    precision.cpu_is_faster_in_bf16.cache_clear()


@pytest.mark.parametrize(('bf16_seconds', 'expected'), [(1.0, True), (1.9, False), (3.0, False)])
def test_a_cpu_with_the_instructions_is_measured(
    monkeypatch: pytest.MonkeyPatch, bf16_seconds: float, expected: bool
) -> None:
    """Instructions alone do not make bf16 faster; nor does a hair's breadth count. fp32 takes two seconds here."""
    now = [0.0]
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: True, raising=False)
    monkeypatch.setattr(precision.time, 'perf_counter', lambda: now[0])

    def convolve(x: torch.Tensor, *_: object, **__: object) -> None:
        now[0] += bf16_seconds if x.dtype == torch.bfloat16 else 2.0

    monkeypatch.setattr(torch.nn.functional, 'conv2d', convolve)
    precision.cpu_is_faster_in_bf16.cache_clear()
    assert precision.cpu_is_faster_in_bf16() is expected
    precision.cpu_is_faster_in_bf16.cache_clear()


@pytest.mark.parametrize(('first', 'expected'), [(2.0, True), (1.7, True), (1.0, False), (0.5, False)])
def test_other_work_hardly_disturbs_a_measurement(
    monkeypatch: pytest.MonkeyPatch, first: float, expected: bool
) -> None:
    """Nine in ten calls of either take up to four times as long."""
    chance, now, calls = random.Random(0), [0.0], [0]
    monkeypatch.setattr(precision.time, 'perf_counter', lambda: now[0])

    def call(seconds: float) -> None:
        calls[0] += 1
        now[0] += seconds * (1 + chance.choice([0] + [3 * chance.random() for _ in range(9)]))

    for _ in range(20):
        one, other = partial(call, first), partial(call, 1.0)
        assert precision.first_is_slower(one, other, by=1.25, seconds=500) is expected
    assert calls[0] < 20 * 400


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


def test_place_bears_convolutions_of_every_kind() -> None:
    module = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(2, 2))
    assert place(module, 'cpu') is module
    assert module[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[0].weight.is_contiguous() and module[2].weight.is_contiguous()
