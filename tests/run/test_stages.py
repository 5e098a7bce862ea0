"""Stages of a command: their lines, and the time that is left for all of them."""

import re
import sys
import time
from pathlib import Path

import pytest
from on_a_terminal import as_shown, run_on_a_terminal

from vsrkd_plugin.run import stages as module
from vsrkd_plugin.run.progress import shown
from vsrkd_plugin.run.stages import Stages

PROGRAM = """
import sys, time
from vsrkd_plugin.run import stages
from vsrkd_plugin.run.progress import progress, shown
stages._TICK = 0.2
with shown(), stages.Stages('work', float(sys.argv[1])) as told:
    told.begin('first')
    time.sleep(1.3)
    told.begin('second')
    for item in progress(range(20), 'inner', 'item'):
        time.sleep(0.1)
    print('done')
"""


def _percentages(written: str) -> list[int]:
    return [int(found) for found in re.findall(r'work, .*? left: +(\d+)%', written)]


def test_a_bar_of_the_time_stands_above_those_of_the_stages(tmp_path: Path) -> None:
    status, written = run_on_a_terminal([sys.executable, '-c', PROGRAM, '10'], tmp_path)
    assert status == 0, written
    assert 'inner: ' in written
    first, second, done, bar, *rest = as_shown(written)
    assert re.fullmatch(r'\[ +0\.\d s\] first \(about 00:(09|10) left in all\)', first)
    assert re.fullmatch(r'\[ +1\.\d s\] second \(about 00:0[89] left in all\)', second)
    assert done == 'done' and not any(rest)
    assert re.fullmatch(r'work: 00:0\d passed: 100%\|█+\|', bar), bar
    before = [number for number in _percentages(written) if number < 100]
    assert before == sorted(before) and before[-1] <= 60, before


def test_what_takes_longer_than_was_expected_is_never_at_its_end_before(tmp_path: Path) -> None:
    status, written = run_on_a_terminal([sys.executable, '-c', PROGRAM, '1'], tmp_path)
    assert status == 0, written
    *before, _last = [number for number in _percentages(written) if number != 100]
    assert before and max(before) < 100
    told = [int(left) for left in re.findall(r'work, second: .*?about 00:0(\d) left', written)]
    assert max(told) >= 1  # what the bar below says is left, though the second that was expected is over


def test_without_a_terminal_there_are_lines_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_TICK', 0.01)
    passed = [30.02]  # seconds, however busy the machine is
    monkeypatch.setattr(Stages, 'seconds', lambda stages: passed[0])
    with shown(), Stages('work', 90) as told:
        told.begin('first')
        time.sleep(0.05)
        passed[0] = 30.1
        told.say('something')
    assert capsys.readouterr() == ('[  30.0 s] first (about 00:59 left in all)\n[  30.1 s] something\n', '')


def test_seconds_are_those_since_the_start() -> None:
    before = time.monotonic()
    told = Stages('work', None, started=before - 30)
    assert 30 <= told.seconds() <= time.monotonic() - before + 30


def test_nobody_knows_how_long(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stages, 'seconds', lambda stages: 0.0)
    with shown(), Stages('work', None) as told:
        told.begin('first')
    assert capsys.readouterr().out == '[   0.0 s] first\n'


def test_an_error_ends_the_clock() -> None:
    with pytest.raises(ValueError), Stages('work', 5) as told:
        raise ValueError
    assert not told._clock.is_alive()
