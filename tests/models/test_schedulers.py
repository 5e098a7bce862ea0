"""Learning rates over a whole training, against the closed form of a cosine."""

import math
from pathlib import Path

import pytest
import torch
from tiny_training import TOTAL, advance, build, tiny_options
from torch import nn

from vsrkd_plugin.models.schedulers import make_scheduler

TOP, LOW, LENGTH = 1.0, 0.1, 20


def _rates(options: dict, steps: int) -> list[float]:
    """The rate of each iteration; BasicSR steps a scheduler before every iteration but the first."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=TOP)
    scheduler = make_scheduler(options, optimizer, LENGTH)
    rates = [optimizer.param_groups[0]['lr']]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]['lr'])
    return rates


def test_a_cosine_lasts_for_the_whole_training() -> None:
    expected = [LOW + (TOP - LOW) * (1 + math.cos(math.pi * i / LENGTH)) / 2 for i in range(LENGTH)]
    assert _rates({'type': 'CosineAnnealingRestartLR', 'eta_min': LOW}, LENGTH) == pytest.approx(expected)


def test_periods_that_are_given_stand() -> None:
    rates = _rates(
        {'type': 'CosineAnnealingRestartLR', 'eta_min': LOW, 'periods': [10, 10], 'restart_weights': [1, 1]}, 12
    )
    assert rates[5] == pytest.approx((TOP + LOW) / 2) and rates[11] > rates[9]


def test_milestones() -> None:
    rates = _rates({'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5}, 6)
    assert rates == [TOP, TOP, TOP, TOP / 2, TOP / 2, TOP / 2]


@pytest.mark.parametrize('with_data', [False, True])
def test_a_training_that_is_over_is_made_longer(tmp_path: Path, image_folder: Path, with_data: bool) -> None:
    """Of its cosine a state tells where it is; what it is like, the options say."""
    cosine = {'type': 'CosineAnnealingRestartLR', 'eta_min': LOW, 'periods': [4]}
    options = tiny_options(tmp_path, image_folder, scheduler=cosine, total_iter=4)
    options['train']['optim_g']['lr'] = TOP
    if with_data:  # a model that is trained with data, by stock's own resuming
        options.update(model_type='MultiScaleSRModel', train={**options['train'], 'pixel_opt': {'type': 'L1Loss'}})
    first = build(options, tmp_path)
    for iteration in range(1, 5):
        first.update_learning_rate(iteration)
    state = {
        'iter': 4,
        'epoch': 0,
        'optimizers': [optimizer.state_dict() for optimizer in first.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in first.schedulers],
        **({} if with_data else first.extra_state()),
    }
    options['train'].update(
        scheduler={**cosine, 'periods': [4, 4], 'restart_weights': [1, 0.5], 'eta_min': LOW / 2}, total_iter=8
    )
    second = build(options, tmp_path)
    second.resume_training(state)
    rates = []
    for iteration in range(5, 9):
        second.update_learning_rate(iteration)
        rates.append(second.optimizers[0].param_groups[0]['lr'])
    low = LOW / 2
    # BasicSR counts the place where two periods meet to the first of them.
    expected = [low, *(low + 0.5 * (TOP - low) * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(1, 4))]
    assert rates == pytest.approx(expected)


def test_the_rates_of_a_training_fall_to_their_end(tmp_path: Path, image_folder: Path) -> None:
    """Of the student and of every generator, each by its own schedule."""
    options = tiny_options(tmp_path, image_folder, scheduler_z={'type': 'CosineAnnealingRestartLR', 'eta_min': 5e-4})
    model = build(options, tmp_path)
    rates: list[list[float]] = []
    for iteration in range(1, TOTAL + 1):
        advance(model, iteration, iteration)
        rates.append([optimizer.param_groups[0]['lr'] for optimizer in model.optimizers])
    student, *generators = zip(*rates, strict=True)
    for rate, low in ((student, 1e-6), *((rate, 5e-4) for rate in generators)):
        expected = [low + (1e-3 - low) * (1 + math.cos(math.pi * i / TOTAL)) / 2 for i in range(TOTAL)]
        assert list(rate) == pytest.approx(expected)
