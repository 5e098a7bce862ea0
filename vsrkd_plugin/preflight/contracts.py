"""What networks want and do not say: noticed before anything starts, and told with the option that would say it."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from vsrkd_plugin.adapters.complying import complies
from vsrkd_plugin.adapters.contract import UNFIT, NetworkContract, innermost
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.adapters.probing import NEAR, Range, best_value_range, smallest_size_and_multiple
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.models.adapting import adapt_teacher
from vsrkd_plugin.preflight.trial import described


def check_value_range(plan: DistillationPlan, teacher: nn.Module) -> str | None:
    """Whether a trained teacher comes near bicubic on a smooth image, as every super-resolver does.

    Where another range than its contract's fits exactly, the contract is wrong. If options say the range, that is so
    only where the teacher makes no image in it.

    Returns:
        A warning, if it comes near in no range: perhaps it is no plain super-resolver.

    Raises:
        UserError: another range than its contract's fits exactly, or what it gives is not finite.
    """
    scale = min(plan.scales)
    try:
        found = best_value_range(adapt_teacher(plan, freeze(teacher)), scale)
    except UNFIT as error:
        raise UserError(f'network_t: does not fit scale {scale}: {told(error, "network_t", teacher)}') from error
    name, distance = type(innermost(teacher)).__name__, found.errors[found.said]
    away = f'path, pretrain_network_t: on a smooth image {name} is {distance:.2g} away from bicubic'
    nearest = min(found.errors, key=lambda values: found.errors[values])
    would = f'with contract_t: {{value_range: {_listed(nearest)}}} it would be {found.errors[nearest]:.2g}'
    if nearest == found.best != found.said and ('value_range' not in _said(plan) or distance > NEAR):
        raise UserError(f'{away}; {would}')
    if math.isinf(distance):
        raise UserError(f'path, pretrain_network_t: on a smooth image {name} gives values that are not finite')
    if distance <= NEAR:
        return None
    return f'{away} (white is 1)' + (f'; {would}' if nearest != found.said else '')


def _said(plan: DistillationPlan) -> Mapping[str, Any]:
    return plan.teacher.contract if plan.teacher else {}


def _listed(values: Range) -> str:
    return f'[{values[0]:g}, {values[1]:g}]'


def told(error: BaseException, key: str, network: nn.Module, frames: int | None = None) -> str:
    """Why a network cannot be called, in one line, with the option of its contract that would mend it, if there is one.

    Args:
        error: what calling it raised.
        key: of the network in the options (`network_g`).
        network: as the run builds it.
        frames: of the clips that it was given; None for images.
    """
    said = _mends(network, frames) if complies(network) else {}
    if not said:
        return described(error)
    settings = ', '.join(f'{name}: {str(value).lower()}' for name, value in said.items())
    return f'{described(error)}; try contract_{key.removeprefix("network_")}: {{{settings}}}'


def _mends(network: nn.Module, frames: int | None) -> Mapping[str, Any]:
    """Fields of a contract that a network does not say and wants."""
    contract, inner = NetworkContract.of(network), innermost(network)
    if frames is None and not contract.multi_scale and 'scale' in inspect.signature(inner.forward).parameters:
        return {'multi_scale': True}
    sizes = smallest_size_and_multiple(network, frames)
    if sizes is None:
        return {}
    wanted = {'size_multiple': sizes.size_multiple, 'min_size': sizes.min_size}
    return {name: value for name, value in wanted.items() if value > 1 and value != getattr(contract, name)}
