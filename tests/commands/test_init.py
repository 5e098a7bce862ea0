"""`init`: an options file here, which works as it is and never takes the place of another."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from vsrkd_plugin.cli import main
from vsrkd_plugin.commands import init
from vsrkd_plugin.config.loading import load_options

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
FILES = sorted(file.name for file in OPTIONS.glob('*.yml'))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('name', FILES)
def test_a_copy_is_the_same_options(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['init', name]) == 0
    assert name in capsys.readouterr().out
    assert load_options(name) == load_options(str(OPTIONS / name))
    text = (here / name).read_text(encoding='utf-8')
    assert text.count('#') == (OPTIONS / name).read_text(encoding='utf-8').count('#') > 1
    assert re.search(rf'-opt {name}\b', text), 'its command is not for this folder'
    assert not re.search(r'options/\w+\.yml', text)


def test_editors_find_the_schema(here: Path) -> None:
    assert main(['init', 'dfkd_vdsr']) == 0
    first = (here / 'dfkd_vdsr.yml').read_text(encoding='utf-8').partition('\n')[0]
    schema = here / first.removeprefix('# yaml-language-server: $schema=')
    jsonschema.validate(
        yaml.safe_load((here / 'dfkd_vdsr.yml').read_text(encoding='utf-8')), json.loads(schema.read_text('utf-8'))
    )


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / 'dfkd_vdsr.yml').write_text('mine')
    (here / init.SCHEMA).write_text('an older one')
    assert main(['init', 'dfkd_vdsr.yml']) == 2
    assert capsys.readouterr().err == 'basicsr: error: dfkd_vdsr.yml: is there already, and was left as it is\n'
    assert main(['init', 'dfkd_vsr.yml']) == 0
    assert 'is of another version' in capsys.readouterr().out
    assert (here / 'dfkd_vdsr.yml').read_text() == 'mine' and (here / init.SCHEMA).read_text() == 'an older one'
    (here / init.SCHEMA).unlink()
    assert main(['init', 'dfkd_vsr_rlsp.yml']) == 0
    assert main(['init', 'dfkd_vsr_tof.yml']) == 0  # the schema is there, and the same
    assert init.SCHEMA not in capsys.readouterr().out.split('dfkd_vsr_tof.yml: ')[1]


def test_a_name_that_is_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['init', 'dfkd_vdsr_bset']) == 2
    assert 'do you mean dfkd_vdsr_best.yml?' in capsys.readouterr().err
    assert main(['init', '../options/dfkd_vdsr.yml']) == 2
    assert not list(here.iterdir())


def test_a_disk_that_is_full_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> 'Full':
            (here / 'dfkd_vdsr.yml').touch()
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _text: str) -> None:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(init, 'open', lambda *_args, **_kwargs: Full(), raising=False)
    assert main(['init', 'dfkd_vdsr.yml']) == 2
    assert not list(here.iterdir())


def test_without_a_name_all_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['init']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines if line.startswith('  ')) == FILES
    assert all(len(line) <= 80 for line in init.listing(80).splitlines() if line.startswith('  '))
    assert not list(here.iterdir())
