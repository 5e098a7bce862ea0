"""Signals at whatever moment of whatever command: one line, nothing half written, and the same command goes on."""

import functools
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vsrkd_plugin.run.begun_files import begun

from .forking import attack
from .writing import COMMANDS, content_of, left_begun

# Shares of a command's time: in its start, in its work, in its end; each with a signal.
MOMENTS = ((0.08, signal.SIGTERM), (0.3, signal.SIGINT), (0.5, signal.SIGHUP), (0.7, signal.SIGTERM),
           (0.85, signal.SIGINT), (0.95, signal.SIGTERM))  # fmt: skip


@pytest.fixture(scope='module')
def seconds(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], float]:
    """Command → how long it takes."""

    @functools.cache
    def measured(name: str) -> float:
        shutil.copytree(made, folder := tmp_path_factory.mktemp('whole') / 'place')
        done = attack(COMMANDS[name].arguments, folder, 120)
        assert done.status == 0, done.errors
        return done.seconds

    return measured


@pytest.mark.parametrize(('share', 'number'), MOMENTS, ids=lambda value: getattr(value, 'name', str(value)))
@pytest.mark.parametrize('name', COMMANDS)
def test_a_signal(
    name: str, share: float, number: signal.Signals, made: Path, seconds: Callable[[str], float], tmp_path: Path
) -> None:
    command = COMMANDS[name]
    shutil.copytree(made, folder := tmp_path / 'place')
    done = attack(command.arguments, folder, 120, signals=[(0.02 + share * seconds(name), number)])
    before, after = content_of(made), content_of(folder)
    if done.status == -number:  # before the program was there to hear it
        assert not done.errors and not done.made
        return
    assert done.status in (0, 128 + number), (done.status, done.errors[-1500:])
    told = [line for line in done.errors.splitlines() if line.startswith('basicsr: ') and 'warning' not in line]
    assert len(told) == (done.status != 0) and all('interrupted' in line for line in told), done.errors[-1500:]
    assert 'Traceback' not in done.errors + done.output
    assert not left_begun(after)
    if (folder / command.makes).exists():
        command.whole(folder / command.makes)
    kept = [file for file in before if not file.startswith(command.makes)]
    assert {file: after.get(file) == before[file] for file in kept} == dict.fromkeys(kept, True)
    if done.status and number == signal.SIGTERM:
        again = attack([*command.arguments, *command.goes_on], folder, 120)
        assert again.status == 0, again.errors
        command.whole(folder / command.makes)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize('moment', ['parser', '_of_error'])
def test_a_signal_before_or_behind_the_work(
    moment: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f'vsrkd_plugin.cli.{moment}', lambda *_: signal.raise_signal(number))
    done = attack(['train', '-opt', 'nothing.yml'], tmp_path, 60)
    assert (done.status, done.errors) == (128 + number, f'basicsr: interrupted ({number.name})')


def test_what_a_writer_could_not_tidy_up_is_cleared_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a signal comes between the line that makes a file and the one that begins to watch over it."""

    def run(_args: object) -> int:
        begun(tmp_path / 'a.png').touch()
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr('vsrkd_plugin.commands.info.run', run)
    done = attack(['info'], tmp_path, 60)
    assert (done.status, done.errors, done.made) == (143, 'basicsr: interrupted (SIGTERM)', [])
