"""Options files of the package are found by name; what is in the user's folder always wins, or is told of."""

import re
from pathlib import Path

import pytest

from vsrkd_plugin.config import shipped
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('path', ['dfkd_vdsr.yml', 'dfkd_vdsr', './dfkd_vdsr.yml', 'options/dfkd_vdsr.yml'])
def test_by_name_and_said_in_a_line(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_options(path) == load_options(str(ROOT / 'options' / 'dfkd_vdsr.yml'))
    found = ROOT / 'options' / 'dfkd_vdsr.yml'
    assert capsys.readouterr().err == f'{path} is not in this folder: taking the one of the package, {found}\n'


def test_a_file_of_the_name_wins(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / 'dfkd_vdsr.yml').write_text('name: mine\n')
    assert load_options('dfkd_vdsr.yml') == {'name': 'mine'}
    assert capsys.readouterr().err == ''
    for path in ('options/dfkd_vdsr.yml', 'dfkd_vdsr'):  # the user's own may be changed: not the package's one
        with pytest.raises(UserError, match=r'there is dfkd_vdsr\.yml in this folder'):
            load_options(path)


def test_what_cannot_be_read_wins_too(elsewhere: Path) -> None:
    (elsewhere / 'dfkd_vdsr.yml').symlink_to('gone.yml')
    with pytest.raises(UserError, match='cannot be read'):
        load_options('dfkd_vdsr.yml')


@pytest.mark.parametrize(
    'path, alike',
    [
        ('dfkd_vdsr_bset.yml', 'dfkd_vdsr_best.yml'),
        ('train_vdsr', 'train_vdsr_teacher.yml'),
        ('elsewhere/dfkd_vdsr.yml', 'dfkd_vdsr.yml'),  # a path that is wrong is told, not guessed
        ('/dfkd_vdsr.yml', 'dfkd_vdsr.yml'),
    ],
)
def test_the_nearest_is_named(path: str, alike: str) -> None:
    with pytest.raises(UserError, match=rf'{path}: no such options file; the package has {alike} ') as raised:
        load_options(path)
    assert '\n' not in str(raised.value)


def test_nothing_like_it() -> None:
    with pytest.raises(UserError, match='qqqq: no such options file; `vsrkd init` lists'):
        load_options('qqqq')


def test_one_process_of_several_says_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv('RANK', '1')
    shipped.find_options_file('dfkd_vdsr.yml')
    assert capsys.readouterr().err == ''


def test_a_package_that_is_not_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, '_FOLDERS', (tmp_path,))
    with pytest.raises(UserError, match='install vsrkd_plugin again'):
        shipped.shipped_options()


def test_each_says_what_it_is_for() -> None:
    told = [shipped.description(file) for file in shipped.shipped_options().values()]
    assert len(told) == len(list((ROOT / 'options').glob('*.yml')))
    assert all(len(text) > 30 and not re.search(r'options/|\n|#|\.$', text) for text in told), told
    assert len(set(told)) == len(told)
