"""HR clips alone; the LR clips are made as the teacher expects them, and kept."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from vsrkd_plugin.data.images import BUNDLED, FileReader, Reader
from vsrkd_plugin.data.invented_clips import Inventor, bundled_clips
from vsrkd_plugin.data.kept_tensors import KeptTensors
from vsrkd_plugin.data.listing import list_frames, short_names
from vsrkd_plugin.data.randomness import randint
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.degradation import DEGRADATIONS, SIGMA, degrade
from vsrkd_plugin.synthesis.clips.scenes import SPEED

_KEPT_BYTES = 2 << 30  # of frames, in each process; those of the clips beyond are read anew each time
_MARGIN = 4  # LR pixels around a patch that is reduced


@DATASET_REGISTRY.register()
class DegradedClipDataset(Dataset):
    """Pairs of LR and HR clips made from folders of HR frames, for training and for validation.

    Options (`datasets.*`):
        dataroot_gt: a folder with a folder of frames for each clip (as Vid4; images beside these folders are left out),
            or the frames of one clip; `skimage` for photographs of scikit-image's wheel that are set in motion.
        clips: names of clips, to take these alone. Default all.
        scale: the factor.
        degradation: `bicubic` (MATLAB's, BI) or `blur` (Gaussian, then every scale-th pixel from 0, BD).
        sigma: of the blur, in HR pixels. Default 1.5.
        num_frame: training: frames of a sample. Validation: a clip must have as many. Default 1.
        gt_size: training only: side of the HR patches, a multiple of the scale.
        use_hflip, use_rot, use_reverse: training only: random flips, quarter turns, reversal of time. Default true.
        invented: training only: share of the samples that are clips of dead leaves in motion instead. Default 0.
        invented_speed: of these, from and to, LR pixels a frame. Default [0.03, 3].
        enlarge: training only: how many samples of a clip make up an epoch. Default 1.

    A sample holds `lq` `(t, 3, h, w)` and `gt` `(t, 3, scale * h, scale * w)` in [0, 1], `folder` (the clip's name) and
    `scale`; in validation it is a whole clip. LR is rounded to 8 bits, as frames of a video are. HR is cropped to a
    multiple of the scale.

    Raises:
        UserError: no clips, names of frames that fit no order or leave gaps, frames of several sizes, a clip too short
            or too small, a corrupt frame.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        self.training = opt.get('phase', 'train') == 'train'
        self.scale, self.num_frame = opt['scale'], opt.get('num_frame', 1)
        self.degradation, self.sigma = opt.get('degradation', 'bicubic'), opt.get('sigma', SIGMA)
        name = opt.get('name', '?')
        if self.degradation not in DEGRADATIONS:
            raise UserError(
                f'datasets, {name}: degradation must be one of {", ".join(DEGRADATIONS)}, got {self.degradation!r}'
            )
        self.enlarge = opt.get('enlarge', 1) if self.training else 1
        if self.training and (not opt.get('gt_size') or opt['gt_size'] % self.scale):
            raise UserError(
                f'datasets, {name}: gt_size must be a multiple of the scale {self.scale}, got {opt.get("gt_size")}'
            )
        self.clips = _list_clips(opt['dataroot_gt'], opt.get('clips'), f'datasets, {name}, dataroot_gt')
        self.names = short_names([clip for clip, _ in self.clips])
        for clip, frames in self.clips:
            if len(frames) < self.num_frame:
                raise UserError(f'{clip}: has {len(frames)} frames, fewer than num_frame {self.num_frame}')
        self._inventor: Inventor | None = None
        self._kept = KeptTensors(_KEPT_BYTES)  # by clip: in training HR, in validation LR and HR

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process is given."""
        return {**self.__dict__, '_inventor': None}

    def lq_size(self, index: int = 0) -> tuple[int, int]:
        """Height and width of the LR frames of a clip (one frame is decoded)."""
        height, width = self._read(index, slice(1)).shape[2:]
        return height // self.scale, width // self.scale

    def check(self) -> None:
        """Decode every frame once, so that a flaw is told before a training starts."""
        for index in range(len(self.clips)):
            self._read(index)

    def pair(self, index: int) -> tuple[Tensor, Tensor]:
        """A whole clip as LR and HR levels, uint8, `(t, 3, h, w)` and `(t, 3, scale * h, scale * w)`.

        Made once, while there is room to keep it.
        """
        if ('pair', index) in self._kept:
            lq, gt = self._kept['pair', index]
            return lq, gt
        gt = self._read(index)
        # Frame by frame: a clip in floating point would take eight times the memory of its levels.
        lq = torch.cat([self._reduce(frame[None].float()) for frame in gt]).round().clamp(0, 255).byte()
        self._kept.keep(('pair', index), lq, gt)
        return lq, gt

    def __len__(self) -> int:
        return len(self.clips) * self.enlarge

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= len(self):
            raise IndexError(index)
        index %= len(self.clips)
        name = self.names[index]
        if self.training and randint(1000) < 1000 * self.opt.get('invented', 0):
            lq, gt = self._invent()
            name = 'invented'
        else:
            lq, gt = self._draw(index) if self.training else self.pair(index)
        return {'lq': lq.float() / 255, 'gt': gt.float() / 255, 'folder': name, 'scale': self.scale}

    def _read(self, index: int, span: slice = slice(None)) -> Tensor:
        """HR levels of a clip, or of some of its frames, `(t, 3, h, w)`."""
        name, readers = self.clips[index]
        frames: list[np.ndarray] = []
        for frame, read in readers[span]:
            frames.append(read()[:, :, ::-1])
            if frames[-1].shape != frames[0].shape:
                (h, w), (first_h, first_w) = frames[-1].shape[:2], frames[0].shape[:2]
                raise UserError(f'{name}: frame {frame} is {w}x{h}, the first one {first_w}x{first_h}')
        height, width = frames[0].shape[:2]
        needed = self.opt['gt_size'] if self.training else self.scale
        if min(height, width) < needed:
            raise UserError(f'{name}: is {width}x{height}, smaller than the {needed} pixels needed')
        height, width = (side // self.scale * self.scale for side in (height, width))
        return torch.from_numpy(np.stack([image[:height, :width] for image in frames])).permute(0, 3, 1, 2).contiguous()

    def _frames(self, index: int, span: slice) -> Tensor:
        """Some frames of a clip, of which all are kept if there is room for them."""
        if index not in self._kept:
            part = self._read(index, span)
            if not self._kept.has_room(part[0].numel() * len(self.clips[index][1])):
                return part
            self._kept.keep(index, self._read(index))
        return self._kept[index][0][span]

    def _reduce(self, gt: Tensor) -> Tensor:
        return degrade(gt, self.scale, self.degradation, self.sigma)

    def _draw(self, index: int) -> tuple[Tensor, Tensor]:
        """A random part of a clip, LR and HR, flipped and turned at random.

        HR is turned before it is reduced: BD keeps every scale-th pixel from 0, which in a turned clip are others.
        """
        s, length = self.scale, len(self.clips[index][1])
        first = randint(length - self.num_frame + 1)
        gt = self._frames(index, slice(first, first + self.num_frame))
        # LR is made of a larger part, if the frames are large enough, so that the blur sees what lies around the patch.
        margin = _MARGIN * s if min(gt.shape[2:]) >= self.opt['gt_size'] + 2 * _MARGIN * s else 0
        size = self.opt['gt_size'] + 2 * margin
        top, left = (randint(side - size + 1) for side in gt.shape[2:])
        gt = self._turn(gt[:, :, top : top + size, left : left + size])
        lq = self._reduce(gt.float()).round().clamp(0, 255).byte()
        inner, inner_lr = (slice(m, -m or None) for m in (margin, margin // s))
        return lq[:, :, inner_lr, inner_lr], gt[:, :, inner, inner]

    def _invent(self) -> tuple[Tensor, Tensor]:
        if self._inventor is None:  # in each worker its own: it cannot be sent to another process
            speed = self.opt.get('invented_speed', SPEED)
            self._inventor = Inventor(
                self.num_frame, self.opt['gt_size'], self.scale, self.degradation, self.sigma, speed
            )
        return self._inventor.clip(randint(1 << 40))

    def _turn(self, gt: Tensor) -> Tensor:
        if self.opt.get('use_hflip', True) and randint(2):
            gt = gt.flip(3)
        if self.opt.get('use_rot', True):
            gt = gt.rot90(randint(4), (2, 3))
        if self.opt.get('use_reverse', True) and randint(2):
            gt = gt.flip(0)
        return gt.contiguous()


def _list_clips(root: str, wanted: list[str] | None, key: str) -> list[tuple[str, list[tuple[str, Reader]]]]:
    """Clips by path, each with its frames' names and readers in order."""
    if root == BUNDLED:
        clips = {Path(name).name: (name, frames) for name, frames in bundled_clips()}
        missing = sorted(set(wanted or ()) - set(clips))
        if missing:
            raise UserError(f'{key}: {root} has no clips {", ".join(missing)}; it has {", ".join(clips)}')
        return [clip for name, clip in clips.items() if wanted is None or name in wanted]
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f'{key}: no folder {root}: expected one with a folder of HR frames for each clip')
    return [
        (str(folder), [(file.name, FileReader(file)) for file in files])
        for folder, files in list_frames(path, wanted, key)
    ]
