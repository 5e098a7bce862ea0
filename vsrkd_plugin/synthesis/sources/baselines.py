"""Sources to compare with: noise, the least that one can do, and crops of real images, what one would do with data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral
from vsrkd_plugin.synthesis.source import Objective


class PlainSource:
    """What sources have in common that draw from one generator and learn nothing.

    Args:
        channels: of the images.
        lr_sizes: scale → side of the LR patches.
        seed: of the randomness; the same in every process.
        device: where samples are wanted.
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
        self.channels, self.lr_sizes = channels, dict(lr_sizes)
        self.rank, self.world_size, self.device = rank, world_size, torch.device(device)
        self.optimizers: list[torch.optim.Optimizer] = []
        self._rng = torch.Generator().manual_seed(seed)

    def _draw(self, batch: int, scale: int) -> Tensor:
        raise NotImplementedError

    def sample(self, batch: int, scale: int) -> Tensor:
        """The next images, `(batch, c, s, s)`, fp32 in [0, 1]."""
        joint = self._draw(batch * self.world_size, scale)
        return joint[self.rank * batch : (self.rank + 1) * batch].to(self.device, non_blocking=True)

    def preview(self, scale: int, count: int = 4) -> Tensor:
        """Images to look at; the random state stays as it is."""
        state = self._rng.get_state()
        images = self.sample(count, scale)
        self._rng.set_state(state)
        return images

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """Nothing to learn here; no losses."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The random state."""
        return {'rng': self._rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._rng.set_state(state['rng'].cpu())


class NoiseSource(PlainSource):
    """Grey levels drawn evenly from [0, 1], each pixel by itself: the paper's column 'noise'."""

    def _draw(self, batch: int, scale: int) -> Tensor:
        size = self.lr_sizes[scale]
        return torch.rand(batch, self.channels, size, size, generator=self._rng)


class ImageSource(PlainSource):
    """Crops of LR images in random orientation, for who has some images: each image is as likely as the others.

    Args:
        images: scale → LR images `(c, h, w)` in [0, 1]; those smaller than a patch are left out.
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

    def _draw(self, batch: int, scale: int) -> Tensor:
        size, images = self.lr_sizes[scale], self._images[scale]
        crops = []
        for row in torch.rand(batch, 4, generator=self._rng).tolist():
            image = images[int(row[0] * len(images))]
            top, left = (int(at * (side - size + 1)) for at, side in zip(row[1:3], image.shape[1:], strict=True))
            crops.append(apply_dihedral(image[:, top : top + size, left : left + size], int(row[3] * NUM_DIHEDRAL)))
        return torch.stack(crops)
