"""The source of clips: pictures of any image source, set in motion that is known."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.degradation import DEGRADATIONS as REDUCTIONS
from vsrkd_plugin.ops.degradation import SIGMA, degrade
from vsrkd_plugin.ops.motion import pixel_grid, sample_at
from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.clips.scenes import SPEED, Scene, count_layers, random_scenes
from vsrkd_plugin.synthesis.source import Batch, Objective, SeededSource, Share, SharedSource

DEGRADATIONS = (*REDUCTIONS, 'none')  # none: rendered at LR size
PICTURE = 1  # the scale that pictures are asked of their source under


@dataclass
class Clips:
    """LR clips, how they move, and HR clips where they were rendered.

    Attributes:
        lr: `(b, t, c, s, s)` in [0, 1].
        hr: `(b, t, c, scale * s, scale * s)`; `lr` itself where it was rendered at its own size.
        motion: of LR pixels as they were taken, and of HR pixels.
    """

    lr: Tensor
    hr: Tensor
    motion: Motion


class MovingSource(SeededSource):
    """Makes clips of an image source: every layer of a scene gets a picture, and is seen through a moving frame.

    HR frames are rendered and reduced as the teacher expects its LR, or LR is rendered at once (`none`). All randomness
    is of one private generator, drawn for the joint batch of all processes, and of the picture source's. Where that one
    learns, it learns by the clips that its pictures make: the gradient reaches it through the teacher and the motion.

    Args:
        pictures: gives pictures for the scale `PICTURE`; larger than a frame, or they are mirrored at their edges.
        frames: of a clip.
        lr_sizes: scale → side of the LR frames.
        degradation: `bicubic` (MATLAB's), `blur` (Gaussian of `sigma`, then every scale-th pixel) or `none`.
        sigma: of the blur, in HR pixels.
        objects: in front of the ground, at most.
        motion: `full`, `translation` or `still`.
        speed: from and to, LR pixels a frame, as of `random_scenes`.
        interpolation: of the pictures, `bilinear` or `bicubic`; by default bilinear for what is reduced afterwards,
            which needs no better. For HR to learn from, bicubic.
        seed: of the motion; the same in every process.
        device: where clips are made.
        rank: this process.
        world_size: number of processes.

    Raises:
        ValueError: an unknown degradation, motion or interpolation, speeds that are no range, a rank that does not fit.
    """

    def __init__(
        self,
        pictures: SharedSource,
        *,
        frames: int,
        lr_sizes: dict[int, int],
        degradation: str = 'bicubic',
        sigma: float = SIGMA,
        objects: int = 2,
        motion: str = 'full',
        speed: tuple[float, float] = SPEED,
        interpolation: str | None = None,
        seed: int = 0,
        device: torch.device | str = 'cpu',
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if degradation not in DEGRADATIONS:
            raise ValueError(f'degradation must be one of {", ".join(DEGRADATIONS)}, got {degradation!r}')
        if interpolation not in (None, 'bilinear', 'bicubic'):
            raise ValueError(f'interpolation must be bilinear or bicubic, got {interpolation!r}')
        super().__init__(seed, rank, world_size)
        self.pictures, self.frames, self.lr_sizes = pictures, frames, dict(lr_sizes)
        self.degradation, self.sigma, self.objects, self.motion = degradation, sigma, objects, motion
        self.speed = (speed[0], speed[1])
        self.interpolation = interpolation or ('bicubic' if degradation == 'none' else 'bilinear')
        self.seed, self.device = seed, torch.device(device)
        self.optimizers = pictures.optimizers
        self._draw(torch.Generator(), 1, min(lr_sizes.values()))  # a wrong setting is refused here, not when training

    def clips(self, batch: int, scale: int) -> Clips:
        """The next clips, with their motion.

        Args:
            batch: clips for this process.
            scale: one of `lr_sizes`.
        """
        scenes, pictures = self._material(self._share(batch), scale)
        with torch.no_grad():
            return self._render(scenes, pictures, scale)

    def _material(self, share: Share, scale: int) -> tuple[Scene, Tensor]:
        """The next scenes of this process, and a picture for each of their layers."""
        return self._scenes(share, scale), self.pictures.rows(share.times(self.layers), PICTURE).lr

    def _scenes(self, share: Share, scale: int) -> Scene:
        """The next scenes of this process."""
        return self._draw(self._rng, share.total, self.lr_sizes[scale]).rows(share.first, share.last)

    def _draw(self, generator: torch.Generator, batch: int, size: int) -> Scene:
        return random_scenes(generator, batch, self.frames, size, self.objects, self.motion, self.speed)

    @property
    def layers(self) -> int:
        """Of a scene: the ground and the objects that may be there."""
        return count_layers(self.motion, self.objects)

    def rows(self, share: Share, scale: int) -> Batch:
        """LR clips of this process, `(n, frames, c, s, s)` in [0, 1], with their motion."""
        scenes, pictures = self._material(share, scale)
        if not len(share):
            return Batch(pictures)
        with torch.no_grad():
            clips = self._render(scenes, pictures, scale)
        return Batch(clips.lr, motion=clips.motion)

    @torch.no_grad()
    def preview(self, scale: int, count: int = 4) -> Batch:
        """The same clips at every call; the random state stays."""
        generator = torch.Generator().manual_seed(self.seed + scale)
        scenes = self._draw(generator, count, self.lr_sizes[scale])
        clips = self._render(scenes, self.pictures.preview(PICTURE, count * self.layers).lr, scale)
        return Batch(clips.lr, motion=clips.motion)

    def learn(self, objective: Objective, share: Share, scale: int) -> dict[str, Tensor]:
        """One learning step of the pictures, of which clips are made for the objective; the named losses, detached."""
        if not self.optimizers:
            return {}
        scenes = self._scenes(share, scale)

        def of_clips(lr: Tensor, _: int, motion: Motion | None = None) -> dict[str, Tensor]:
            clips = self._render(scenes, lr, scale)
            return objective(clips.lr, scale, clips.motion)

        return self.pictures.learn(of_clips, share.times(self.layers), PICTURE)

    def state_dict(self) -> dict[str, Any]:
        """The states of the motion and of the pictures."""
        return {**super().state_dict(), 'pictures': self.pictures.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        super().load_state_dict(state)
        self.pictures.load_state_dict(state['pictures'])

    def _render(self, scenes: Scene, pictures: Tensor, scale: int) -> Clips:
        factor = 1 if self.degradation == 'none' else scale
        size = self.lr_sizes[scale]
        drawn, scenes = scenes, scenes.to(self.device)
        batch, layers, frames = scenes.angle.shape
        pictures = pictures.view(batch, layers, *pictures.shape[1:])
        side = pictures.shape[-1]
        middle = (size * factor - 1) / 2
        hr_places = (pixel_grid(size * factor, size * factor, self.device) - middle) / factor
        places = hr_places.expand(batch, -1, -1, -1)
        rendered = []
        for time in range(frames):
            image = torch.zeros(())
            for layer in range(layers):
                # After a cut the layers show one another's pictures, or the other half of their own.
                cut = scenes.cut <= time
                index = torch.where(cut, (layer + 1) % layers, torch.full_like(scenes.cut, layer))
                own = scenes.on_layer(layer, time, places) * factor + (side - 1) / 2
                if layers == 1:
                    own = own + cut.view(-1, 1, 1, 1) * (side / 2)
                picture = pictures[torch.arange(batch, device=self.device), index]
                seen = sample_at(picture, own, self.interpolation, 'reflection')
                cover = scenes.cover(layer, time, places, factor)[:, None]
                image = torch.lerp(image, seen, cover) if layer else seen  # layer 0 covers everything
            rendered.append((image * scenes.gain[:, time].view(-1, 1, 1, 1)).clamp(0, 1))
        hr = torch.stack(rendered, 1)
        flat = hr.flatten(0, 1)
        lr = flat if self.degradation == 'none' else degrade(flat, scale, self.degradation, self.sigma)
        lr = lr.clamp(0, 1)
        # Rounded as the frames of a video are; the gradient passes as if there were no rounding.
        lr = lr + ((lr * 255).round() / 255 - lr).detach()
        whole = torch.zeros(batch, 3, device=self.device)
        motion = Motion.of_parts(scenes, whole, size, size, frames)
        motion.phase = (1 - factor) / (2 * factor) if self.degradation == 'blur' else 0.0
        motion.drawn = drawn
        return Clips(lr.view(batch, frames, *lr.shape[1:]), hr, motion)
