"""Registering: explicit, once, in silence; other people's modules too."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from vsrkd_plugin import registration
from vsrkd_plugin.errors import UserError

OURS = """
import logging, sys
import vsrkd_plugin  # alone: what mends `import basicsr`
from vsrkd_plugin.registration import register, register_all
register()
from basicsr.utils import registry
registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
before = [dict(one._obj_map) for one in registries]
register()
register_all()
assert before == [dict(one._obj_map) for one in registries]
assert 'VDSR' in registry.ARCH_REGISTRY and 'BicubicImageDataset' in registry.DATASET_REGISTRY
assert not logging.getLogger('basicsr').handlers and not logging.getLogger().handlers
"""


def test_idempotent_and_silent_in_a_fresh_process() -> None:
    result = subprocess.run([sys.executable, '-c', OURS], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == ''


def test_listed_modules_exist_and_are_ours() -> None:
    for module in registration.MODULES:
        assert module.startswith('vsrkd_plugin.')
    assert len(set(registration.MODULES)) == len(registration.MODULES)
    registration.register()
    assert all(module in sys.modules for module in registration.MODULES)


def test_import_registers_a_users_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    (tmp_path / 'archs_of_a_user.py').write_text(
        'from basicsr.utils.registry import ARCH_REGISTRY\n\n\n@ARCH_REGISTRY.register()\nclass NetOfAUser:\n    pass\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registration.register_all(['archs_of_a_user'])
    registration.register_all(['archs_of_a_user'])
    assert 'NetOfAUser' in ARCH_REGISTRY


def test_a_module_is_found_beside_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the path: what lies there by chance stands in for no other module."""
    (tmp_path / 'archs_beside').mkdir()
    (tmp_path / 'archs_beside' / '__init__.py').write_text('from archs_beside import part\n')
    (tmp_path / 'archs_beside' / 'part.py').touch()
    (tmp_path / 'colorsys.py').write_text('raise AssertionError\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [folder for folder in sys.path if folder])
    monkeypatch.delitem(sys.modules, 'colorsys', raising=False)
    registration.register_all(['archs_beside'])
    registration.register_all(['colorsys'])
    assert sys.path[-1] == str(tmp_path) and sys.path.count(str(tmp_path)) == 1


def test_a_module_that_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'broken_archs.py').write_text('class Net(\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    with pytest.raises(UserError, match=r'--import broken_archs: cannot be imported: .*broken_archs\.py, line 1'):
        registration.register_all(['broken_archs'])


def test_missing_module() -> None:
    with pytest.raises(UserError, match="--import no_such_archs: cannot be imported: No module named 'no_such_archs'"):
        registration.register_all(['no_such_archs'])


def test_entry_points_of_others_are_called_and_broken_ones_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def entry_points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [EntryPoint('good', 'os:getpid', group), EntryPoint('broken', 'no_such_package:register', group)]

    monkeypatch.setattr(registration, 'entry_points', entry_points)
    called = []
    monkeypatch.setattr(os, 'getpid', lambda: called.append(1))
    with pytest.raises(UserError, match=r'plugin broken \(no_such_package:register\) cannot be imported'):
        registration.register_all()
    assert asked == ['basicsr.plugins']
    assert called == [1]
