"""HR of a source with its bicubic LR, and LR of a target that has nothing to do with it; a registered data set."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from vsrkd_plugin.data.degradations import degrade_each
from vsrkd_plugin.data.images import list_images
from vsrkd_plugin.data.kept_tensors import KeptTensors
from vsrkd_plugin.data.lr_images import list_in_folders
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.degrading import Degradation
from vsrkd_plugin.synthesis.sources.dead_leaves import render_levels
from vsrkd_plugin.synthesis.sources.procedural import NUM_HR_IMAGES

MADE = 'procedural'  # the root of source images that are made
SAMPLES = 1_000_000  # of an epoch, which means nothing here
_KEPT_BYTES = 512 << 20
_LOOKED_AT = 20  # target images that are checked for their size and colour

logger = logging.getLogger('basicsr')


@DATASET_REGISTRY.register()
class UnpairedLRDataset(Dataset):
    """Patches for adaptation to another kind of LR (`DomainAdaptationModel`).

    Sample number `i` is a function of the seed and `i` alone, so that a training that was interrupted goes on with the
    very samples that it would have had, in whichever process.

    Options (keys of the data set in the options file):
        dataroot_gt: HR images of the source: folders or LMDBs, `skimage`, or `procedural`: made ones.
        dataroot_lq: LR images of the target: folders, those in them included, or LMDBs.
        scale: the scale.
        gt_size: side of the HR patches, a multiple of the scale; of LR the patches are `gt_size / scale`.
        color: `rgb` (default) or `y`.
        degrade: how LR of the source is degraded after bicubic (`synthesis, degrade` of a distillation); not at all if
            not given.
        num_images: made source images. Default 500.
        manual_seed: of what is drawn. Default 0.

    A sample holds `lq` and `gt` of the source and `lq_t` of the target, `(c, h, w)` in [0, 1], and `scale`.

    Raises:
        UserError: a missing or empty folder, a corrupt image, images smaller than a patch, one folder as source and
            target, a grey target for colours.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.scale, self.gt_size = opt['scale'], opt['gt_size']
        self.color, self.seed = opt.get('color', 'rgb'), opt.get('manual_seed') or 0
        if self.gt_size % self.scale:
            raise UserError(f'datasets, train, gt_size: expected a multiple of {self.scale}, got {self.gt_size}')
        given = opt.get('degrade')
        self.degradation = Degradation(**_as_ranges(given)) if given else None
        sources, targets = _roots(opt['dataroot_gt']), _roots(opt['dataroot_lq'])
        if same := set(sources) & set(targets):
            raise UserError(
                f'datasets, train, dataroot_lq: {same.pop()} is dataroot_gt too; expected LR images of another kind'
            )
        self.num_made = opt.get('num_images', NUM_HR_IMAGES) if sources == [MADE] else 0
        self.sources = (
            [] if self.num_made else [entry for root in sources for entry in list_images(root, 'dataroot_gt')]
        )
        self.targets = [entry for root in targets for entry in list_in_folders(root, 'dataroot_lq')]
        self._kept = KeptTensors(_KEPT_BYTES)
        self._check_targets()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < SAMPLES:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        hr = self._patch(self._source(int(rng.integers(self.num_made or len(self.sources)))), self.gt_size, rng)
        target = self._patch(self._target(int(rng.integers(len(self.targets)))), self.gt_size // self.scale, rng)
        lr = bicubic_resize(hr[None], 1 / self.scale)
        if self.degradation is not None:
            strengths = self.degradation.draw(torch.Generator().manual_seed(int(rng.integers(2**62))), 1)
            lr = degrade_each(lr.clamp(0, 1), strengths)
        return {'lq': lr[0], 'gt': hr, 'lq_t': target, 'scale': self.scale}

    def check(self) -> None:
        """Decode every image, so that a corrupt or small one is told before a training starts."""
        for number in range(len(self.sources)):
            self._source(number)
        for number in range(len(self.targets)):
            self._target(number)

    def _check_targets(self) -> None:
        """A warning for target images that look like HR; an error for grey ones where colours are wanted."""
        shown = [self._target(number) for number in range(min(_LOOKED_AT, len(self.targets)))]
        if self.color == 'rgb' and all(bool((image == image[:1]).all()) for image in shown):
            root = self.opt['dataroot_lq']
            raise UserError(
                f'datasets, train, dataroot_lq: {root} holds grey images; expected colours, or color: y for all'
            )
        if not self.sources:
            return
        hr = [self._source(number) for number in range(min(_LOOKED_AT, len(self.sources)))]
        sides = [float(np.median([math.sqrt(x.shape[1] * x.shape[2]) for x in images])) for images in (shown, hr)]
        if sides[0] >= sides[1]:
            logger.warning(
                f'datasets, train, dataroot_lq: its images are as large as those of dataroot_gt ({sides[0]:.0f} and '
                f'{sides[1]:.0f} pixels a side); is it LR of x{self.scale}, and not HR?'
            )

    def _source(self, number: int) -> Tensor:
        key = ('source', number)
        if key not in self._kept and self.num_made:
            size = max(2 * self.gt_size, 192)
            made = render_levels(self.seed, [number], size, 1 if self.color == 'y' else 3)[0]
            self._kept.keep(key, made)
            return made
        return self._read(key, self.sources[number] if self.sources else None, self.gt_size)

    def _target(self, number: int) -> Tensor:
        return self._read(('target', number), self.targets[number], self.gt_size // self.scale)

    def _read(self, key: tuple[str, int], entry: Any, least: int) -> Tensor:
        """An image `(c, h, w)`, uint8."""
        if key in self._kept:
            return self._kept[key][0]
        name, read = entry
        picture = np.ascontiguousarray(read()[:, :, ::-1])
        if min(picture.shape[:2]) < least:
            size = f'{picture.shape[1]}x{picture.shape[0]}'
            raise UserError(f'{name}: is {size}, smaller than the {least} pixels of a patch')
        image = torch.from_numpy(picture).permute(2, 0, 1)
        if self.color == 'y':
            image = (rgb_to_y(image[None].float() / 255)[0] * 255).round().to(torch.uint8)
        image = image.contiguous()
        self._kept.keep(key, image)
        return image

    @staticmethod
    def _patch(image: Tensor, size: int, rng: np.random.Generator) -> Tensor:
        """A patch at random, in one of eight orientations; fp32 in [0, 1]."""
        top, left = (int(rng.integers(side - size + 1)) for side in image.shape[1:])
        patch = image[None, :, top : top + size, left : left + size].float() / 255
        return apply_dihedral(patch, int(rng.integers(NUM_DIHEDRAL)))[0].contiguous()


def _roots(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _as_ranges(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
