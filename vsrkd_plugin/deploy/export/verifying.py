"""Is a file what the network is? Run in its own runtime, beside the network, at three sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.deploy.export.exportable import Exportable, made_pictures
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.errors import UserError, first_line

Runner = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]

SIZES = ((1, 48, 40), (2, 33, 47), (1, 21, 17))  # batch, height and width of LR
_FRAMES = 7  # of a clip
_CALLS = 3  # in turn at each size: a recurrent step begins with an empty state


@dataclass(frozen=True)
class Tolerance:
    """What a precision may differ by: `maximum` of any value (of those beyond 1 a share), `psnr` in dB at least."""

    maximum: float
    psnr: float


TOLERANCES = {
    # fp32: the order of sums alone. Deep networks of much contrast reach some 1e-5; a wrong border is above 1e-3.
    'fp32': Tolerance(1e-4, 80),
    'fp16': Tolerance(0.05, 45),
    'int8': Tolerance(0.5, 30),
}


@dataclass(frozen=True)
class Deviation:
    """Of a file's outputs from the network's: the largest of any value and size, and the lowest PSNR in dB."""

    maximum: float
    psnr: float


def verify(
    exportable: Exportable, run: Runner, precision: str, any_batch: bool = True, any_size: bool = True
) -> Deviation:
    """Compare a file with its network on made inputs, at `SIZES`.

    Args:
        exportable: the network, fp32.
        run: the file in its runtime, from input arrays to output arrays.
        precision: a key of `TOLERANCES`.
        any_batch: else every batch is 1.
        any_size: else sizes are those that the network itself takes.

    Raises:
        UserError: it cannot be run, gives another shape, or differs by more than its precision explains.
    """
    deviations = []
    for batch, height, width in SIZES:
        if not any_size:
            height, width = exportable.fitting(height), exportable.fitting(width)
        told = f'at {height}x{width}'
        state: list[np.ndarray] = []  # of a recurrent step: the file goes on from its own
        for inputs in exportable.samples(_CALLS, height, width, batch if any_batch else 1):
            with torch.no_grad():
                expected = exportable.outputs_of(inputs)
            try:
                found = run([inputs[0].numpy(), *(state or (value.numpy() for value in inputs[1:]))])
            except Exception as error:  # whatever a runtime raises of a file that it cannot run
                raise UserError(f'not exported: the file cannot be run {told} ({first_line(error)})') from error
            state = list(found[1:])
            # What a state is off by shows in the next picture; how much that is depends on the network alone.
            compared = len(expected) if precision == 'fp32' else 1
            deviations += [
                _compare(one.numpy(), other, told) for one, other in list(zip(expected, found, strict=True))[:compared]
            ]
    return _accepted(deviations, precision)


def verify_weights(model: Model, run: Runner, precision: str, scale: int) -> Deviation:
    """Compare a network with weights that were read back from a file with the one that was written; as `verify`."""
    _, height, width = SIZES[0]
    deviations = []
    for index in range(_CALLS):
        shape = (1, _FRAMES) if model.is_video else (1,)
        side = max(height, width, NetworkContract.of(model.network).min_size)
        pictures = made_pictures(index, 1, model.header.channels, side, side)
        given = pictures.expand(*shape, *pictures.shape[1:])
        with torch.no_grad():
            expected = model.adapter(given, scale)
        deviations.append(_compare(expected.numpy(), run([given.numpy()])[0], f'at {side}x{side}'))
    return _accepted(deviations, precision)


def _accepted(deviations: Sequence[Deviation], precision: str) -> Deviation:
    worst = Deviation(max(one.maximum for one in deviations), min(one.psnr for one in deviations))
    tolerance = TOLERANCES[precision]
    if not (worst.maximum <= tolerance.maximum and worst.psnr >= tolerance.psnr):
        raise UserError(
            f'not exported: the file differs from the network by {worst.maximum:.1e} ({worst.psnr:.1f} dB); of '
            f'{precision} at most {tolerance.maximum:.0e} and at least {tolerance.psnr:.0f} dB are expected'
        )
    return worst


def _compare(expected: np.ndarray, found: np.ndarray, told: str) -> Deviation:
    if expected.shape != found.shape:
        raise UserError(f'not exported: the file gives {found.shape} {told}, expected {expected.shape}')
    if not np.isfinite(found).all():  # NaN would be lost in a maximum
        raise UserError(f'not exported: the file gives values {told} that are not finite')
    size = max(1.0, float(np.abs(expected).max()))
    difference = np.abs(expected.astype(np.float64) - found) / size
    square = float(np.square(difference).mean())
    return Deviation(float(difference.max()), -10 * float(np.log10(max(square, 1e-20))))
