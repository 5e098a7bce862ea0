"""`synthesize`: fills a bank with inputs and the teacher's outputs."""

import argparse
import hashlib
import json
import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.commands.options import checked_options, distillation_plan
from vsrkd_plugin.config.plan import DistillationPlan, NetworkPlan
from vsrkd_plugin.distillation.steps import TeacherStudent
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.models.adapting import adapt_teacher, channels_of
from vsrkd_plugin.models.sources import build_source, sources_that_need_not_learn
from vsrkd_plugin.models.teacher import build, build_teacher_and_entry
from vsrkd_plugin.ops.precision import autocast, resolve_precision
from vsrkd_plugin.run.checkpoints import fingerprint
from vsrkd_plugin.run.folder_lock import owned
from vsrkd_plugin.run.progress import progress
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter, fill, go_on

_SHARD_SEEDS = 1_000_003  # apart, so that those of a shard that is added to do not reach the next one's


def run(args: argparse.Namespace) -> int:
    """Fill the bank `args.o`; gives the exit status."""
    if torch.cuda.is_available():  # under torchrun each process has a GPU of its own
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK') or 0) % torch.cuda.device_count())
    fill_bank(checked_options(args), Path(args.o), args.n, args.batch, _shard(args.shard))
    return 0


def _shard(text: str | None) -> tuple[int, int]:
    """Which of how many; without `text` what torchrun says."""
    if text is None:
        return int(os.environ.get('RANK') or 0) + 1, int(os.environ.get('WORLD_SIZE') or 1)
    which, _, of = text.partition('/')
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise UserError(f'--shard: expected K/N with 1 <= K <= N, such as 1/4, got {text}')
    return int(which), int(of)


def fill_bank(
    opt: dict[str, Any], path: Path, number: int, batch: int | None = None, shard: tuple[int, int] = (1, 1)
) -> None:
    """Fill a bank from the sources of a distillation's options; go on with one that is there.

    Learning sources are left out: they learn against a student, in a training.

    Args:
        opt: validated and completed options of a DataFreeDistillationModel, or of its video sibling.
        path: the bank, a folder `*.lmdb`.
        number: samples in all, shared out among the scales and shards; rounded up.
        batch: samples made at a time; 16 images or 2 clips if None.
        shard: which of how many: each is made by itself, on any machine, in a folder of its own (`a.1-of-4.lmdb`).

    Raises:
        UserError: options of another model, no source left, a count below 1, a bank that cannot be written, or
            that another process writes.
    """
    plan = distillation_plan(opt, 'synthesize')
    batch = batch if batch is not None else 2 if plan.clips else 16
    if number < 1 or batch < 1:
        raise UserError(f'synthesize: -n and --batch must be at least 1, got {number} and {batch}')
    plan = sources_that_need_not_learn(plan, 'synthesize')
    if plan.teacher is None or plan.teacher.weights is None:
        raise UserError('synthesize: expected a teacher (network_t, path, pretrain_network_t)')
    which, of = shard
    if of > 1:
        path = path.with_name(f'{path.stem}.{which}-of-{of}{path.suffix}')
    with owned(path, '-o'):
        _fill_owned(plan, plan.teacher, path, number, batch, shard)


def _fill_owned(
    plan: DistillationPlan, trained: NetworkPlan, path: Path, number: int, batch: int, shard: tuple[int, int]
) -> None:
    """`fill_bank` of the bank at `path` itself, which nobody else writes meanwhile; `trained` is the teacher."""
    which, of = shard
    device = torch.device('cuda' if plan.on_gpu else 'cpu')
    within = partial(autocast, device, resolve_precision(plan.precision, device))
    teacher, entry = build_teacher_and_entry(trained, device)
    print(f'The teacher is {entry or "the weights"} of {trained.weights}')
    kind = plan.kept_spec(channels_of(plan, teacher, build(plan.student)))
    adapter = adapt_teacher(plan, teacher)
    # Only `teacher_target` is called, which asks the teacher alone; no student takes part.
    networks = TeacherStudent(adapter, adapter, within, plan.self_ensemble)
    goal = -(-number // (len(kind.lr_sizes) * of))
    said = 'the mean over flips and rotations of ' if plan.self_ensemble else ''
    # Banks of 0.1.0, which loaded `params` unless told, do not name the entry.
    of_entry = '' if entry in ('', 'params') else f', {entry}'
    said += f'{trained.weights}{of_entry}'
    weights = fingerprint(teacher.state_dict())
    writer = BankWriter(path, kind, teacher=said, capacity=goal, numbers=plan.bank.numbers, weights=weights)
    there = sum(writer.counts.values())
    plan = replace(plan, seed=plan.seed + (which - 1) * _SHARD_SEEDS)  # shards hold other samples than each other
    state = writer.newest_state(_made_by(plan, kind, said))
    if state is None:  # another seed for each addition, or it would bring the first samples once more
        plan = replace(plan, seed=plan.seed + there)
        writer.additions.append(_made_by(plan, kind, said))
        if there:
            alike = writer.made_of and writer.made_of[-1] == _made_of(plan)
            how = 'with another seed, or by a version that kept no state' if alike else 'by other options'
            print(f'{path}: its newest samples were made {how}; those of now are added.')
        if _made_of(plan) not in writer.made_of:
            writer.made_of.append(_made_of(plan))
    source = build_source(plan, kind.channels, device, within)
    if state is not None:
        try:
            go_on(source, state)
        except Exception as error:  # whatever damaged bytes make the reader raise
            raise UserError(f'{path}: the state of its source is damaged ({first_line(error)})') from error
    total = goal * len(kind.lr_sizes)
    with progress(total, str(path), 'sample', initial=min(there, total)) as told:
        fill(writer, source, networks.teacher_target, goal, batch, lambda done, _total: told.update(done - told.done))
    writer.close()
    megabytes = (path / 'data.mdb').stat().st_size / 1e6
    print(f'{path}: {sum(writer.counts.values()):,} samples, {megabytes:.0f} MB; {there:,} of them were there before')


def _made_by(plan: DistillationPlan, kind: SampleSpec, teacher: str) -> str:
    """Names what an addition holds: two banks that share one hold the same samples."""
    made_of = [
        plan.seed,
        [entry.options for entry in plan.sources],
        plan.clips and plan.clips.options,
        str(kind),
        teacher,
        *([asdict(plan.degradation)] if plan.degradation else []),
        *([{'candidates': plan.candidates}] if plan.candidates > 1 else []),
    ]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _made_of(plan: DistillationPlan) -> dict[str, Any]:
    """The same for people, and for trainings that expect something else."""
    made_of: dict[str, Any] = {'sources': [dict(entry.options) for entry in plan.sources]}
    if plan.candidates > 1:
        made_of['candidates'] = plan.candidates
    if plan.degradation:
        made_of['degrade'] = asdict(plan.degradation)
    if plan.clips:
        made_of['clips'] = plan.clips.movement
    return json.loads(json.dumps(made_of))  # as it will be read again
