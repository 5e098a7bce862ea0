"""`distill`: a student from a teacher's file alone; writes the options that do it, and runs stock training on them."""

import argparse
import re
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from vsrkd_plugin.commands import train
from vsrkd_plugin.commands.inspect import inspected
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.inspection.describing import in_words
from vsrkd_plugin.inspection.teacher import Inspection
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.budget import iterations_for, seconds_of, seconds_per_step
from vsrkd_plugin.recipe.options_file import Recipe, is_in_package
from vsrkd_plugin.recipe.students import KINDS, Proposal, own_student, propose
from vsrkd_plugin.run.checkpoints import read_weights, save_atomically, write_text_atomically

OPTIONS, STUDENT, TEACHER = 'options.yml', 'student.pth', 'teacher.pth'
_REPORTS = ('report.md', 'report.json', 'report.png')


def run(args: argparse.Namespace) -> int:
    """Distil `args.teacher` into `args.o`; gives the exit status."""
    started = time.monotonic()
    budget = seconds_of(args.budget)
    folder = Path(args.o or f'runs/{_name_of(Path(args.teacher.rpartition(":")[2]))}')
    if (folder / STUDENT).exists():
        raise UserError(f'{folder}: holds a {STUDENT} already; name another folder (-o)')
    options = folder / OPTIONS
    if options.exists():
        _check_same_teacher(options, args.teacher)
        _say(started, f'going on with {options}; what it says holds, not the arguments of this call')
    else:
        _propose(args, folder, started, budget)
    _train(options, folder, args.imports)
    _finish(options, folder)
    return 0


def _propose(args: argparse.Namespace, folder: Path, started: float, budget: float) -> None:
    """Inspect the teacher, choose a student, time some steps, and write the options."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f'-o {folder}: is a file; expected a folder')
    _check_inputs(args.inputs or [])
    found = inspected(args, lambda text: _say(started, text))
    print(in_words(found), flush=True)
    with unnoticed():
        student = _student(args, found)
    fewer = '' if student.fewer_operations is None else f', {student.fewer_operations:.1f} times fewer operations'
    _say(started, f'the student: {student.type} of {student.params:,} weights{fewer}; {student.why}')
    folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(
        name=_name_of(folder.resolve()),
        teacher=found,
        student=student,
        weights=_weights(found, folder),
        inputs=args.inputs or (),
        seed=args.seed,
    )
    _say(started, 'timing some steps')
    opt = recipe.options()
    validate(opt, True)
    complete(opt, str(folder.resolve()), True)
    per_step = seconds_per_step(opt)
    total = iterations_for(budget - (time.monotonic() - started), per_step)
    _say(started, f'{1 / per_step:.1f} steps a second: {total:,} of them in the time that is left')
    recipe = Recipe(**{**vars(recipe), 'total_iter': total})
    write_text_atomically(recipe.text(), folder / OPTIONS)
    _say(started, f'wrote {folder / OPTIONS}; training')


def _student(args: argparse.Namespace, found: Inspection) -> Proposal:
    if args.student is None or args.student in KINDS:
        return propose(found, args.student, args.speedup)
    path = Path(args.student)
    if path.suffix not in ('.yml', '.yaml'):
        raise UserError(
            f'--student: expected {" or ".join(KINDS)}, or an options file of a network, got {args.student}'
        )
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f'--student {path}: cannot be read ({first_line(error)})') from error
    options = content.get('network_g', content) if isinstance(content, dict) else None
    if not isinstance(options, dict) or 'type' not in options:
        raise UserError(f'--student {path}: expected network_g: {{type: …, num_feat: …}}, or that mapping alone')
    return own_student(found, options)


def _weights(found: Inspection, folder: Path) -> str:
    """The checkpoint that the options name: the user's own, or a copy with the names that the network has."""
    if is_in_package(found.path):
        return found.path
    assert found.candidate is not None
    path, weights = Path(found.path).expanduser().resolve(), found.candidate.weights
    if found.source != 'spandrel' and read_weights(str(path)).keys() == weights.keys():
        return str(path)
    save_atomically({'params': dict(weights)}, folder / TEACHER)
    return str((folder / TEACHER).resolve())


def _check_inputs(folders: list[str]) -> None:
    for folder in folders:
        if not Path(folder).expanduser().is_dir():
            raise UserError(f'--inputs {folder}: no such folder; expected one of LR pictures')


def _check_same_teacher(options: Path, teacher: str) -> None:
    """Options that are there must be of this teacher: else a mistyped folder would train another student."""
    opt = load_options(str(options), None)
    named = (opt.get('path') or {}).get('pretrain_network_t')
    folder_own = str((options.parent / TEACHER).resolve())
    same = named == teacher or (named and Path(named) in (Path(teacher).expanduser().resolve(), Path(folder_own)))
    if not same:
        raise UserError(f'{options}: is of another teacher, {named}; name another folder (-o)')


def _train(options: Path, folder: Path, imports: list[str] | None) -> None:
    train.run(
        argparse.Namespace(
            opt=str(options),
            force_yml=None,
            root=str(folder),
            launcher=None,
            debug=False,
            imports=imports,
            auto_resume=True,
            is_train=True,
        )
    )


def _finish(options: Path, folder: Path) -> None:
    """The student and the report beside the options, and the line that uses the student."""
    opt: dict[str, Any] = load_options(str(options), None)
    experiment = folder / 'experiments' / opt['name']
    weights = torch.load(experiment / 'models' / 'net_g_latest.pth', map_location='cpu', weights_only=True)
    entry = weights.get('params_ema', weights.get('params'))
    network = {'type': opt['network_g']['type'], 'arguments': {**opt['network_g']}, 'scales': list(opt['scales'])}
    save_atomically({'params': entry, 'network': network}, folder / STUDENT)
    for name in _REPORTS:
        if (source := experiment / name).is_file():
            (folder / name).write_bytes(source.read_bytes())
    print(f'\n{folder / STUDENT}: the student; report: {folder / "report.md"}')
    if Model.of(opt).is_video:
        print(f'It is network_g of {options}; in options of yours: path: {{pretrain_network_g: {folder / STUDENT}}}')
        return
    write_text_atomically(_upscaling(opt, folder), folder / 'upscale.yml')
    print('To enlarge a folder of pictures by it (they come into results/):')
    print(f'  basicsr test -opt {folder / "upscale.yml"} --force_yml datasets:test:dataroot_lq=FOLDER')


def _upscaling(opt: dict[str, Any], folder: Path) -> str:
    """Options of stock BasicSR's test, which enlarges a folder of pictures."""
    student = {key: value for key, value in opt['network_g'].items()}
    content = {
        'name': f'{opt["name"]}_pictures',
        'model_type': 'MultiScaleSRModel',
        'scale': max(opt['scales']),
        'num_gpu': 'auto',
        'datasets': {
            'test': {
                'name': 'pictures',
                'type': 'SingleImageDataset',
                'dataroot_lq': 'pictures',
                'io_backend': {'type': 'disk'},
            }
        },
        'network_g': student,
        'path': {'pretrain_network_g': str((folder / STUDENT).resolve()), 'param_key_g': 'params'},
        'val': {'save_img': True},
    }
    return '# Enlarges the pictures of a folder: basicsr test -opt THIS_FILE\n' + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True
    )


def _name_of(path: Path) -> str:
    """A file's or folder's name as an experiment's."""
    return re.sub(r'[^\w.-]+', '_', path.stem).strip('._') or 'student'


def _say(started: float, text: str) -> None:
    print(f'[{time.monotonic() - started:6.1f} s] {text}', flush=True)
