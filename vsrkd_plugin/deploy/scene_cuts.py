"""Where a film cuts from one scene to another: what a video network remembers must not be carried over."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_SIZE = (36, 64)  # of the small frames that are compared
_BLOCK = 9, 8  # of them in a block that is looked for in the frame before
_REACH = 9  # pixels of a small frame that a block may have moved, in each direction: a seventh of the width
_DIFFERENT = 0.33  # of the contrast: the least difference of frames of two scenes
_TIMES = 1.7  # as large as between the frames before and behind it
_CONTRAST = 0.02  # of white: what counts as the least contrast


def shrink(rgb: Tensor) -> np.ndarray:
    """A small grey frame to compare: `(1, 3, h, w)` in [0, 1] to `(36, 64)`."""
    return F.interpolate(rgb.mean(1, keepdim=True), _SIZE, mode='area')[0, 0].float().cpu().numpy()


class Difference(NamedTuple):
    """How much a frame differs from the one before: mean, of black to white, and in relation to their contrast."""

    absolute: float
    relative: float


class CutDetector:
    """Tells of each frame whether it begins a scene, one frame later.

    Frames are compared block by block, wherever a block moved: fast motion leaves a small difference. A cut differs
    much more from the frame before than those around it do from theirs: of a fade, or of a flash, which goes back to
    the scene a frame later, the differences are alike.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._waiting: Difference | None = None  # how much the last frame differs from the one before
        self._before = 0.0  # the difference before that

    def push(self, frame: np.ndarray) -> bool | None:
        """Whether the frame pushed before this one begins a scene; None where there is none.

        Args:
            frame: of `shrink`.
        """
        if self._last is None:
            self._last = frame
            return None
        difference = measure_difference(self._last, frame)
        found = self._is_cut(difference.absolute)
        if self._waiting is not None:
            self._before = self._waiting.absolute
        self._last, self._waiting = frame, difference
        return found

    def finish(self) -> bool | None:
        """Whether the last frame begins a scene; None if there was no frame."""
        return None if self._last is None else self._is_cut(0.0)

    def _is_cut(self, behind: float) -> bool:
        if self._waiting is None:  # the first frame of all
            return True
        absolute, relative = self._waiting
        return relative > _DIFFERENT and absolute > _TIMES * max(self._before, behind)

    def state_dict(self) -> dict[str, Any]:
        """What decides on the frames to come."""
        last = None if self._last is None else torch.from_numpy(self._last)
        waiting = None if self._waiting is None else list(self._waiting)
        return {'last': last, 'waiting': waiting, 'before': self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._last = None if state['last'] is None else state['last'].numpy()
        self._waiting = None if state['waiting'] is None else Difference(*state['waiting'])
        self._before = state['before']


def measure_difference(before: np.ndarray, frame: np.ndarray) -> Difference:
    """How much a frame differs from the one before, where each block is compared with wherever it fits.

    Blocks are looked for only where frames differ without that: most do not.
    """
    contrast = _CONTRAST + (np.abs(before - before.mean()).mean() + np.abs(frame - frame.mean()).mean()) / 2
    still = float(np.abs(frame - before).mean())
    if still <= _DIFFERENT * contrast:
        return Difference(still, float(still / contrast))
    height, width = frame.shape
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(before, _REACH, mode='edge'), (height, width))
    windows = windows.reshape(-1, height // _BLOCK[0], _BLOCK[0], width // _BLOCK[1], _BLOCK[1])
    blocks = frame.reshape(windows.shape[1:])
    best = np.full((windows.shape[1], windows.shape[3]), np.inf, np.float32)
    for moved in windows:
        np.minimum(best, np.abs(moved - blocks).mean((1, 3)), out=best)
    return Difference(float(best.mean()), float(best.mean() / contrast))
