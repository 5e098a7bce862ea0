"""Which student is proposed for a teacher, so many times faster: of the teacher's own family, or BasicSR's Compact."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.distillation.init_from_teacher.start import can_start
from vsrkd_plugin.errors import UserError, first_line, one_of
from vsrkd_plugin.inspection.low_rank import takes_rank
from vsrkd_plugin.inspection.teacher import Inspection, build
from vsrkd_plugin.recipe.building import built, called, contract_of
from vsrkd_plugin.recipe.limits import Limit, Operations, Time, largest_within
from vsrkd_plugin.recipe.narrower import default_widths, narrower, of_lower_rank

LOW_RANK = 'low_rank'
KINDS = ('same', 'compact', LOW_RANK)
COMPACT = 'SRVGGNetCompact'
_MOST_FEAT, _MOST_CONV, _LEAST_CONV = 64, 16, 7  # of Compact: the published one; fewer convolutions see too little


@dataclass(frozen=True)
class Proposal:
    """A student.

    Attributes:
        options: `{type, …}`.
        starts_from_teacher: it can take over the teacher's channels.
        why: the reason for the choice, in a sentence.
        params: weights.
        fewer_operations: how many times; None where they cannot be counted.
        contract: what options must say of it (`contract_g`): what they must say of its teacher, if they are of one
            class, for the class does not say it.
    """

    options: Mapping[str, Any]
    starts_from_teacher: bool
    why: str
    params: int
    fewer_operations: float | None
    contract: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The registered name of its class."""
        return str(self.options['type'])

    def build(self) -> nn.Module:
        """The student at its random start."""
        return built(self.options)


def propose(found: Inspection, kind: str | None = None, limit: Limit | None = None) -> Proposal:
    """A student of a teacher.

    Args:
        found: the teacher.
        kind: `same`, `compact`; None: the teacher's own family where the student can start from the teacher's channels,
            else Compact.
        limit: what it may cost; a quarter of the teacher's operations if None.

    Raises:
        UserError: there is no such student.
    """
    limit, asked = limit or Operations(), kind
    kind = 'same' if kind == LOW_RANK else kind
    if found.is_video:
        if kind == 'compact' or (kind == 'same' and found.options['type'] != 'RLSP'):
            raise UserError(f'--student {asked}: of a video teacher the student is an RLSP, or one of a FILE.yml')
        return _rlsp(found, limit)
    reason = ''
    if kind != 'compact' or found.options['type'] == COMPACT:
        options = _narrower_compact(found, limit) if found.options['type'] == COMPACT else narrower(found, limit)
        reason = f'no {found.options["type"]} is so small'
        if options is not None:
            student = built(options)
            reason = _reason_against(found, student, options)
            if not reason:
                return _proposal(found, options, student, True, "of the teacher's family, started from its channels")
        if kind == 'same':
            raise UserError(f'--student {asked}: {reason}')
    if len(found.scales) > 1:
        if kind != 'compact':
            raise UserError(f'{limit.asked}: {reason}, and {COMPACT} serves one scale, the teacher several')
        raise UserError(f'--student compact: {COMPACT} serves one scale, the teacher several; expected same')
    options = _compact(found, limit)
    return _proposal(found, options, built(options), False, "BasicSR's Compact, which works at LR size")


def candidates(found: Inspection, kind: str | None = None, limit: Limit | None = None) -> list[Proposal]:
    """Students of a teacher that cost the same, to be compared.

    Args:
        found: the teacher.
        kind: as of `propose`, which makes the first one; or `low_rank`: the teacher's own family, with more channels
            and layers of low rank. Such are there beside the first one, too, if the teacher's own class can have them.
        limit: as of `propose`.

    Raises:
        UserError: there is no such student.
    """
    limit = limit or Operations()
    first = propose(found, kind, limit)
    if kind != LOW_RANK and not (first.starts_from_teacher and takes_rank(first.options)):
        return [first]
    others = []
    for options in of_lower_rank(found, limit, first.options):
        student = built(options)
        if not _reason_against(found, student, options):
            why = f"of the teacher's family, started from it with layers of rank {options['rank']}"
            others.append(_proposal(found, options, student, True, why))
    if kind == LOW_RANK and not others:
        raise UserError(f'--student {LOW_RANK}: no {found.options["type"]} with layers of low rank costs as little')
    return others if kind == LOW_RANK else [first, *others]


def own_student(found: Inspection, options: Mapping[str, Any]) -> Proposal:
    """The student that the user names.

    Raises:
        UserError: it cannot be built, or does not take and give what the teacher does, at each of its scales.
    """
    try:
        student = built(options)
    except Exception as error:  # a class raises whatever it likes of its arguments
        raise UserError(f'--student: {options.get("type")} cannot be built: {first_line(error)}') from error
    try:
        adapter, x = called(found, student, options)
        for scale in found.scales:
            adapter(x, scale)
    except UNFIT as error:
        takes = 'clips' if found.is_video else 'Y' if found.channels == 1 else 'RGB'
        raise UserError(
            f'--student: {options.get("type")} cannot take the place of the teacher, which takes {takes} and enlarges '
            f'by {one_of([str(scale) for scale in found.scales])}: {first_line(error)}'
        ) from error
    starts = not found.is_video and not _reason_against(found, student, options)
    return _proposal(found, options, student, starts, 'as asked for')


def of_module(found: Inspection, student: nn.Module) -> Proposal:
    """A student that is there already."""
    options = {'type': type(student).__name__}
    return _proposal(found, options, student, not _reason_against(found, student, options), 'as given')


def _reason_against(found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> str:
    """Why a student cannot start from its teacher's channels; empty if it can."""
    comply(student, contract_of(found, options), options)
    clips = {found.scale: torch.rand(1, 4, 3, 24, 24)} if found.is_video else None
    return can_start(build(found), student, clips) or ''


def _proposal(found: Inspection, options: Mapping[str, Any], student: nn.Module, starts: bool, why: str) -> Proposal:
    ours, theirs = Operations().cost(found, student, options), found.macs_per_megapixel
    return Proposal(
        options=options,
        starts_from_teacher=starts,
        why=why,
        params=sum(parameter.numel() for parameter in student.parameters()),
        fewer_operations=theirs / ours if theirs and ours else None,
        contract=contract_of(found, options),
    )


def _narrower_compact(found: Inspection, limit: Limit) -> dict[str, Any]:
    options = {**default_widths(COMPACT), 'num_conv': _MOST_CONV, **found.options}
    student = _compact(found, limit, options['num_feat'], options['num_conv'])
    if all(student[key] == options[key] for key in ('num_feat', 'num_conv')):
        raise UserError(f'{limit.asked}: the teacher itself costs no more; expected less')
    return student


def _compact(
    found: Inspection, limit: Limit, most_feat: int = _MOST_FEAT, most_conv: int = _MOST_CONV
) -> dict[str, Any]:
    """The widest Compact within a limit that has enough convolutions.

    Wide and shallow is as good as narrow and deep, and faster.
    """

    def of(feat: int, conv: int) -> dict[str, Any]:
        return {
            'type': COMPACT,
            'num_in_ch': found.channels,
            'num_out_ch': found.channels,
            'num_feat': feat,
            'num_conv': conv,
            'upscale': found.scale,
            'act_type': 'prelu',
        }

    def cost(feat: int, conv: int) -> float:
        options = of(feat, conv)
        return limit.cost(found, built(options), options) or 0.0

    most = limit.most(found)
    for least_conv in (_LEAST_CONV, 1):
        for feat in range(most_feat, 7, -8):
            if least_conv > most_conv or cost(feat, least_conv) > most:
                continue
            more = largest_within(range(least_conv + 1, most_conv + 1), partial(cost, feat), most)
            return of(feat, more or least_conv)
    raise UserError(f'{limit.asked}: no Compact is so small; expected less')


def _rlsp(found: Inspection, limit: Limit) -> Proposal:
    """A recurrent student of a video network."""
    own = found.options['type'] == 'RLSP'
    base = dict(found.options) if own else {'type': 'RLSP', 'num_layer': 7, 'upscale': found.scale, 'normalised': True}
    if not own:
        base['centred'] = found.clip_degradation == 'bicubic'
    widths = range(8, max(int(found.options['num_feat']) - 8 if own else 64, 8) + 1, 8)

    def cost(feat: int) -> float | None:
        options = {**base, 'num_feat': feat}
        return limit.cost(found, built(options), options)

    feat = largest_within(widths, cost, limit.most(found))
    if feat is None and isinstance(limit, Time):
        raise UserError(f'{limit.asked}: no RLSP is so small; expected more time')
    options = {**base, 'num_feat': feat or widths[0]}
    why = "of the teacher's family, started from its channels" if own else 'RLSP, recurrent and light'
    return _proposal(found, options, built(options), own, why)
