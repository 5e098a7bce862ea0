"""Bars on a terminal with whole lines above them, plain lines in a pipe, silence in a library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from on_a_terminal import as_shown, run_on_a_terminal

from vsrkd_plugin.run import progress as module
from vsrkd_plugin.run.progress import progress, shown

LOOP = """
import logging, sys, time, warnings
from vsrkd_plugin.run.progress import progress, shown
log = logging.getLogger('some.library')
log.addHandler(logging.StreamHandler())
with shown():
    with progress(30, 'outer', 'step', every=0.2) as outer:
        for step in range(30):
            time.sleep(0.03)
            if step == 10:
                log.warning('logged line')
                print('printed line')
                late = logging.getLogger('late')
                late.addHandler(logging.StreamHandler())
                for item in progress(range(5), 'inner', 'picture', every=0.05):
                    time.sleep(0.03)
                    late.warning('inner log %d', item)
            outer.note('loss 0.5')
            outer.update()
log.warning('logged afterwards')
late.warning('late afterwards')
print('printed afterwards', file=sys.stderr)
"""
LINES = ['logged line', 'printed line', *(f'inner log {n}' for n in range(5))]
AFTERWARDS = ['logged afterwards', 'late afterwards', 'printed afterwards']


def test_a_terminal_shows_bars_with_whole_lines_above(tmp_path: Path) -> None:
    status, written = run_on_a_terminal([sys.executable, '-c', LOOP], tmp_path)
    assert status == 0, written
    assert 'inner:' in written and '\r' in written, 'no bar was drawn'
    first, *rest = [line for line in as_shown(written) if line]
    assert [first, *rest][: len(LINES)] == LINES
    assert [first, *rest][-len(AFTERWARDS) :] == AFTERWARDS
    (bar,) = rest[len(LINES) - 1 : -len(AFTERWARDS)]
    assert re.match(r'outer: 100%\|█+\| 30/30 \[00:0\d<00:00, .*step/s, loss 0.5\]', bar), bar


def test_a_terminal_that_tells_no_width_shows_bars_too(tmp_path: Path) -> None:
    status, written = run_on_a_terminal([sys.executable, '-c', LOOP], tmp_path, columns=0)
    assert status == 0 and re.search(r'outer: 100%\|█+\| 30/30', written), written


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, '-c', LOOP], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '\r' not in done.stderr + done.stdout and '\x1b' not in done.stderr and '█' not in done.stderr
    assert done.stdout == 'printed line\n'
    lines = done.stderr.splitlines()
    assert [line for line in lines if 'log' in line] == [line for line in LINES + AFTERWARDS if 'log' in line]
    told = [line for line in lines if line.startswith('outer: ')]
    assert 2 <= len(told) <= 8, told  # a second and more at most every 0.2 seconds
    assert all(re.match(r'outer: \d+ of 30 steps, \d+ %, 00:0\d passed, (00:0\d left, )?loss 0.5$', x) for x in told)
    assert told[-1].startswith('outer: 30 of 30 steps, 100 %')


def test_a_file_gets_no_carriage_return(tmp_path: Path) -> None:
    with open(tmp_path / 'log', 'w', encoding='utf-8') as file:
        subprocess.run([sys.executable, '-c', LOOP], stdout=file, stderr=file, check=True)
    content = (tmp_path / 'log').read_bytes()
    assert b'outer: 30 of 30 steps' in content and b'\r' not in content


def test_a_library_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2], 'reading', 'file', every=0)) == [1, 2]
    with shown(), shown(False):
        assert list(progress([1, 2], 'reading', 'file', every=0)) == [1, 2]
    assert capsys.readouterr() == ('', '')
    assert not module._show


def test_what_log_lines_tell_of_needs_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    with shown():
        list(progress([1, 2], 'training', 'step', lines=False, every=0))
        assert capsys.readouterr() == ('', '')
        list(progress([1, 2], 'training', 'step', every=0))
    assert capsys.readouterr().err.count('\n') == 2


def test_time_left_is_of_what_was_done_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, 'monotonic', lambda: now)
    with shown(), progress(100, 'filling', 'sample', initial=90) as told:
        now += 20
        told.update(2)
    assert capsys.readouterr().err == 'filling: 92 of 100 samples, 92 %, 00:20 passed, 01:20 left\n'


def test_what_is_of_unknown_number(capsys: pytest.CaptureFixture[str]) -> None:
    with shown():
        assert list(progress(iter('ab'), 'reading', 'frame', every=0)) == ['a', 'b']
    assert capsys.readouterr().err == ('reading: 1 frames, 00:00 passed\nreading: 2 frames, 00:00 passed\n')


def test_an_error_leaves_the_streams_as_they_were(tmp_path: Path) -> None:
    program = """
import sys
from vsrkd_plugin.run.progress import progress, shown
before = sys.stdout, sys.stderr
try:
    with shown(), progress(3, 'failing', 'step'):
        print('without an end', end='')
        raise ValueError
except ValueError:
    assert (sys.stdout, sys.stderr) == before
    print(' | as before')
"""
    status, written = run_on_a_terminal([sys.executable, '-c', program], tmp_path)
    assert status == 0, written
    assert as_shown(written)[-2] == 'without an end | as before', written
