"""`basicsr synthesize`: fills a bank with inputs and what the teacher says of them."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vsrkd_plugin.distillation.steps import Pair
from vsrkd_plugin.distillation.super_resolver import SuperResolver, input_channels
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.sources import build_source, lr_sizes, sources_that_need_not_learn
from vsrkd_plugin.models.teacher import build_teacher
from vsrkd_plugin.ops.precision import autocast, resolve_precision
from vsrkd_plugin.synthesis.bank_file import BankWriter, fill


def fill_bank(opt: dict[str, Any], path: Path, number: int, batch: int = 16) -> None:
    """Fill a bank from the sources of a distillation's options; go on with one that is there.

    Learning sources are left out: they learn against a student, in a training.

    Args:
        opt: validated and completed options of a DataFreeDistillationModel.
        path: the bank, a folder `*.lmdb`.
        number: pairs in all, shared out among the scales; rounded up.
        batch: pairs made at a time.

    Raises:
        UserError: options of another model, no source left, a count below 1, a bank that cannot be written.
    """
    if 'synthesis' not in opt:
        raise UserError(f'synthesize: expected options of a DataFreeDistillationModel, got {opt["model_type"]}')
    if opt['synthesis'].get('clips'):
        raise UserError('synthesize: banks on disk hold images; clips can be kept in memory (synthesis, bank, reuse)')
    if number < 1 or batch < 1:
        raise UserError(f'synthesize: -n and --batch must be at least 1, got {number} and {batch}')
    settings = sources_that_need_not_learn(opt, 'synthesize')
    device = torch.device('cuda' if opt['num_gpu'] else 'cpu')
    within = partial(autocast, device, resolve_precision(opt.get('precision', 'auto'), device))
    teacher = build_teacher(opt, device)
    channels, sizes = input_channels(teacher, opt['network_t']), lr_sizes(opt)
    resolver = SuperResolver(teacher, channels)
    # `Pair.label` asks the teacher alone; no student takes part.
    pair = Pair(resolver, resolver, within, opt['train'].get('self_ensemble', False))
    goal = -(-number // len(sizes))
    said = 'the mean over flips and rotations of ' if pair.self_ensemble else ''
    writer = BankWriter(
        path, channels=channels, lr_sizes=sizes, teacher=f'{said}{opt["path"]["pretrain_network_t"]}', capacity=goal
    )
    there = sum(writer.counts.values())
    # Another seed for each addition, or it would bring the first pairs once more.
    settings['manual_seed'] += there
    source = build_source(settings, channels, device, within)
    with tqdm(total=goal * len(sizes), initial=min(there, goal * len(sizes)), unit='pair', desc=str(path)) as bar:
        fill(writer, source.sample, pair.label, goal, batch, lambda done, total: bar.update(done - bar.n))
    writer.close()
    megabytes = (path / 'data.mdb').stat().st_size / 1e6
    print(f'{path}: {sum(writer.counts.values()):,} pairs, {megabytes:.0f} MB; {there:,} of them were there before')
