"""LR images as cameras and the web make them: what degrades each of them, and how strongly."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

RESIZE_MODES = ('area', 'bilinear', 'bicubic')  # as BasicSR's RealESRGANModel draws them


@dataclass(frozen=True, eq=False)
class Strengths:
    """What is done to each of `n` LR images; all on the CPU. Where a strength is 0 that part is left out.

    Attributes:
        blur: `(n, 3)`: sigma along and across, in pixels, and the angle, of a Gaussian.
        resize: `(n,)`: the factor by which an image is resized and back.
        mode: `(n,)`, int64: how, an index into `RESIZE_MODES`.
        noise: `(n,)`: sigma of Gaussian noise, in levels of 255.
        poisson: `(n,)`: strength of Poisson noise; 1 is that of BasicSR's model of it.
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
