"""Whole clips of any data set of clips: ours, and BasicSR's for tests, which give a window for each frame."""

from collections.abc import Iterator, Sequence
from typing import Any

from basicsr.data.data_util import read_img_seq
from torch import Tensor
from torch.utils.data import Dataset

from vsrkd_plugin.errors import UserError

STOCK = ('VideoTestDataset', 'VideoRecurrentTestDataset')


def whole_clips(dataset: Dataset | Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The clips of a data set, one at a time.

    Args:
        dataset: `DegradedClipDataset`, BasicSR's `VideoTestDataset` or `VideoRecurrentTestDataset`, or anything whose
            samples have `lq`, `gt` and `folder`.

    Yields:
        `lq` `(t, c, h, w)` and `gt` `(t, c, scale * h, scale * w)` in [0, 1], `folder` and `scale`.

    Raises:
        UserError: another of BasicSR's data sets.
    """
    kind = type(dataset)
    if kind.__module__.startswith('basicsr.') and kind.__name__ not in STOCK:
        name = dataset.opt.get('name', '?')
        fit = ' or '.join(('DegradedClipDataset', *STOCK))
        raise UserError(f'data set {name}: {kind.__name__} gives no whole clips; expected {fit}')
    folders = getattr(dataset, 'imgs_lq', None)
    if folders is None:
        for index in range(len(dataset)):
            yield _with_scale(dataset[index])
        return
    for folder, frames in folders.items():
        lq, gt = (x if isinstance(x, Tensor) else read_img_seq(x) for x in (frames, dataset.imgs_gt[folder]))
        yield _with_scale({'lq': lq, 'gt': gt, 'folder': folder})


def _with_scale(sample: dict[str, Any]) -> dict[str, Any]:
    return {'scale': sample['gt'].shape[-1] // sample['lq'].shape[-1], **sample}
