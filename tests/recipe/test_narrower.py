"""Networks of a teacher's family that cost less."""

from typing import Any

import pytest

from tests.recipe.teachers import EDSR, VDSR, inspected
from vsrkd_plugin.recipe.building import built
from vsrkd_plugin.recipe.limits import Operations
from vsrkd_plugin.recipe.narrower import narrower, of_lower_rank


@pytest.mark.parametrize('options', [EDSR, {**VDSR, 'num_feat': 64}], ids=lambda options: options['type'])
def test_low_rank_costs_no_more_and_nearly_as_much(options: dict[str, Any]) -> None:
    found, limit = inspected(options), Operations(4)
    narrow = narrower(found, limit)
    assert narrow is not None
    plain = limit.cost(found, built(narrow), narrow)
    wider = list(of_lower_rank(found, limit, narrow))
    assert plain is not None and len(wider) >= 2
    widths = []
    for student in wider:
        cost = limit.cost(found, built(student), student)
        assert cost is not None and 0.75 * plain < cost <= limit.most(found)
        own = student.get('network', student)
        widths.append(own['num_feat'])
        assert narrow['num_feat'] < own['num_feat'] <= options['num_feat'] and student['rank'] < own['num_feat']
        assert {**own, 'num_feat': narrow['num_feat']}.items() >= narrow.items(), 'more than the width has changed'
    assert widths == sorted(set(widths)) and widths[-1] == options['num_feat']


def test_what_is_as_wide_as_its_teacher_needs_no_rank() -> None:
    found = inspected(EDSR)
    assert not list(of_lower_rank(found, Operations(1), EDSR))


def test_a_limit_that_no_network_keeps() -> None:
    assert narrower(inspected(EDSR), Operations(1e9)) is None
