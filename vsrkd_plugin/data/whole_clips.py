"""Whole clips of any data set of clips: ours, and BasicSR's for tests, which give a window for each frame."""

from collections.abc import Iterator
from typing import Any, Protocol

from basicsr.data.data_util import read_img_seq
from torch import Tensor

from vsrkd_plugin.errors import UserError

STOCK = ('VideoTestDataset', 'VideoRecurrentTestDataset')


class Samples(Protocol):
    """A data set, or a list of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


def whole_clips(dataset: Samples) -> Iterator[dict[str, Any]]:
    """The clips of a data set, one at a time.

    Args:
        dataset: `DegradedClipDataset`, BasicSR's `VideoTestDataset` or `VideoRecurrentTestDataset`, or anything whose
            samples have `lq`, `gt` and `folder`.

    Yields:
        `lq` `(t, c, h, w)` and `gt` `(t, c, scale * h, scale * w)` in [0, 1], `folder` and `scale`.

    Raises:
        UserError: another of BasicSR's data sets.
    """
    if type(dataset).__module__.startswith('basicsr.'):
        yield from _stock_clips(dataset)
        return
    for index in range(len(dataset)):  # iterating a Dataset ends only if it raises IndexError
        yield _with_scale(dataset[index])


def count_clips(dataset: Samples) -> int:
    """How many `whole_clips` gives."""
    stock = getattr(dataset, 'imgs_lq', None) if type(dataset).__module__.startswith('basicsr.') else None
    return len(dataset if stock is None else stock)


def gives_clips(dataset_class: type) -> bool:
    """Whether `whole_clips` takes a data set of this class, if it is BasicSR's; what others give is theirs to say."""
    return not dataset_class.__module__.startswith('basicsr.') or dataset_class.__name__ in STOCK


def _stock_clips(dataset: Any) -> Iterator[dict[str, Any]]:
    if not gives_clips(type(dataset)):
        fit = ' or '.join(('DegradedClipDataset', *STOCK))
        name, kind = dataset.opt.get('name', '?'), type(dataset).__name__
        raise UserError(f'data set {name}: {kind} gives no whole clips; expected {fit}')
    for folder, frames in dataset.imgs_lq.items():
        lq, gt = (x if isinstance(x, Tensor) else read_img_seq(x) for x in (frames, dataset.imgs_gt[folder]))
        yield _with_scale({'lq': lq, 'gt': gt, 'folder': folder})


def _with_scale(sample: dict[str, Any]) -> dict[str, Any]:
    return {'scale': sample['gt'].shape[-1] // sample['lq'].shape[-1], **sample}
