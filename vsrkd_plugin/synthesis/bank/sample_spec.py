"""What a bank keeps: samples, each an LR image or clip with the teacher's output; their shapes, encoding and crops."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.clips.scenes import Scene
from vsrkd_plugin.synthesis.source import Batch

_Images = TypeVar('_Images', Tensor, np.ndarray)

# How numbers may be kept: in half the bytes of fp32, or in a quarter, which is enough for 8-bit images.
NUMBERS = {'fp16': torch.float16, 'uint8': torch.uint8}


@dataclass(frozen=True)
class SampleSpec:
    """Size and kind of samples.

    Args:
        channels: of the images.
        lr_sizes: scale → side of the LR images; SR is `scale` times as large.
        frames: of a clip; None for images.
        made: how LR was made of HR, in words; None where any LR will do.
        layers: of the scenes, where their motion is kept with the clips; None where it is not.

    Raises:
        ValueError: layers without frames.
    """

    channels: int
    lr_sizes: Mapping[int, int]
    frames: int | None = None
    made: str | None = None
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.layers and not self.frames:
            raise ValueError('only clips have layers: expected a number of frames')

    def lr_shape(self, scale: int) -> tuple[int, ...]:
        """`(c, s, s)`, or `(frames, c, s, s)`."""
        return self._shape(self.lr_sizes[scale])

    def target_shape(self, scale: int) -> tuple[int, ...]:
        """The same for the teacher's output."""
        return self._shape(self.lr_sizes[scale] * scale)

    @property
    def motion_numbers(self) -> int:
        """fp32 numbers that describe the motion of a clip; 0 if it is not kept."""
        return Scene.numbers(self.layers, self.frames) if self.layers and self.frames else 0

    def bytes(self, scale: int, numbers: str = 'fp16') -> int:
        """Size of one sample."""
        each = NUMBERS[numbers].itemsize
        pixels = (self.frames or 1) * self.lr_sizes[scale] ** 2 * (1 + scale**2)
        return each * self.channels * pixels + 4 * self.motion_numbers

    def holds(self, other: 'SampleSpec') -> bool:
        """Whether samples of another kind can be cropped from these."""
        return (
            (self.channels, self.made) == (other.channels, other.made)
            and (self.frames is None) == (other.frames is None)
            and (self.frames or 1) >= (other.frames or 1)
            and all(self.lr_sizes.get(scale, 0) >= size for scale, size in other.lr_sizes.items())
        )

    def __str__(self) -> str:
        what = 'images' if self.frames is None else f'clips of {self.frames} frames'
        sizes = ', '.join(f'x{scale} with LR {size}x{size}' for scale, size in self.lr_sizes.items())
        return f'{what} of {self.channels} channels, {sizes}{f", LR by {self.made}" if self.made else ""}'

    def _shape(self, side: int) -> tuple[int, ...]:
        images = (self.channels, side, side)
        return images if self.frames is None else (self.frames, *images)


def encode(x: Tensor, numbers: str) -> Tensor:
    """Values as they are kept; `uint8` clips them to [0, 1]."""
    if numbers == 'uint8':
        return (x.clamp(0, 1) * 255).round().to(torch.uint8)
    return x.to(NUMBERS[numbers])


def decode(x: Tensor) -> Tensor:
    """The inverse of `encode`, fp32."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def draw_windows(kept: SampleSpec, wanted: SampleSpec, scale: int, count: int, generator: torch.Generator) -> Tensor:
    """Random windows of the wanted size: `(count, 3)`, first frame, top and left in LR pixels.

    Args:
        generator: of the CPU; untouched where samples are taken whole.
    """
    spare = kept.lr_sizes[scale] - wanted.lr_sizes[scale]
    room = torch.tensor([(kept.frames or 1) - (wanted.frames or 1), spare, spare])
    if not room.any():
        return torch.zeros(count, 3, dtype=torch.int64)
    return (torch.rand(count, 3, generator=generator) * (room + 1)).long()


def crop(images: _Images, window: Tensor, wanted: SampleSpec, scale: int, factor: int = 1) -> _Images:
    """What an LR image or clip `(…, h, w)` shows in a window; `factor` is `scale` for its SR."""
    first, top, left = window.tolist()
    side = wanted.lr_sizes[scale] * factor
    part = images[..., top * factor : top * factor + side, left * factor : left * factor + side]
    return part if wanted.frames is None else part[first : first + wanted.frames]


def packed_motion(batch: Batch, kind: SampleSpec) -> Tensor:
    """What a bank keeps of the motion of a source's inputs: `(n, kind.motion_numbers)`, fp32 on the CPU.

    Raises:
        ValueError: the motion is to be kept, but the source does not know it.
    """
    if not kind.layers:
        return torch.zeros(len(batch.lr), 0)
    if batch.motion is None:
        raise ValueError(f'expected {kind} with their motion, from a source that knows it')
    return batch.motion.pack()


def motion_of(rows: Tensor, kept: SampleSpec, windows: Tensor, wanted: SampleSpec, scale: int, turn: int) -> Motion:
    """The motion of crops of clips.

    Args:
        rows: what was kept with the whole clips (`packed_motion`).
        kept: kind of the whole clips.
        windows: of the crops.
        wanted: kind of the crops.
        scale: of both.
        turn: how the crops were flipped and rotated afterwards.

    Raises:
        ValueError: images, or clips that were kept without their motion.
    """
    if not (kept.layers and kept.frames and wanted.frames):
        raise ValueError(f'expected clips with their motion, got {kept} and {wanted}')
    scene = Scene.unpack(rows, kept.layers, kept.frames)
    motion = Motion.of_parts(scene, windows, kept.lr_sizes[scale], wanted.lr_sizes[scale], wanted.frames)
    return replace(motion, turn=turn)
