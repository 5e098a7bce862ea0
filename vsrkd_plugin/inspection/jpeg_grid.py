"""Whether a picture was a JPEG, and of which quality: its DCT coefficients stand on the comb of a table."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from basicsr.utils.diffjpeg import y_table

SIDE = 8  # of a block
LUMA = np.array([0.299, 0.587, 0.114])  # of RGB
_QUALITIES = np.arange(5, 99)
_MOST_BLOCKS = 600  # of one picture that are looked at
_FEWEST = 40  # coefficients that are not zero, below which nothing is said
_ROUNDING = 0.33  # sigma of a coefficient of luma, of the rounding of pixels to 8 bits
_STRANGE = 0.02  # share of coefficients that stand off the comb for other reasons
_CERTAIN, _CERTAIN_EACH = 30.0, 0.15  # log likelihood ratio, of all coefficients and of each: then there is a comb
# Zigzag order: low frequencies have the small steps, and are the ones that are not all zero.
_USED = sorted(((u, v) for u in range(SIDE) for v in range(SIDE) if 0 < u + v < 5), key=sum)


@dataclass(frozen=True)
class Comb:
    """The grid of a picture that was a JPEG.

    Attributes:
        quality: 5 to 98.
        top, left: where its first whole block begins; 0 unless the picture was cropped.
        steps: `(8, 8)`: of the quantisation of luma, `[u, v]` down and right.
    """

    quality: int
    top: int
    left: int
    steps: np.ndarray


def jpeg_luma(rgb: np.ndarray) -> np.ndarray:
    """Luma `(h, w)` as JPEG has it, in the units of `(3, h, w)`; a single channel is its own."""
    return rgb[0] if len(rgb) == 1 else np.tensordot(LUMA, rgb, 1)


def find_comb(luma: np.ndarray) -> Comb | None:
    """The comb of a picture's luma `(h, w)` in levels of 255, not rounded again; None where there is none."""
    top, left = 0, 0
    found = _best(luma, 0, 0)
    if found is None and (at := _offset(luma)) != (0, 0):
        top, left = at
        found = _best(luma, top, left)
    return None if found is None else Comb(found[0], top, left, found[1])


def block_dct(luma: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
    """Orthonormal DCT of whole 8x8 blocks of `(h, w)` from an offset: `(rows, columns, 8, 8)`, NaN where clipped."""
    height, width = ((length - start) // SIDE for length, start in zip(luma.shape, (top, left), strict=True))
    cut = luma[top : top + height * SIDE, left : left + width * SIDE]
    blocks = cut.reshape(height, SIDE, width, SIDE).swapaxes(1, 2)
    basis = _basis()
    inside = (blocks.min((2, 3)) > 2) & (blocks.max((2, 3)) < 253)
    return np.where(inside[..., None, None], basis @ blocks @ basis.T, np.nan)


def unclipped(blocks: np.ndarray) -> np.ndarray:
    """`(n, 8, 8)`: those of `block_dct` that hold no clipping."""
    blocks = blocks.reshape(-1, SIDE, SIDE)
    return blocks[np.isfinite(blocks[:, 0, 0])]


@lru_cache(maxsize=1)
def _basis() -> np.ndarray:
    place = np.arange(SIDE)
    basis = np.cos((2 * place[None] + 1) * place[:, None] * np.pi / (2 * SIDE)) * np.sqrt(2 / SIDE)
    basis[0] /= np.sqrt(2)
    return basis


@lru_cache(maxsize=1)
def _tables() -> np.ndarray:
    """`(2, qualities, 8, 8)`: as libjpeg rounds its tables, and as BasicSR's DiffJPEG leaves them."""
    # BasicSR keeps the table transposed.
    standard = np.asarray(y_table.detach(), np.float64).T
    factor = np.where(_QUALITIES < 50, 50 / _QUALITIES, 2 - _QUALITIES / 50)[:, None, None]
    exact = standard * factor
    return np.stack([np.clip(np.floor(exact + 0.5), 1, 255), exact])


def _best(luma: np.ndarray, top: int, left: int) -> tuple[int, np.ndarray] | None:
    """Quality and steps of the likeliest comb, None where none is likelier than none."""
    blocks = unclipped(block_dct(luma, top, left))
    if len(blocks) > _MOST_BLOCKS:
        blocks = blocks[np.linspace(0, len(blocks) - 1, _MOST_BLOCKS).astype(int)]
    tables = _tables()
    score, number = np.zeros(tables.shape[:2]), 0
    for u, v in _USED:
        values = np.abs(blocks[:, u, v])
        # Those near zero tell nothing: images are smooth, and have them with or without a comb.
        values = values[values > 4 * _ROUNDING].astype(np.float32)
        number += len(values)
        steps, back = np.unique(tables[:, :, u, v], return_inverse=True)
        at = steps[:, None].astype(np.float32)
        rest = values - np.rint(values / at) * at
        on_it = at * np.exp(-0.5 * (rest / _ROUNDING) ** 2) / (_ROUNDING * np.sqrt(2 * np.pi))
        score += np.log((1 - _STRANGE) * on_it + _STRANGE).sum(1)[back].reshape(score.shape)
    kind, row = np.unravel_index(int(score.argmax()), score.shape)
    best = float(score[kind, row])
    if number < _FEWEST or best < _CERTAIN or best < _CERTAIN_EACH * number:
        return None
    return int(_QUALITIES[row]), tables[kind, row]


def _offset(luma: np.ndarray) -> tuple[int, int]:
    """Where the borders of blocks stand out the most."""
    found = []
    for axis in (0, 1):
        step = np.abs(np.diff(luma, axis=axis)).mean(1 - axis)
        step = step[1:-1] - (step[:-2] + step[2:]) / 2  # between pixels i + 1 and i + 2
        found.append(int(np.argmax([np.median(step[(start - 2) % SIDE :: SIDE]) for start in range(SIDE)])))
    return found[0], found[1]
