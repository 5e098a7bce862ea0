"""What the command line says of itself: quickly, with examples that can be typed."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vsrkd_plugin import __version__, arguments, cli

(_COMMANDS,) = [action for action in arguments.parser()._actions if isinstance(action, argparse._SubParsersAction)]


def _examples(text: str) -> list[list[str]]:
    """The commands among the lines of a help's end, without their comments."""
    lines = [shlex.split(line, comments=True) for line in text.replace("'s", 's').splitlines()]
    return [words[1:] for words in lines if words[:1] in (['basicsr'], ['vsrkd'])]


@pytest.mark.parametrize('name', _COMMANDS.choices)
def test_the_help_of_each_command_ends_with_examples(name: str) -> None:
    command = _COMMANDS.choices[name]
    examples = _examples(command.epilog or '')
    assert examples, f'{name} --help has no example'
    assert command.format_help().endswith(command.epilog.rstrip() + '\n'), 'its lines are filled anew'
    for words in examples:
        assert words[0] == name
        assert arguments.parser().parse_args(words).run is not None


@pytest.mark.parametrize('name', _COMMANDS.choices)
def test_each_command_is_listed_and_described(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (listed,) = [action.help for action in _COMMANDS._choices_actions if action.dest == name]
    assert listed
    with pytest.raises(SystemExit) as end:
        cli.main([name, '--help'])
    assert end.value.code == 0
    assert f' {name} ' in capsys.readouterr().out


def test_no_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    told = capsys.readouterr().out
    assert all(f'\n    {name}' in told for name in _COMMANDS.choices)
    assert len(_examples(told)) >= 4
    for words in _examples(told):
        if '--help' not in words:
            arguments.parser().parse_args(words)


def test_an_unknown_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(['tarin'])
    assert end.value.code == 2
    assert 'tarin' in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(['--version'])
    assert end.value.code == 0
    assert capsys.readouterr().out == f'vsrkd_plugin {__version__}\n'


def test_it_calls_itself_by_the_name_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, name in (('/usr/bin/vsrkd', 'vsrkd'), ('basicsr', 'basicsr'), ('/x/__main__.py', 'basicsr')):
        monkeypatch.setattr(sys, 'argv', [typed])
        assert cli.main(['init', 'nothing_alike_at_all']) == 2
        assert capsys.readouterr().err.startswith(f'{name}: error: ')
        assert arguments.parser().prog == name


@pytest.mark.parametrize('words', [['--help'], ['--version'], [], ['init'], ['train', '--help']])
def test_what_needs_no_torch_waits_for_none(words: list[str]) -> None:
    program = (
        'import sys\n'
        'from vsrkd_plugin.cli import main\n'
        'try:\n'
        f'    main({words})\n'
        'except SystemExit:\n'
        '    pass\n'
        'assert not {"torch", "basicsr", "numpy"} & set(sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_start_page_can_be_typed() -> None:
    page = (Path(__file__).resolve().parents[1] / 'docs' / 'start.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```bash\n(.*?)```', page, re.S)
    commands = _examples('\n'.join(blocks))
    assert len(commands) > 8
    for words in commands:
        if words not in (['--version'], []):
            assert arguments.parser().parse_args(words).run is not None
    assert {words[0] for words in commands if words} >= {'distill', 'inspect', 'init', 'train', 'info'}
