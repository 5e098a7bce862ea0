"""The ablation's plan: every row is a valid training that differs from the default as it says."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.registration import register

ROOT = Path(__file__).resolve().parents[1]
PLAN = yaml.safe_load((ROOT / 'benchmarks' / 'ablation.yml').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location('ablation', ROOT / 'benchmarks' / 'ablation.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _options(ablation: ModuleType, row: str) -> dict[str, Any]:
    base = load_options(str(ROOT / PLAN['base']))
    return ablation.merged(ablation.merged(base, PLAN['common']), PLAN['rows'][row])


@pytest.mark.parametrize('row', PLAN['rows'])
def test_rows_are_valid(ablation: ModuleType, row: str) -> None:
    register()
    options = _options(ablation, row)
    validate(options, True)
    assert options['train']['total_iter'] == PLAN['common']['train']['total_iter']


def test_merging_changes_adds_and_drops(ablation: ModuleType) -> None:
    base = {'a': {'b': 1, 'c': [1, 2]}, 'd': 4}
    change = {'a': {'c': [3], '-': ['b']}, 'e': {'f': 5}}
    assert ablation.merged(base, change) == {'a': {'c': [3]}, 'd': 4, 'e': {'f': 5}}
    assert base == {'a': {'b': 1, 'c': [1, 2]}, 'd': 4}


def test_table_has_a_line_for_each_row(ablation: ModuleType) -> None:
    row = {
        'label': 'noise', 'seed': 0, 'psnr': {'Set5 x2': 34.381}, 'agreement': {'x2': 40.0, 'x3': 42.0},
        'training': {'iterations': 650, 'seconds': 90.0, 'device': 'cpu'}, 'command': 'basicsr train',
        'date': '2026-01-01', 'machine': 'm',
    }  # fmt: skip
    references = {method: {'Set5 x2': 33.69} for method in ('bicubic', 'teacher')}
    text = ablation.to_markdown([row], references, 'python benchmarks/ablation.py')
    assert '| noise | 0 | 650 | 1.5 | 41.00 | 34.38 |' in text
    widths = {line.count('|') for line in text.splitlines() if line.startswith('|')}
    assert len(widths) == 1
