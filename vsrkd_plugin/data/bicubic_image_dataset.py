"""HR images alone; the LR images are made by MATLAB bicubic and kept."""

from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from vsrkd_plugin.data.images import list_images_of
from vsrkd_plugin.data.kept_tensors import KeptTensors
from vsrkd_plugin.data.randomness import randint
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.resize import bicubic_resize

_KEPT_BYTES = 2 << 30  # of pairs, in each process; those beyond are made anew each time


@DATASET_REGISTRY.register()
class BicubicImageDataset(Dataset):
    """Pairs of LR and HR made from HR images, for training and for validation.

    Options (`datasets.*`):
        dataroot_gt: a folder, an LMDB, a list of them, or `skimage` (photographs of scikit-image's wheel).
        scale: the scale. In training also a list: each sample draws one (needs `interpolate`, or sizes would differ).
        color: `y` (BT.601 luma, one channel) or `rgb` (default).
        interpolate: give LR enlarged to HR size by bicubic, for networks that work at HR size. Default false.
        gt_size: training only: side of the HR patches, a multiple of every scale.
        use_hflip, use_rot: training only: random flips and quarter turns. Default true.
        enlarge: training only: how many patches of an image make up an epoch. Default 1.

    A sample holds `lq` and `gt` (`(c, h, w)` in [0, 1]), `lq_path`, `gt_path` and `scale`. HR images are cropped to a
    multiple of the scale; LR is not rounded to 8 bits, as in the papers' protocol.

    Raises:
        UserError: a missing or empty folder, a corrupt image, an image smaller than a patch.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.training = opt.get('phase', 'train') == 'train'
        roots = opt['dataroot_gt'] if isinstance(opt['dataroot_gt'], list) else [opt['dataroot_gt']]
        self.scales = opt['scale'] if isinstance(opt['scale'], list) else [opt['scale']]
        self.color = opt.get('color', 'rgb')
        self.interpolate = opt.get('interpolate', False)
        key = f'datasets, {opt.get("name", "?")}, dataroot_gt'
        self.images = list_images_of(roots, key)
        self.enlarge = opt.get('enlarge', 1) if self.training else 1
        if self.color not in ('y', 'rgb'):
            raise UserError(f'datasets, {opt.get("name")}: color must be y or rgb, got {self.color!r}')
        if self.training:
            if not opt.get('gt_size'):
                raise UserError('datasets, train: gt_size is missing (the side of the HR patches)')
            self.gt_size = opt['gt_size']
            if len(self.scales) > 1 and not self.interpolate:
                raise UserError('datasets, train: several scales need interpolate: true')
            if any(self.gt_size % scale for scale in self.scales):
                raise UserError(f'datasets, train: gt_size {self.gt_size} is no multiple of every scale {self.scales}')
        elif len(self.scales) > 1:
            raise UserError(f'datasets, {opt.get("name")}: validation takes one scale, got {self.scales}')
        self._kept = KeptTensors(_KEPT_BYTES)
        self._sizes: dict[int, tuple[int, int]] = {}  # height and width of what was decoded

    @property
    def smallest_side(self) -> int:
        """Pixels that an image must have on each side: a patch, or one pixel of LR."""
        return self.gt_size if self.training else max(self.scales)

    def lq_shape(self, index: int = 0) -> tuple[int, int, int]:
        """Channels, height and width of `lq` of a whole image, without making it (the image is decoded, once)."""
        if index not in self._sizes:
            self._read(index)
        scale = max(self.scales)
        height, width = (side // scale for side in self._sizes[index])
        factor = scale if self.interpolate else 1
        return 1 if self.color == 'y' else 3, height * factor, width * factor

    def check(self) -> None:
        """Decode every image that was not yet, so that a corrupt or small one is told before a training starts."""
        for index in range(len(self.images)):
            self.lq_shape(index)

    def _read(self, index: int) -> np.ndarray:
        """An image as uint8 RGB `(h, w, 3)`. Raises `UserError` on a corrupt one, or one smaller than is needed."""
        name, read = self.images[index]
        image = np.ascontiguousarray(read()[:, :, ::-1])
        height, width = image.shape[:2]
        if min(height, width) < self.smallest_side:
            raise UserError(f'{name}: is {width}x{height}, smaller than the {self.smallest_side} pixels needed')
        self._sizes[index] = height, width
        return image

    def pair(self, index: int, scale: int) -> tuple[Tensor, Tensor]:
        """LR (enlarged, if so set) and HR of a whole image, `(c, h, w)`; made once, while there is room to keep it."""
        if (index, scale) in self._kept:
            lq, gt = self._kept[index, scale]
            return lq, gt
        image = self._read(index)
        height, width = (side // scale * scale for side in image.shape[:2])
        gt = torch.from_numpy(image[:height, :width]).permute(2, 0, 1).unsqueeze(0).float() / 255
        if self.color == 'y':
            gt = rgb_to_y(gt)
        lq = bicubic_resize(gt, 1 / scale)
        if self.interpolate:
            lq = bicubic_resize(lq, scale)
        self._kept.keep((index, scale), lq[0], gt[0])
        return lq[0], gt[0]

    def __len__(self) -> int:
        return len(self.images) * self.enlarge

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= len(self):
            raise IndexError(index)
        index %= len(self.images)
        scale = self.scales[randint(len(self.scales))] if self.training else self.scales[0]
        lq, gt = self.pair(index, scale)
        if self.training:
            lq, gt = self._augment(*self._crop(lq, gt, scale))
        name = self.images[index][0]
        return {'lq': lq, 'gt': gt, 'lq_path': f'{name}.png', 'gt_path': f'{name}.png', 'scale': scale}

    def _crop(self, lq: Tensor, gt: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        step = 1 if self.interpolate else scale
        lq_size = self.gt_size // step
        top = randint(lq.shape[1] - lq_size + 1)
        left = randint(lq.shape[2] - lq_size + 1)
        return (
            lq[:, top : top + lq_size, left : left + lq_size],
            gt[:, top * step : top * step + self.gt_size, left * step : left * step + self.gt_size],
        )

    def _augment(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        if self.opt.get('use_hflip', True) and randint(2):
            lq, gt = lq.flip(2), gt.flip(2)
        if self.opt.get('use_rot', True):
            turns = randint(4)
            lq, gt = lq.rot90(turns, (1, 2)), gt.rot90(turns, (1, 2))
        return lq.contiguous(), gt.contiguous()
