"""Networks of a teacher's family that cost less: with fewer channels, or with more of them and a low rank."""

import inspect
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from vsrkd_plugin.inspection.low_rank import of_low_rank
from vsrkd_plugin.inspection.teacher import Inspection
from vsrkd_plugin.recipe.building import built
from vsrkd_plugin.recipe.limits import Limit, Operations, largest_within

# Arguments by which classes are told how wide they are; all are made narrower alike.
_WIDTHS = (
    'num_feat', 'num_grow_ch', 'embed_dim', 'mid_channels', 'num_channel', 'feature_channels', 'dim', 'n_feats',
    'num_filters', 'nf', 'gc', 'n_feat', 'num_features', 'channels', 'hidden_channels',
)  # fmt: skip
_STEPS = (16, 8, 4, 2, 1)  # widths are multiples of these: the coarsest that leaves a choice, which computes fastest
_WIDER = (1.25, 1.5, 2.0)  # times the channels, of what is proposed with a low rank
_LEAST_RANK = 1 / 8  # of the channels: fewer hold too little of what a layer does


def narrower(found: Inspection, limit: Limit) -> dict[str, Any] | None:
    """The widest network of the teacher's family, narrower than it, within a limit; None if there is none."""
    options = {**default_widths(str(found.options['type'])), **found.options}
    main = main_width(options)
    if main is None:
        return None
    multiple = _multiple(options)
    top = options[main] - multiple
    if isinstance(limit, Operations):
        # Operations are nearly proportional to the square of the width: a little above, also where none are counted.
        top = min(top, int(options[main] / math.sqrt(limit.speedup) * 1.15) // multiple * multiple)
    width = largest_within(
        range(multiple, top + 1, multiple),
        lambda width: _cost(found, limit, of_width(options, width)),
        limit.most(found),
    )
    return None if width is None else of_width(options, width)


def of_lower_rank(found: Inspection, limit: Limit, narrow: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Networks within the same limit with more channels than `narrow`, at most the teacher's, and layers of the highest
    rank that they can afford."""
    main = main_width(narrow)
    most = main and {**default_widths(str(found.options['type'])), **found.options}.get(main)
    if main is None or not isinstance(most, int):
        return
    multiple = _multiple({**narrow, main: most})
    widths = {min(-(-int(narrow[main] * times) // multiple) * multiple, most) for times in _WIDER}
    for width in sorted(width for width in widths if width > narrow[main]):
        wide = of_width(narrow, width)
        step = max(1, width // 12 // 2 * 2)
        ranks = range(-(-max(1, int(width * _LEAST_RANK)) // step) * step, width, step)
        rank = largest_within(ranks, partial(_cost_of_rank, found, limit, wide), limit.most(found))
        if rank is not None:
            yield of_low_rank(wide, rank)


def _cost(found: Inspection, limit: Limit, options: Mapping[str, Any]) -> float | None:
    return limit.cost(found, built(options), options)


def _cost_of_rank(found: Inspection, limit: Limit, wide: Mapping[str, Any], rank: int) -> float | None:
    return _cost(found, limit, of_low_rank(wide, rank))


def of_width(options: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Options of a network of another width; all of its widths change alike."""
    main = main_width(options)
    assert main is not None
    others = [key for key in _WIDTHS if isinstance(options.get(key), int) and key != main]
    return {**options, **{key: max(round(options[key] * width / options[main]), 1) for key in others}, main: width}


def main_width(options: Mapping[str, Any]) -> str | None:
    """The option that says how wide a network is."""
    return next((key for key in _WIDTHS if isinstance(options.get(key), int)), None)


def default_widths(name: str) -> dict[str, int]:
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
    width = options[main_width(options) or '']
    return next(step for step in _STEPS if width >= 16 * step or step == 1)
