"""Clips where no data set is at hand: photographs in motion (of scikit-image's wheel), and dead leaves in motion."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.images import BUNDLED, Reader, list_images
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.clips.scenes import SPEED
from vsrkd_plugin.synthesis.sources.baselines import PlainSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_SIDE, _FRAMES, _PICTURE_SIDE = 256, 10, 300  # of the moving photographs; the smallest photograph is 300 high
_SEED = 11


def bundled_clips() -> list[tuple[str, list[tuple[str, Reader]]]]:
    """A clip of each bundled photograph, with parts of others moving in front; always the same.

    Returns:
        Names, each with its frames' names and readers (uint8 BGR, `(256, 256, 3)`), rendered when the first is read.
    """
    names = [name for name, _ in list_images(BUNDLED, 'dataroot_gt')]
    return [
        (f'{BUNDLED}/{name}', [(str(time), _FrameReader(index, time)) for time in range(_FRAMES)])
        for index, name in enumerate(names)
    ]


@dataclass(frozen=True)
class _FrameReader:
    """Reads one frame of the bundled clips; each process renders them for itself."""

    clip: int
    time: int

    def __call__(self) -> np.ndarray:
        return _rendered()[self.clip, self.time]


@cache
def _rendered() -> np.ndarray:
    """All clips, uint8 BGR `(n, t, h, w, 3)`."""
    pictures = []
    for _, read in list_images(BUNDLED, 'dataroot_gt'):
        image = read()
        top, left = ((side - _PICTURE_SIDE) // 2 for side in image.shape[:2])
        pictures.append(image[top : top + _PICTURE_SIDE, left : left + _PICTURE_SIDE])
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    source = MovingSource(
        _Photographs(stack), frames=_FRAMES, lr_sizes={PICTURE: _SIDE}, degradation='none', seed=_SEED
    )
    clips = source.next(len(stack), PICTURE).lr
    return (clips * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()


class _Photographs(PlainSource):
    """The pictures that clips are made of: a clip's ground shows its own photograph, its objects show the next ones."""

    def __init__(self, pictures: Tensor) -> None:
        super().__init__(channels=3, lr_sizes={PICTURE: pictures.shape[-1]}, seed=0)
        self._pictures = pictures

    def joint(self, total: int, scale: int) -> Tensor:
        """The photographs."""
        count = len(self._pictures)
        layers = total // count
        return self._pictures[[(clip + layer) % count for clip in range(count) for layer in range(layers)]]


class Inventor:
    """Makes HR and LR clips of dead leaves in motion; the same seed gives the same clip.

    Args:
        frames: of a clip.
        gt_size: side of the HR frames.
        scale, degradation, sigma: how LR is made of them.
        speed: of the motion, from and to, LR pixels a frame.
        num_images: pictures to set in motion.
    """

    def __init__(
        self,
        frames: int,
        gt_size: int,
        scale: int,
        degradation: str,
        sigma: float,
        speed: tuple[float, float] = SPEED,
        num_images: int = 400,
    ) -> None:
        side = gt_size * 5 // 4
        self._pictures = ProceduralSource(
            channels=3, lr_sizes={PICTURE: side}, seed=1, num_images=num_images, image_size=max(96, side * 7 // 6)
        )
        self._source = MovingSource(
            self._pictures,
            frames=frames,
            lr_sizes={scale: gt_size // scale},
            degradation=degradation,
            sigma=sigma,
            speed=speed,
            interpolation='bicubic',
        )
        self.scale = scale

    def clip(self, seed: int) -> tuple[Tensor, Tensor]:
        """LR and HR levels, uint8, `(t, 3, h, w)` and `(t, 3, scale * h, scale * w)`."""
        motion, crops = (torch.Generator().manual_seed(seed + part).get_state() for part in (0, 1 << 40))
        # `drawn`: from all pictures, not from those only that are painted by now.
        self._source.load_state_dict({'rng': motion, 'pictures': {'rng': crops, 'drawn': self._pictures.num_images}})
        clips = self._source.clips(1, self.scale)
        return _levels(clips.lr[0]), _levels(clips.hr[0])


def _levels(clip: Tensor) -> Tensor:
    """Values in [0, 1] as levels, uint8."""
    return (255 * clip.clamp(0, 1)).round().byte()
