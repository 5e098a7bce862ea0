"""The growth schedule against a count by hand."""

import pytest

from vsrkd_plugin.distillation.growth import GrowthSchedule


def test_every() -> None:
    schedule = GrowthSchedule(depth=5, start=1, every=10, step=2)
    assert [schedule.active(i) for i in (1, 10, 11, 20, 21, 1000)] == [1, 1, 3, 3, 5, 5]


def test_milestones() -> None:
    schedule = GrowthSchedule(depth=4, start=2, milestones=[5, 9])
    assert [schedule.active(i) for i in (1, 5, 6, 9, 10, 99)] == [2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        ({'depth': 3, 'start': 4, 'every': 1}, 'start must be 1 to 3'),
        ({'depth': 3}, 'either milestones or every'),
        ({'depth': 3, 'every': 1, 'milestones': [1]}, 'either milestones or every'),
        ({'depth': 3, 'every': 0}, 'at least 1'),
    ],
)
def test_bad(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GrowthSchedule(**bad)
