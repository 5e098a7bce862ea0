"""Sources to compare with: noise as the lower bound, crops of real images as what training with data would give."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral
from vsrkd_plugin.synthesis.source import Batch, SeededSource, Share


class PlainSource(SeededSource):
    """Base of the sources of images that learn nothing and draw a whole joint batch at once.

    Args:
        channels: of the images.
        lr_sizes: scale → side of the LR patches.
        seed: of the randomness; the same in every process.
        device: where images are wanted.
        rank, world_size: this process's place in a distributed training.
    """

    def __init__(
        self,
        *,
        channels: int,
        lr_sizes: Mapping[int, int],
        seed: int,
        device: torch.device | str = 'cpu',
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(seed, rank, world_size)
        self.channels, self.lr_sizes, self.device = channels, dict(lr_sizes), torch.device(device)

    @abstractmethod
    def joint(self, total: int, scale: int) -> Tensor:
        """The images of the next joint batch, `(total, c, s, s)`, fp32 in [0, 1], on the CPU."""

    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch."""
        return Batch(share.of(self.joint(share.total, scale)).to(self.device, non_blocking=True))


class NoiseSource(PlainSource):
    """Grey levels drawn evenly from [0, 1], each pixel by itself: the paper's column 'noise'."""

    def joint(self, total: int, scale: int) -> Tensor:
        """Noise."""
        size = self.lr_sizes[scale]
        return torch.rand(total, self.channels, size, size, generator=self._rng)


class ImageSource(PlainSource):
    """Crops of real LR images in random orientation; each image is as likely as the others.

    Args:
        images: scale → LR images `(c, h, w)`, in [0, 1] or uint8; those smaller than a patch are left out.
        settings: as of every plain source.

    Raises:
        ValueError: no image of a scale is as large as a patch.
    """

    def __init__(self, images: Mapping[int, Sequence[Tensor]], **settings: Any) -> None:
        super().__init__(**settings)
        self._images = {s: [x for x in images[s] if min(x.shape[1:]) >= n] for s, n in self.lr_sizes.items()}
        for scale, kept in self._images.items():
            if not kept:
                size = self.lr_sizes[scale]
                raise ValueError(f'no image is as large as an LR patch of x{scale}, {size}x{size}')

    def joint(self, total: int, scale: int) -> Tensor:
        """Crops."""
        size, images = self.lr_sizes[scale], self._images[scale]
        crops = []
        for row in torch.rand(total, 4, generator=self._rng).tolist():
            image = images[int(row[0] * len(images))]
            top, left = (int(at * (side - size + 1)) for at, side in zip(row[1:3], image.shape[1:], strict=True))
            crops.append(apply_dihedral(image[:, top : top + size, left : left + size], int(row[3] * NUM_DIHEDRAL)))
        joint = torch.stack(crops)
        return joint / 255 if joint.dtype == torch.uint8 else joint
