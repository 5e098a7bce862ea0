"""What a student may cost: in operations, and in time on this machine."""

import time
from typing import Any

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from tests.recipe.teachers import EDSR, RLSP, VDSR, inspected
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.recipe.building import built
from vsrkd_plugin.recipe.limits import Operations, Time, largest_within, size_of, time_of


@pytest.mark.parametrize('most', [-1, 0, 5, 16, 80, 1000])
def test_the_largest_that_is_allowed_is_found_in_few_trials(most: int) -> None:
    tried = []

    def cost(value: int) -> float:
        tried.append(value)
        return value**2

    values = range(0, 10)
    assert largest_within(values, cost, most) == max((v for v in values if v**2 <= most), default=None)
    assert len(tried) <= 4


def test_values_that_a_class_does_not_take_are_left_out() -> None:
    def cost(value: int) -> float:
        if value % 3:
            raise ValueError('a multiple of 3')
        return value

    assert largest_within(range(1, 20), cost, 13) == 12
    assert largest_within(range(1, 20), lambda value: None, 13) == 19, 'what is not known is allowed'


def test_what_needs_too_much_memory_costs_too_much() -> None:
    def cost(value: int) -> float:
        if value > 7:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return value

    assert largest_within(range(1, 20), cost, 100) == 7


class Sleeping(nn.Module):
    """Takes so many milliseconds; x2."""

    def __init__(self, num_feat: int = 40) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_feat))

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(1e-3 * len(self.weight))
        return nn.functional.interpolate(x, scale_factor=2) * self.weight[0]


def test_time_is_what_a_picture_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Sleeping', Sleeping)
    found, limit = inspected(EDSR), Time(0.03, (32, 16))
    options = {'type': 'Sleeping', 'num_feat': 20}
    assert 0.02 <= limit.cost(found, built(options), options) < 0.035
    assert limit.most(found) == 0.03
    assert limit.told(0.0204) == '20.4ms for 32x16 pixels'


@pytest.mark.parametrize('options', [EDSR, VDSR, RLSP], ids=lambda options: options['type'])
def test_time_grows_with_the_picture(options: dict[str, Any]) -> None:
    found = inspected(options)
    small, large = (Time(1, size).cost(found, built(options), options) for size in ((16, 16), (160, 120)))
    assert 2 * small < large


def test_what_is_hopeless_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Counted(Sleeping):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(x.shape)
            return super().forward(x)

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Counted', Counted)
    found, options = inspected(EDSR), {'type': 'Counted', 'num_feat': 40}
    Time(0.001, (16, 16)).cost(found, built(options), options)
    few = len(calls)
    Time(1, (16, 16)).cost(found, built(options), options)
    assert len(calls) - few > few


def test_operations_are_counted_as_those_of_the_teacher() -> None:
    found = inspected(EDSR)
    assert Operations(4).cost(found, built(EDSR), EDSR) == pytest.approx(found.macs_per_megapixel)
    assert Operations(4).most(found) == pytest.approx(found.macs_per_megapixel / 4, rel=0.06)  # type: ignore[operator]


@pytest.mark.parametrize(('text', 'seconds'), [('30ms', 0.03), ('0.5 s', 0.5), ('25fps', 0.04), ('40MS', 0.04)])
def test_times(text: str, seconds: float) -> None:
    assert time_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize('text', ['', '30', '0ms', 'fast', '-3ms', '1h', '9' * 400 + 's'])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UserError, match='--target: expected a time for a picture or frame, such as 30ms'):
        time_of(text)


def test_sizes() -> None:
    assert size_of('640x360') == size_of(' 640 X 360 ') == (640, 360)
    for text in ('', '640', '4x4', '99999x8', '640x-3', 'big'):
        with pytest.raises(UserError, match='--size: expected width and height of LR in pixels, such as 480x270'):
            size_of(text)
