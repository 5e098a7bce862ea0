"""The noise of pictures, from the flattest of their 8x8 blocks."""

from collections.abc import Sequence

import numpy as np

from vsrkd_plugin.inspection.jpeg_grid import SIDE

_FLAT = 0.08  # share of the blocks that are the flattest ones
_FLATTEST = 0.02  # where they are quantised
_PLACE = np.add.outer(np.arange(SIDE), np.arange(SIDE))  # u + v
_ROUNDING = 1 / 12  # variance of rounding to 8 bits
_SIGMAS = np.geomspace(0.3, 60, 160)  # that are tried where coefficients are quantised
_QUIET = 0.4  # share of the flat blocks that are believed to be flat
_DRAWN = 3000  # blocks of noise that they are compared with
_LEAST_SEEN = 0.05  # levels of a block, from which on noise is seen
_SMALL_STEPS = 20  # quantised coefficients that are looked at: those of the smallest steps


def plain_noise(blocks: np.ndarray, judged_by: np.ndarray | None = None) -> float:
    """Sigma of white noise, in levels, of blocks `(n, 8, 8)` of DCT coefficients that no JPEG has quantised.

    Args:
        blocks: of the channel that is measured.
        judged_by: of the same blocks in luma, by which the flat ones are chosen; `blocks` if not given.
    """
    judged = blocks if judged_by is None else judged_by
    low, high = (_PLACE > 0) & (_PLACE < 6), _PLACE >= 8
    flat = blocks[_flattest(judged[:, low])]
    # White noise has the same energy at every frequency, content less and less: the half with less of it.
    energy = np.median(flat[:, high] ** 2) / 0.4549
    return float(np.sqrt(max(energy - _ROUNDING, 0)))


def quantised_noise(blocks: Sequence[np.ndarray], steps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Sigma of white noise of luma before JPEG, in levels, by which coefficients of flat blocks became zero.

    Args:
        blocks: of each picture, `(rows, columns, 8, 8)` DCT coefficients on its own grid; NaN where clipped.
        steps: of each picture, `(8, 8)`.

    Returns:
        The sigma, 0 where every coefficient became zero, and the largest sigma of which that may be so.
    """
    order = [divmod(int(at), SIDE) for at in np.argsort(np.mean(steps, 0), axis=None)]
    used = [at for at in order if at != (0, 0)][:_SMALL_STEPS]
    judged, index, table = [], [], []
    for part, step in zip(blocks, steps, strict=True):
        judged.append(_surroundings(part))
        flat = part.reshape(-1, SIDE, SIDE)
        table.append(np.broadcast_to([step[at] for at in used], (len(flat), len(used))))
        index.append(np.abs(np.rint(np.stack([flat[:, u, v] for u, v in used], 1) / table[-1])))
    energy = np.concatenate(judged)
    number = int(np.isfinite(energy).sum())
    chosen = np.argsort(energy, kind='stable')[: min(number, max(16, int(number * _FLATTEST)))]
    if not number:
        return 0.0, float(_SIGMAS[-1])
    seen = _quiet_half(np.concatenate(index)[chosen].sum(1))
    step = np.concatenate(table)[chosen]
    step = step[np.linspace(0, len(step) - 1, _DRAWN).astype(int)]
    normal = np.abs(np.random.default_rng(0).standard_normal(step.shape))
    expected = np.array([_quiet_half(np.rint(normal * sigma / step).sum(1)) for sigma in _SIGMAS])
    expected = np.maximum.accumulate(expected)
    hidden = float(_SIGMAS[min(int((expected < _LEAST_SEEN).sum()), len(_SIGMAS) - 1)])
    return (float(np.interp(seen, expected, _SIGMAS)) if seen > _LEAST_SEEN else 0.0), hidden


def _quiet_half(levels: np.ndarray) -> float:
    """Mean of the lower part of the blocks; content, which some of the flat ones have, does not count so."""
    return float(np.sort(levels)[: max(1, int(len(levels) * _QUIET))].mean())


def _flattest(coefficients: np.ndarray) -> np.ndarray:
    """Numbers of the rows of least energy."""
    energy = (coefficients**2).sum(1)
    return np.argsort(energy, kind='stable')[: max(16, int(len(energy) * _FLAT))]


def _surroundings(blocks: np.ndarray) -> np.ndarray:
    """Energy of the second quietest of the four blocks beside each block, flattened; infinite at borders and clipping.

    That of the block itself would choose blocks of little noise.
    """
    energy = (blocks**2).sum((2, 3)) - blocks[:, :, 0, 0] ** 2
    energy = np.where(np.isfinite(energy), energy, np.inf)
    around = np.full(energy.shape, np.inf)
    if min(energy.shape) > 2:
        beside = [energy[:-2, 1:-1], energy[2:, 1:-1], energy[1:-1, :-2], energy[1:-1, 2:]]
        around[1:-1, 1:-1] = np.where(np.isfinite(energy[1:-1, 1:-1]), np.sort(beside, 0)[1], np.inf)
    return around.reshape(-1)
