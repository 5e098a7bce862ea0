"""Which student is proposed for a teacher, so many times faster: of the teacher's own family, or BasicSR's Compact."""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.distillation.init_from_teacher.start import can_start
from vsrkd_plugin.errors import UserError, first_line, one_of
from vsrkd_plugin.inspection.teacher import Inspection, build
from vsrkd_plugin.reports.complexity import count_macs

KINDS = ('same', 'compact')
SPEEDUP = 4.0
COMPACT = 'SRVGGNetCompact'
_MOST_FEAT, _MOST_CONV, _LEAST_CONV = 64, 16, 7  # of Compact: the published one; fewer convolutions see too little
# Arguments by which classes are told how wide they are; all are made narrower alike.
_WIDTHS = (
    'num_feat', 'num_grow_ch', 'embed_dim', 'mid_channels', 'num_channel', 'feature_channels', 'dim', 'n_feats',
    'num_filters', 'nf', 'gc', 'n_feat', 'num_features', 'channels', 'hidden_channels',
)  # fmt: skip
_STEPS = (16, 8, 4, 2, 1)  # widths are multiples of these: the coarsest that leaves a choice, which computes fastest
_SIDE, _FRAMES = 48, 7  # LR pixels, and of clips
_TOLERATED = 1.05  # times the operations that were asked for


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
        return _built(self.options)


def propose(found: Inspection, kind: str | None = None, speedup: float = SPEEDUP) -> Proposal:
    """A student of a teacher.

    Args:
        found: the teacher.
        kind: `same`, `compact`; None: the teacher's own family where the student can start from the teacher's channels,
            else Compact.
        speedup: how many times fewer operations.

    Raises:
        UserError: there is no such student.
    """
    if found.is_video:
        if kind == 'compact' or (kind == 'same' and found.options['type'] != 'RLSP'):
            raise UserError(f'--student {kind}: of a video teacher the student is an RLSP, or one of a FILE.yml')
        return _rlsp(found, speedup)
    if kind != 'compact' or found.options['type'] == COMPACT:
        reason = ''
        for options in _narrower(found, speedup):
            student = _built(options)
            reason = _reason_against(found, student, options)
            if not reason:
                return _proposal(found, options, student, True, "of the teacher's family, started from its channels")
            break
        if kind == 'same':
            raise UserError(f'--student same: {reason or "no narrower network of this family can be built"}')
    if len(found.scales) > 1:
        raise UserError(f'--student compact: {COMPACT} serves one scale, the teacher several; expected same')
    options = _compact(found, speedup)
    return _proposal(found, options, _built(options), False, "BasicSR's Compact, which works at LR size")


def own_student(found: Inspection, options: Mapping[str, Any]) -> Proposal:
    """The student that the user names.

    Raises:
        UserError: it cannot be built, or does not take and give what the teacher does, at each of its scales.
    """
    try:
        student = _built(options)
    except Exception as error:  # a class raises whatever it likes of its arguments
        raise UserError(f'--student: {options.get("type")} cannot be built: {first_line(error)}') from error
    try:
        adapter, x = _called(found, student, options)
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


def _contract(found: Inspection, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was found of the teacher's class holds for a student of the same."""
    keys = ('type', 'family', 'model')
    return found.contract if all(options.get(key) == found.options.get(key) for key in keys) else {}


def _reason_against(found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> str:
    """Why a student cannot start from its teacher's channels; empty if it can."""
    comply(student, _contract(found, options), options)
    return can_start(build(found), student) or ''


def _proposal(found: Inspection, options: Mapping[str, Any], student: nn.Module, starts: bool, why: str) -> Proposal:
    ours, theirs = _operations(found, student, options), found.macs_per_megapixel
    return Proposal(
        options=options,
        starts_from_teacher=starts,
        why=why,
        params=sum(parameter.numel() for parameter in student.parameters()),
        fewer_operations=theirs / ours if theirs and ours else None,
        contract=_contract(found, options),
    )


def _built(options: Mapping[str, Any]) -> nn.Module:
    with redirect_stdout(StringIO()), torch.random.fork_rng(devices=[]):
        return build_network(dict(options)).eval()


def _operations(found: Inspection, student: nn.Module, options: Mapping[str, Any]) -> float | None:
    """Multiply-accumulates for a megapixel of the result."""
    adapter, x = _called(found, student, options)
    macs = count_macs(adapter, x, found.scale, x.shape[1] if found.is_video else 1)
    return macs and macs / (_SIDE * found.scale) ** 2 * 1e6


@torch.no_grad()
def _called(
    found: Inspection, student: nn.Module, options: Mapping[str, Any]
) -> tuple[ImageSRAdapter | VideoSRAdapter, Tensor]:
    """A student called as its teacher's kind is, and an input."""
    comply(student, _contract(found, options), options)
    if found.is_video:
        return VideoSRAdapter(student, found.scale, options, lr_size=_SIDE), torch.rand(1, _FRAMES, 3, _SIDE, _SIDE)
    return ImageSRAdapter(student, found.channels, _SIDE), torch.rand(1, found.channels, _SIDE, _SIDE)


def _narrower(found: Inspection, speedup: float) -> Iterator[dict[str, Any]]:
    """Networks of the teacher's family with as many operations as asked for, the widest first."""
    options = {**_default_widths(str(found.options['type'])), **found.options}
    if options['type'] == COMPACT:
        yield _compact(found, speedup, options['num_feat'], options['num_conv'])
        return
    widths = [key for key in _WIDTHS if isinstance(options.get(key), int)]
    if not widths:
        return
    allowed = (found.macs_per_megapixel or math.inf) / speedup
    multiple = _multiple(options)
    main = options[widths[0]]
    # A count of operations is nearly proportional to the square of the width: begin a little above.
    first = int(main / math.sqrt(speedup) * 1.15) // multiple * multiple
    for width in range(min(first, main - multiple), 0, -multiple):
        narrow = {**options, **{key: max(round(options[key] * width / main), 1) for key in widths[1:]}}
        narrow[widths[0]] = width
        try:
            operations = _operations(found, _built(narrow), narrow)
        except (*UNFIT, ZeroDivisionError):
            continue  # a width that the class does not take
        if operations is None or operations <= allowed * _TOLERATED:
            yield narrow
            return


def _default_widths(name: str) -> dict[str, int]:
    """How wide a registered class is that is told nothing; nothing of one that is not registered (a module)."""
    if name not in ARCH_REGISTRY:
        return {}
    parameters = inspect.signature(ARCH_REGISTRY.get(name)).parameters
    defaults = {key: parameters[key].default for key in _WIDTHS if key in parameters}
    return {key: value for key, value in defaults.items() if isinstance(value, int)}


def _multiple(options: Mapping[str, Any]) -> int:
    """Of what the width must be a multiple: heads share it, squeezing divides it."""
    heads = options.get('num_heads')
    each = [heads] if isinstance(heads, int) else list(heads) if isinstance(heads, (list, tuple)) else []
    needed = math.lcm(*[head for head in each if isinstance(head, int)], options.get('squeeze_factor') or 1)
    if needed > 1:
        return needed
    width = next(options[key] for key in _WIDTHS if isinstance(options.get(key), int))
    return next(step for step in _STEPS if width >= 16 * step or step == 1)


def _compact(
    found: Inspection, speedup: float, most_feat: int = _MOST_FEAT, most_conv: int = _MOST_CONV
) -> dict[str, Any]:
    """The widest Compact with so many times fewer operations than the teacher, and enough convolutions.

    Wide and shallow is as good as narrow and deep, and faster.
    """
    scale, channels = found.scale, found.channels
    # Of an LR pixel, which becomes scale² pixels of the result.
    allowed = (found.macs_per_megapixel or math.inf) / speedup / 1e6 * scale**2 * _TOLERATED
    for least_conv in (_LEAST_CONV, 1):
        for feat in range(most_feat, 7, -8):
            ends = 9 * feat * channels * (1 + scale**2)
            conv = int(min((allowed - ends) // (9 * feat * feat), most_conv)) if math.isfinite(allowed) else most_conv
            if conv >= least_conv:
                return {
                    'type': COMPACT,
                    'num_in_ch': channels,
                    'num_out_ch': channels,
                    'num_feat': feat,
                    'num_conv': conv,
                    'upscale': scale,
                    'act_type': 'prelu',
                }
    raise UserError(f'--speedup {speedup:g}: no Compact is so small; expected less')


def _rlsp(found: Inspection, speedup: float) -> Proposal:
    """A recurrent student of a video network."""
    own = found.options['type'] == 'RLSP'
    base = dict(found.options) if own else {'type': 'RLSP', 'num_layer': 7, 'upscale': found.scale, 'normalised': True}
    if not own:
        base['centred'] = found.clip_degradation == 'bicubic'
    most = int(found.options['num_feat']) - 8 if own else 64
    allowed = (found.macs_per_megapixel or math.inf) / speedup
    for feat in range(max(most, 8), 0, -8):
        options = {**base, 'num_feat': feat}
        student = _built(options)
        operations = _operations(found, student, options)
        if operations is None or operations <= allowed * _TOLERATED or feat == 8:
            why = "of the teacher's family, started from its channels" if own else 'RLSP, recurrent and light'
            return _proposal(found, options, student, own, why)
    raise UserError(f'--speedup {speedup:g}: no RLSP is so small; expected less')
