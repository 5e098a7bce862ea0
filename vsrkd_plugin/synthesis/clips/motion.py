"""The motion of synthetic clips, known exactly: flow and visibility for losses."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vsrkd_plugin.ops.motion import pixel_grid
from vsrkd_plugin.synthesis.clips.scenes import Scene

_SAME_LIGHT = 1e-3  # between frames that are compared
_SAME_MOTION = 0.5  # LR pixels, among neighbours


@dataclass
class Motion:
    """How clips, or crops of clips, move.

    Attributes:
        scene: of these frames, in LR pixels from the middle of the whole frame.
        corner: where the middle of LR pixel 0 is, `(b, 2)`, in the scene's coordinates: of the HR pixels in its place.
        size: side of the LR frames.
        turn: how the clips were flipped and rotated afterwards (`ops.dihedral`); the motion is that before.
        phase: from there to where LR is sampled, in LR pixels, on either axis: a blur keeps the first HR pixel.
        drawn: the scene as a source drew it, on the CPU, where a source made these clips.
    """

    scene: Scene
    corner: Tensor
    size: int
    turn: int = 0
    phase: float = 0.0
    drawn: Scene | None = None

    @classmethod
    def of_parts(cls, scene: Scene, windows: Tensor, whole: int, size: int, frames: int) -> 'Motion':
        """The motion of crops of larger and longer clips.

        Args:
            scene: of whole clips.
            windows: first frame, top and left, `(b, 3)`.
            whole: side of the LR frames of whole clips.
            size: side of the crops.
            frames: of the crops.
        """
        windows = windows.to(scene.cut)
        return cls(scene.during(windows[:, 0], frames), windows[:, [2, 1]] - (whole - 1) / 2, size)

    @classmethod
    def together(cls, motions: 'list[Motion]') -> 'Motion':
        """The motion of a batch, from those of its rows: as many frames in each, the same size, turn and phase."""
        first = motions[0]
        scene = Scene.together([motion.scene for motion in motions])
        return cls(scene, torch.cat([motion.corner for motion in motions]), first.size, first.turn, first.phase)

    def to(self, device: torch.device | str) -> 'Motion':
        """The same on another device."""
        corner = self.corner.to(device, non_blocking=True)
        return Motion(self.scene.to(device), corner, self.size, self.turn, self.phase)

    def pack(self) -> Tensor:
        """The numbers of the scenes, a row `(n,)` each, fp32 on the CPU (`Scene.pack`): what a bank keeps.

        Of clips that a source made this waits for no GPU.
        """
        return (self.drawn or self.scene).pack().cpu()

    def flow(self, time: int, other: int, scale: int = 1) -> tuple[Tensor, Tensor]:
        """Where what is seen in frame `time` is in frame `other`.

        Args:
            scale: 1 for LR frames; that of SR frames for these.

        Returns:
            Flow in pixels of these frames, `(b, 2, h, w)`, and whether a place is seen in both, `(b, 1, h, w)`: not
            covered, not cut, not outside.
        """
        return self._flow(time, other, scale, self.phase if scale == 1 else 0.0)

    def _flow(self, time: int, other: int, scale: int, phase: float) -> tuple[Tensor, Tensor]:
        side = self.size * scale
        grid = pixel_grid(side, side, self.corner.device)
        places = (grid - (scale - 1) / 2) / scale + phase + self.corner[:, None, None]
        flow, visible = self.scene.flow(time, other, places)
        flow = flow * scale
        there = grid + flow.permute(0, 2, 3, 1)
        return flow, visible & ((there >= 0) & (there <= side - 1)).all(-1)[:, None]

    def steps(self, scale: int) -> tuple[Tensor, Tensor]:
        """The flow of SR frames from each to the next, and where it is reliable.

        It is known at LR size and enlarged, which costs `scale²` times less than asking at SR size; around the edges of
        objects, where that is wrong, nothing counts as visible, nor does anything between frames of another brightness.

        Returns:
            `(b, t - 1, 2, h, w)` in SR pixels, and bool `(b, t - 1, 1, h, w)`.
        """
        found = [self._step(time, scale) for time in range(self.scene.gain.shape[1] - 1)]
        flow, visible = (torch.stack(part, 1) for part in zip(*found, strict=True))
        return flow, visible

    def _step(self, time: int, scale: int) -> tuple[Tensor, Tensor]:
        flow, visible = self._flow(time, time + 1, 1, 0.0)
        spread = F.max_pool2d(flow, 3, 1, 1) + F.max_pool2d(-flow, 3, 1, 1)
        hidden = F.max_pool2d((~visible).float(), 3, 1, 1) > 0
        change = (self.scene.gain[:, time + 1] - self.scene.gain[:, time]).abs() > _SAME_LIGHT
        sure = ~hidden & (spread.amax(1, keepdim=True) < _SAME_MOTION) & ~change.view(-1, 1, 1, 1)
        flow = F.interpolate(flow, scale_factor=scale, mode='bilinear') * scale
        return flow, F.interpolate(sure.float(), scale_factor=scale, mode='nearest') > 0
