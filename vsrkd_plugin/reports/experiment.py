"""What an experiment folder holds, read and checked."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vsrkd_plugin.config import values as v
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.registries import Model, find_registered
from vsrkd_plugin.config.schema import ContractOptions, PathOptions
from vsrkd_plugin.config.section import Section, first_flaw, option
from vsrkd_plugin.data.images import BUNDLED
from vsrkd_plugin.errors import UserError, show, unexpected
from vsrkd_plugin.run.run_record import OPTIONS

logger = logging.getLogger('basicsr')
_IMPORTS = '# Modules, --import: '
TRAINING_KEYS = ('iterations', 'seconds', 'device', 'precision', 'seed', 'peak_memory_mb')


_NUMBERS, _TEXTS = ('iterations', 'seconds', 'seed', 'peak_memory_mb'), ('device', 'precision')


class _Metrics(Section):
    """What a report reads of the validation."""

    metrics: dict[str, dict[str, Any]] | None = option('by name', None)


class _Synthesis(Section):
    """What a report reads of the inputs."""

    bank: dict[str, Any] | None = option('what is kept', None)
    sources: list[dict[str, Any]] | None = option('what makes them', None)


class _Reported(Section):
    """What a report reads of the options: of what kind each is."""

    datasets: dict[str, dict[str, Any]] | None = option('data sets', None)
    networks: dict[str, dict[str, Any] | None] = option('networks', {}, 'network_*')
    contracts: dict[str, ContractOptions | None] = option('what they want', {}, 'contract_*')
    path: PathOptions | None = option('files', None)
    scales: v.Scale | None = option('the scales', None)
    scale: v.Scale | None = option('the scale', None)
    val: _Metrics | None = option('the validation', None)
    synthesis: _Synthesis | None = option('the inputs', None)
    compare: v.Names | None = option('further networks', None)
    root_path: v.Text | None = option('where the training ran', None)


@dataclass(frozen=True)
class Experiment:
    """What an experiment folder holds, read but not yet run."""

    folder: Path
    options: dict[str, Any]
    student_file: Path
    training: dict[str, Any]  # TRAINING_KEYS; all None without training.json
    validations: dict[str, dict[int, dict[str, float]]]  # data set -> iteration -> metric -> value
    notes: list[str]  # what is missing


def read_experiment(folder: Path) -> Experiment:
    """Read an experiment folder.

    Raises:
        UserError: it is missing, has no `options.yml` or no student's weights, or a file is not what it should be.
    """
    if not folder.is_dir():
        raise UserError(f'{folder}: no such experiment folder; expected one that a training made (experiments/NAME)')
    if not (folder / OPTIONS).is_file():
        raise UserError(f'{folder}: has no options.yml, expected the resolved options of the training')
    if not (folder / 'models').is_dir():
        inside = sorted(path.parent for path in folder.glob(f'experiments/*/{OPTIONS}'))  # of `distill`
        hint = f'; did you mean {inside[0]}?' if inside else ''
        raise UserError(
            f'{folder}: has no folder models, expected one with net_g_latest.pth or net_g_<iteration>.pth{hint}'
        )
    options = load_options(str(folder / OPTIONS))
    if not isinstance(options.get('network_g'), dict) or 'type' not in options['network_g']:
        raise UserError(f'{folder / "options.yml"}: has no network_g with a type, expected the trained network')
    try:
        _Reported.model_validate(options)
    except ValidationError as error:
        raise UserError(f'{folder / "options.yml"}: {first_flaw(error)}') from error
    _check_registered(folder / OPTIONS, options)
    notes: list[str] = []
    return Experiment(
        folder, options, _student_file(folder / 'models'), _read_training(folder / 'training.json', notes),
        read_validations(folder / 'metrics.jsonl', notes), notes,
    )  # fmt: skip


def told_imports(modules: Sequence[str] | None) -> str:
    """A line of `options.yml` that tells the modules of `--import`; nothing where there are none."""
    return f'{_IMPORTS}{" ".join(modules)}\n' if modules else ''


def _check_registered(file: Path, options: dict[str, Any]) -> None:
    """Refuse networks that are not registered, with the modules that the training was given; nothing is imported."""
    for label in ('g', 't', *(options.get('compare') or ())):  # the networks that a report builds
        key, network = f'network_{label}', options.get(f'network_{label}')
        name = network.get('type') if isinstance(network, dict) else None
        if not isinstance(name, str) or find_registered('network', name) is not None:
            continue
        lines = file.read_text(encoding='utf-8').splitlines()
        modules = next((line.removeprefix(_IMPORTS) for line in lines if line.startswith(_IMPORTS)), None)
        hint = (
            f'the training was given --import {modules}' if modules else 'name the module of one of yours by --import'
        )
        raise UserError(f'{file}: {key}: no network {show(name)} is registered; {hint}')


def read_validations(file: Path, notes: list[str]) -> dict[str, dict[int, dict[str, float]]]:
    """The validations of a training: data set -> iteration -> metric -> value, iterations in order.

    After a resume an iteration may be there twice: the last counts. A line that a kill cut short is skipped, also in
    the middle of the file, where the resumed training went on writing.
    """
    if not file.is_file():
        notes.append('metrics.jsonl is missing, so the picture has no curves.')
        return {}
    found: dict[str, dict[int, dict[str, float]]] = {}
    for line in file.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            entry = json.loads(line)
            values = {key: float(value) for key, value in entry['metrics'].items() if value is not None}
            found.setdefault(str(entry['dataset']), {})[int(entry['iteration'])] = values
        except (ValueError, KeyError, TypeError, AttributeError):
            if line.strip():
                logger.debug('%s: skipped an unreadable line', file)
    return {dataset: dict(sorted(by_iteration.items())) for dataset, by_iteration in found.items()}


def _read_training(file: Path, notes: list[str]) -> dict[str, Any]:
    if not file.is_file():
        notes.append('training.json is missing, so duration, device, precision and seed are not known.')
        return dict.fromkeys(TRAINING_KEYS)
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{file}: is not valid JSON ({error}); expected {", ".join(TRAINING_KEYS)}') from error
    if not isinstance(content, dict):
        raise UserError(f'{file}: expected a JSON object with {", ".join(TRAINING_KEYS)}')
    for keys, kind in ((_NUMBERS, int | float), (_TEXTS, str)):
        for key in keys:
            if not isinstance(content.get(key), kind | None):
                what = 'text' if kind is str else 'a number'
                raise UserError(f'{file}, {key}: {unexpected(what, content[key])}')
    return {key: content.get(key) for key in TRAINING_KEYS}


def _student_file(models: Path) -> Path:
    latest = models / 'net_g_latest.pth'
    if latest.is_file():
        return latest
    files = models.glob('net_g_*.pth')
    numbered = [(int(match[1]), file) for file in files if (match := re.fullmatch(r'net_g_(\d+)', file.stem))]
    if not numbered:
        raise UserError(f'{models}: holds no weights, expected net_g_latest.pth or net_g_<iteration>.pth')
    return max(numbered)[1]


def from_root(value: Any, opt: dict[str, Any]) -> Any:
    """A path as the training saw it: relative ones lie below its root, wherever the report is made."""
    if isinstance(value, list):
        return [from_root(entry, opt) for entry in value]
    if not isinstance(value, str) or value == BUNDLED or not opt.get('root_path'):
        return value
    below = Path(opt['root_path'], value)
    return str(below) if below.exists() else value


def fallback_scale(opt: dict[str, Any]) -> int:
    """The scale of what does not tell its own: the first."""
    scales = opt.get('scales') or [opt.get('scale') or 1]
    if Model.of(opt).is_video and 'scales' not in opt:  # a training with data: each data set has the network's scale
        scales = [next(iter(opt['datasets'].values()))['scale']]
    return int(scales[0] if isinstance(scales, list) else scales)
