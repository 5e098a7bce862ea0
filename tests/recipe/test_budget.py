"""Iterations that fit into a time."""

import pytest
import torch

from tests.recipe.teachers import EDSR, inspected
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.recipe import budget
from vsrkd_plugin.recipe.budget import iterations_for, seconds_of, seconds_per_step
from vsrkd_plugin.recipe.options_file import Recipe
from vsrkd_plugin.recipe.students import propose


@pytest.mark.parametrize(('text', 'seconds'), [('90s', 90), ('15m', 900), ('1.5h', 5400), ('2', 120), (' 3M ', 180)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize('text', ['', 'm', '0s', '-3m', '5 days', '1e3s'])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match='--budget: expected a time'):
        seconds_of(text)


def test_iterations_fit() -> None:
    fit = iterations_for(600, 0.1)
    assert 100 <= fit <= 6000 and fit * 0.1 > 0.7 * 600
    with pytest.raises(UserError, match='expected at least 100'):
        iterations_for(10, 1.0)


def test_steps_are_timed_and_leave_the_random_state(tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    found = inspected(EDSR)
    path = tmp_path / 'teacher.pth'
    torch.save({'params': dict(found.candidate.weights)}, path)
    opt = Recipe('mine', found, propose(found), str(path)).options()
    opt['num_gpu'] = 0
    complete(opt, str(tmp_path), True)
    before = torch.get_rng_state()
    seconds = seconds_per_step(opt)
    assert 1e-4 < seconds < 60
    assert torch.equal(before, torch.get_rng_state())
    assert list(tmp_path.iterdir()) == [path]


class Task:
    """Steps of known lengths."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds, self.iterations = seconds, []

    def step(self, iteration: int) -> None:
        self.iterations.append(iteration)
        clock[0] += self.seconds[(iteration - 1) % len(self.seconds)]


clock = [0.0]


def test_a_round_counts_whole_and_a_stumble_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher is asked in one step of four; once the machine is busy elsewhere."""
    monkeypatch.setattr(budget.time, 'perf_counter', lambda: clock[0])
    rounds = [0.7, 0.1, 0.1, 0.1]
    task = Task([*rounds * 3, 9.0, 9.0, 9.0, 9.0, *rounds * 5])
    assert budget.time_task(task, torch.device('cpu'), 4) == pytest.approx(0.25)
    assert task.iterations == list(range(1, len(task.iterations) + 1))
