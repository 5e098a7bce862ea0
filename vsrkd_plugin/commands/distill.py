"""`distill`: a student from a teacher's file alone; writes the options that do it, and runs stock training on them."""

import argparse
import json
import math
import os
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vsrkd_plugin.commands import train
from vsrkd_plugin.commands.inspect import inspected
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError, first_line, show
from vsrkd_plugin.inspection.describing import in_words
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.inspection.teacher import Inspection
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.budget import iterations_for, seconds_of, seconds_per_step
from vsrkd_plugin.recipe.choosing import best_start
from vsrkd_plugin.recipe.limits import SIZE, SPEEDUP, Limit, Operations, Time, seconds_a_frame, size_of, time_of
from vsrkd_plugin.recipe.options_file import Recipe, is_in_package
from vsrkd_plugin.recipe.students import KINDS, Proposal, candidates, own_student
from vsrkd_plugin.reports.folder import REPORT_FILES
from vsrkd_plugin.reports.student_files import CARD, SAFETENSORS
from vsrkd_plugin.reports.student_files import PTH as STUDENT
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.run.folder_lock import owned
from vsrkd_plugin.run.run_record import OPTIONS
from vsrkd_plugin.run.stages import Stages
from vsrkd_plugin.run.torch_files import read_torch_file
from vsrkd_plugin.run.whole_files import check_writable, save_atomically, write_bytes_atomically, write_text_atomically

TEACHER = 'teacher.pth'
_ORIGIN = 'origin'  # the entry of a copy of a teacher that names its file
_WISHES = ('student', 'speedup', 'target', 'size', 'seed', 'inputs', 'contract', 'network')
_OF_BUDGET = 0.1  # when so much has gone to comparing students, no further one is
_TIMED_RUNS = 80  # of networks that take about as long as the target, to find one that does
_ASKED = '# Asked of distill: '  # the line of its options that says what for
T = TypeVar('T')


def run(args: argparse.Namespace) -> int:
    """Distil `args.teacher` into `args.o`; gives the exit status."""
    started = time.monotonic()
    if int(os.environ.get('WORLD_SIZE') or 1) > 1:
        raise UserError(
            f'distill: is for one process, {os.environ["WORLD_SIZE"]} were started; call it without torchrun, or start '
            'train with torchrun on the options that it wrote'
        )
    budget = seconds_of(args.budget)
    folder = Path(args.o or f'runs/{_name_of(Path(args.teacher.rpartition(":")[2]))}')
    if (folder / STUDENT).exists():
        raise UserError(f'{folder}: holds a {STUDENT} already; name another folder (-o)')
    options = folder / OPTIONS
    begun = options.exists()
    moved = _moved_teacher(options, args.teacher) if begun else []
    if begun:
        _check_same_wishes(options, args)
    with Stages('distill', None if begun else budget, started) as stages:
        if begun:
            stages.say(f'going on with {options}, whose length was chosen when it began (train, total_iter)')
        else:
            _check_folder(folder)
            found, student = _chosen(args, stages, budget)
            _tried_to_write(lambda: folder.mkdir(parents=True, exist_ok=True), folder)
        with owned(folder, '-o'):
            if not begun:
                if options.exists():
                    raise UserError(f'{options}: was written meanwhile by another distill; name another folder (-o)')
                _write_options(args, found, student, folder, stages, budget)
            stages.begin('training, then the report')
            _train(options, folder, args.imports, moved)
            _finish(options, folder, args.imports)
            if args.target is not None:
                _tell_time(folder / STUDENT, _time(args))
    return 0


def _chosen(args: argparse.Namespace, stages: Stages, budget: float) -> tuple[Inspection, Proposal]:
    """What the teacher is, and the student that is proposed."""
    limit = _limit(args, budget)
    _check_inputs(args.inputs or [])
    stages.begin('inspecting the teacher')
    found = inspected(args, stages.say)
    print(in_words(found), flush=True)
    if found.is_video and args.inputs:
        raise UserError('--inputs: is for teachers of images; clips are made of painted pictures in motion alone')
    student = _student(args, found, limit, stages, _OF_BUDGET * budget)
    fewer = '' if student.fewer_operations is None else f', {student.fewer_operations:.1f} times fewer operations'
    with unnoticed():
        took = limit.told(limit.cost(found, student.build(), student.options))
    stages.say(f'the student: {student.type} of {student.params:,} weights{fewer}{took and f", {took}"}; {student.why}')
    return found, student


def _write_options(
    args: argparse.Namespace, found: Inspection, student: Proposal, folder: Path, stages: Stages, budget: float
) -> None:
    """Time some steps, and write the options."""
    recipe = Recipe(
        name=_name_of(folder.resolve()),
        teacher=found,
        student=student,
        weights=_tried_to_write(lambda: _weights(found, folder), folder),
        inputs=args.inputs or (),
        seed=args.seed,
    )
    stages.begin('timing some steps')
    opt = recipe.options()
    validate(opt, True)
    complete(opt, str(folder.resolve()), True)
    per_step = seconds_per_step(opt)
    total = iterations_for(budget - stages.seconds(), per_step)
    stages.say(f'{1 / per_step:.1f} steps a second: {total:,} of them in the time that is left')
    text = f'{replace(recipe, total_iter=total).text()}\n{_ASKED}{json.dumps(_wishes(args))}\n'
    _tried_to_write(lambda: write_text_atomically(text, folder / OPTIONS), folder)
    stages.say(f'wrote {folder / OPTIONS}')


def _tried_to_write(write: Callable[[], T], folder: Path) -> T:
    """What `write` gives; raises `UserError` where the folder cannot be written to."""
    try:
        return write()
    except OSError as error:
        raise UserError(f'-o {folder}: cannot be written to ({error.strerror or first_line(error)})') from error


def _limit(args: argparse.Namespace, budget: float) -> Limit:
    """What the student may cost, where the seconds for all of it allow to find one that does."""
    if args.seed < 0:
        raise UserError(f'--seed: expected a whole number from 0, got {args.seed}')
    if args.target is None:
        if args.size is not None:
            raise UserError('--size: is the size that --target is for; name that too')
        speedup = SPEEDUP if args.speedup is None else args.speedup
        if not 1 <= speedup < math.inf:
            raise UserError(f'--speedup: expected a number from 1, got {speedup:g}')
        return Operations(speedup)
    if args.speedup is not None:
        raise UserError('--speedup and --target: expected one of them')
    if args.student is not None and args.student not in KINDS:
        raise UserError('--target: chooses a student; of --student FILE.yml there is none to choose')
    limit = _time(args)
    needed = _TIMED_RUNS * limit.seconds
    if needed > budget / 2:
        raise UserError(
            f'--budget: timing students that take so long takes some {needed:.0f} s; expected {2 * needed:.0f}s or more'
        )
    return limit


def _time(args: argparse.Namespace) -> Time:
    return Time(time_of(args.target), SIZE if args.size is None else size_of(args.size))


def _tell_time(student: Path, asked: Time) -> None:
    """What the student takes, as it is now."""
    model = open_model(str(student))
    took = asked.told(seconds_a_frame(model, asked.size))
    print(f'It takes {took}, x{max(model.header.scales)}, on this machine as it is now; asked for was {asked.asked}.')


def _check_folder(folder: Path) -> None:
    """Before the teacher is looked at, which takes its time: the folder can be written, and nothing is overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f'-o {folder}: is a file; expected a folder')
    there = [name for name in (CARD, SAFETENSORS, *REPORT_FILES) if (folder / name).exists()]
    if (folder / TEACHER).exists() and _origin(folder) is None:
        there.append(TEACHER)
    if there:
        raise UserError(f'-o {folder}: holds a {there[0]} that is not of a distillation; name another folder')
    check_writable(folder, f'-o {folder}')
    above = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not os.access(above, os.W_OK):
        raise UserError(f'-o {folder}: cannot be written to')


def _student(args: argparse.Namespace, found: Inspection, limit: Limit, stages: Stages, within: float) -> Proposal:
    """The student that is proposed; after `within` seconds of comparing no further one is."""
    if args.student is None or args.student in KINDS:
        if isinstance(limit, Time):
            stages.begin('timing students')
        with unnoticed():
            proposals = candidates(found, args.student, limit)
        if len(proposals) == 1:
            return proposals[0]
        stages.begin('comparing students that cost the same, as they start')
        started = stages.seconds()
        return best_start(found, proposals, args.seed, stages.say, lambda: stages.seconds() - started < within)
    path = Path(args.student)
    if path.suffix not in ('.yml', '.yaml'):
        raise UserError(f'--student: expected {", ".join(KINDS)}, or an options file of a network, got {args.student}')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f'--student {path}: cannot be read ({first_line(error)})') from error
    options = content.get('network_g', content) if isinstance(content, dict) else None
    if not isinstance(options, dict) or 'type' not in options:
        raise UserError(f'--student {path}: expected network_g: {{type: …, num_feat: …}}, or that mapping alone')
    with unnoticed():
        return own_student(found, options)


def _weights(found: Inspection, folder: Path) -> str:
    """The checkpoint that the options name: the user's own, or a copy with the names that the network has."""
    if is_in_package(found.path):
        return found.path
    assert found.candidate is not None
    path, weights = Path(found.path).expanduser().resolve(), found.candidate.weights
    if found.source != 'spandrel' and read_weights(str(path)).keys() == weights.keys():
        return str(path)
    save_atomically({'params': dict(weights), _ORIGIN: str(path)}, folder / TEACHER)
    return str((folder / TEACHER).resolve())


def _check_inputs(folders: list[str]) -> None:
    for folder in folders:
        if not Path(folder).expanduser().is_dir():
            raise UserError(f'--inputs {folder}: no such folder; expected one of LR pictures')


def _moved_teacher(options: Path, teacher: str) -> list[str]:
    """What is to be said otherwise than in options that are there, where their folder has another place now.

    Raises:
        UserError: they are not of this teacher: a mistyped folder would train another student.
    """
    copy = options.parent.resolve() / TEACHER
    named = (load_options(str(options), None).get('path') or {}).get('pretrain_network_t')
    of, moved = named, []
    if isinstance(named, str) and Path(named).name == TEACHER and (origin := _origin(options.parent)):
        if named != str(copy) and not Path(named).exists():
            moved = [f'path:pretrain_network_t={json.dumps(str(copy))}']
        if moved or named == str(copy):
            of = origin
    if of not in (teacher, str(Path(teacher).expanduser().resolve())):
        gone = isinstance(of, str) and ':' not in of and not Path(of).exists()
        raise UserError(f'{options}: is of another teacher, {of}{", which is gone" * gone}; name another folder (-o)')
    return moved


def _wishes(args: argparse.Namespace) -> dict[str, Any]:
    """What a call says of the student and of how it learns."""
    wishes = {name: getattr(args, name, None) for name in _WISHES}
    if args.speedup is None and args.target is None:
        wishes['speedup'] = SPEEDUP
    return wishes


def _check_same_wishes(options: Path, args: argparse.Namespace) -> None:
    """Refuse to go on with other wishes than those that options were written for: they would come to nothing."""
    lines = options.read_text(encoding='utf-8').splitlines()
    told = next((line.removeprefix(_ASKED) for line in reversed(lines) if line.startswith(_ASKED)), None)
    if told is None:  # of an earlier version
        return
    try:
        before = dict(json.loads(told))
    except (ValueError, TypeError) as error:
        raise UserError(f'{options}: its line {show(_ASKED)} was changed; expected what distill wrote') from error
    for name, now in _wishes(args).items():
        if name in before and json.loads(json.dumps(now)) != before[name]:
            was = 'nothing' if before[name] is None else f'--{name} {before[name]}'
            raise UserError(
                f'--{name}: {options} was written for {was}; expected the same command again, or another folder (-o)'
            )


def _origin(folder: Path) -> str | None:
    """The file that the copy of a teacher in a folder is of; None if that is no copy of ours."""
    try:
        content = read_torch_file(folder / TEACHER)
    except Exception:  # of many types: it is something else
        return None
    return content.get(_ORIGIN) if isinstance(content, dict) else None


def _train(options: Path, folder: Path, imports: list[str] | None, overrides: list[str]) -> None:
    train.run(
        argparse.Namespace(
            opt=str(options),
            force_yml=overrides,
            root=str(folder),
            launcher=None,
            debug=False,
            imports=imports,
            auto_resume=True,
            is_train=True,
        )
    )


def _finish(options: Path, folder: Path, imports: list[str] | None) -> None:
    """The student and the report beside the options, and the line that uses the student."""
    opt: dict[str, Any] = load_options(str(options), None)
    experiment = folder / 'experiments' / opt['name']
    reports = [name for name in REPORT_FILES if (experiment / name).is_file()]
    for name in (*reports, CARD, SAFETENSORS, STUDENT):  # the student last: it says that all is done
        try:
            content = (experiment / name).read_bytes()
        except OSError as error:
            raise UserError(f'{experiment / name}: cannot be read ({error.strerror})') from error
        _tried_to_write(partial(write_bytes_atomically, content, folder / name), folder)
    print(f'\n{folder / STUDENT}: the student\n{folder / "report.html"}: its report, for a browser (or report.md)')
    more = f' --import {shlex.join(imports)}' if imports else ''
    goes_in, comes_out = ('FILM', 'LARGE.mp4') if Model.of(opt).is_video else ('PICTURES', 'LARGE')
    print('To enlarge by it:')
    print(f'  vsrkd upscale -m {shlex.quote(str(folder / STUDENT))} -i {goes_in} -o {comes_out}{more}')


def _name_of(path: Path) -> str:
    """A file's or folder's name as an experiment's."""
    return re.sub(r'[^\w.-]+', '_', path.stem).strip('._') or 'student'
