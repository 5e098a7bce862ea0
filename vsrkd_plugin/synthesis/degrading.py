"""LR images as cameras and the web make them: what degrades each of them, and how strongly."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.synthesis.source import Batch, Objective, SeededSource, Share, SharedSource

RESIZE_MODES = ('area', 'bilinear', 'bicubic')  # as BasicSR's RealESRGANModel draws them


@dataclass(frozen=True, eq=False)
class Strengths:
    """What is done to each of `n` LR images; all on the CPU. Where a strength is 0 that part is left out.

    Attributes:
        blur: `(n, 3)`: sigma along and across, in pixels, and the angle, of a Gaussian.
        resize: `(n,)`: the factor by which an image is resized and back.
        mode: `(n,)`, int64: how, an index into `RESIZE_MODES`.
        noise: `(n,)`: sigma of Gaussian noise, in levels of 255.
        poisson: `(n,)`: strength of Poisson noise; at 1 white is 256 photons.
        grey: `(n,)`, bool: whether noise is the same in all channels.
        jpeg: `(n,)`: quality, 1 to 99.
        seed: `(n,)`, int64: of the noise of each image, so that it is its own, in whichever batch and process.
    """

    blur: Tensor
    resize: Tensor
    mode: Tensor
    noise: Tensor
    poisson: Tensor
    grey: Tensor
    jpeg: Tensor
    seed: Tensor

    def __len__(self) -> int:
        return len(self.seed)

    @classmethod
    def none(cls, count: int, seed: int = 0) -> 'Strengths':
        """Of `count` images that stay as they are; the noise of image `i`, if there will be any, is of `seed + i`."""
        zeros = torch.zeros(count, dtype=torch.float64)
        return cls(
            blur=zeros[:, None].repeat(1, 3),
            resize=zeros,
            mode=torch.zeros(count, dtype=torch.int64),
            noise=zeros,
            poisson=zeros,
            grey=torch.zeros(count, dtype=torch.bool),
            jpeg=zeros,
            seed=seed + torch.arange(count),
        )

    def rows(self, first: int, last: int) -> 'Strengths':
        """Those of the images `first` to `last - 1`."""
        return Strengths(**{field.name: getattr(self, field.name)[first:last] for field in fields(self)})


@dataclass(frozen=True)
class Degradation:
    """What degrades images at random, after BasicSR's Real-ESRGAN, by its names; what is None takes no part.

    An image is clean, or has each of the parts that are given with `apply_prob`, at least one; the strength of each is
    drawn evenly from its range.

    Attributes:
        clean_prob: share of the images that stay as they are.
        apply_prob: share of the others that have each part.
        blur_sigma: of a Gaussian, in LR pixels.
        anisotropic_prob: share of the blurs that have two sigmas and an angle.
        resize_range: factor by which an image is resized, to be resized back; area, bilinear or bicubic.
        noise_range: sigma of Gaussian noise, in levels of 255.
        poisson_scale_range: strength of Poisson noise; at 1 white is 256 photons.
        gray_noise_prob: share of the noisy images whose noise is the same in all channels.
        jpeg_range: quality.

    Raises:
        ValueError: no part at all.
    """

    clean_prob: float = 0.25
    apply_prob: float = 0.6
    blur_sigma: tuple[float, float] | None = None
    anisotropic_prob: float = 0.5
    resize_range: tuple[float, float] | None = None
    noise_range: tuple[float, float] | None = None
    poisson_scale_range: tuple[float, float] | None = None
    gray_noise_prob: float = 0.4
    jpeg_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not any(self._ranges()):
            raise ValueError(f'expected at least one of {", ".join(PARTS)}')

    def _ranges(self) -> list[tuple[float, float] | None]:
        return [getattr(self, name) for name in PARTS]

    def draw(self, generator: torch.Generator, count: int) -> Strengths:
        """Random strengths of `count` images; as many random numbers, whatever takes part.

        Args:
            generator: of the CPU.
        """
        seed = torch.randint(2**62, (count,), generator=generator)
        clean, first, grey, is_anisotropic, angle, mode, across, *rest = torch.rand(
            7 + 2 * len(PARTS), count, generator=generator, dtype=torch.float64
        )
        chosen, at = torch.stack(rest[: len(PARTS)]), dict(zip(PARTS, rest[len(PARTS) :], strict=True))
        given = torch.tensor([limits is not None for limits in self._ranges()])
        applied = (chosen < self.apply_prob) & given[:, None]
        # One at least, or there were more clean images than asked for.
        numbers = given.nonzero().flatten()
        one = numbers[(first * len(numbers)).long()]
        applied |= (torch.arange(len(PARTS))[:, None] == one) & ~applied.any(0)
        applied &= clean >= self.clean_prob
        on = dict(zip(PARTS, applied, strict=True))

        def strength(name: str, where: Tensor) -> Tensor:
            low, high = getattr(self, name) or (0.0, 0.0)
            return (low + where * (high - low)) * on[name]

        along, other = (strength('blur_sigma', where) for where in (at['blur_sigma'], across))
        is_anisotropic = is_anisotropic < self.anisotropic_prob
        return Strengths(
            blur=torch.stack([along, torch.where(is_anisotropic, other, along), angle * math.pi], 1),
            mode=(mode * len(RESIZE_MODES)).long(),
            grey=grey < self.gray_noise_prob,
            seed=seed,
            **{
                field: strength(name, at[name])
                for field, name in (
                    ('resize', 'resize_range'),
                    ('noise', 'noise_range'),
                    ('poisson', 'poisson_scale_range'),
                    ('jpeg', 'jpeg_range'),
                )
            },
        )


PARTS = ('blur_sigma', 'resize_range', 'noise_range', 'poisson_scale_range', 'jpeg_range')
Degrade = Callable[[Tensor, Strengths], Tensor]  # images `(n, c, h, w)` in [0, 1] and their strengths → the same shape


class DegradedSource(SeededSource):
    """The images of another source, degraded at random. What learns in that source learns from clean ones.

    Each process draws the strengths of the joint batch, and the noise of an image is of a seed of its own: several
    processes see what one would.

    Args:
        source: of images.
        degradation: what is drawn.
        degrade: does it; `data.degradations.degrade_each`, which needs BasicSR.
        seed: of the strengths; the same in every process.
    """

    def __init__(self, source: SharedSource, degradation: Degradation, degrade: Degrade, *, seed: int) -> None:
        super().__init__(seed, source.rank, source.world_size)
        self.source, self.degradation, self.degrade = source, degradation, degrade
        self.optimizers = source.optimizers

    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch."""
        lr = self.source.rows(share, scale).lr
        strengths = self.degradation.draw(self._rng, share.total).rows(share.first, share.last)
        return Batch(self.degrade(lr, strengths) if len(share) else lr)

    def learn(self, objective: Objective, share: Share, scale: int) -> dict[str, Tensor]:
        """A learning step of the source, on clean images."""
        return self.source.learn(objective, share, scale)

    def preview(self, scale: int, count: int = 4) -> Batch:
        """The source's preview, degraded as the next images would be; the random state stays."""
        generator = torch.Generator()
        generator.set_state(self._rng.get_state())
        return Batch(self.degrade(self.source.preview(scale, count).lr, self.degradation.draw(generator, count)))

    def state_dict(self) -> dict[str, Any]:
        """The states of the strengths and of the source."""
        return {**super().state_dict(), 'source': self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        super().load_state_dict(state)
        self.source.load_state_dict(state['source'])
