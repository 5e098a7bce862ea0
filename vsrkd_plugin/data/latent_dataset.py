"""The training set of a training without data."""

from typing import Any

from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from vsrkd_plugin.errors import UserError


@DATASET_REGISTRY.register()
class LatentDataset(Dataset):
    """Holds nothing: BasicSR's loop wants a data set to count iterations by; the model synthesises its inputs.

    Options (`datasets.train`):
        batch_size_per_gpu: images of a step in each process.
        iterations_per_epoch: default 1000. Only BasicSR's log shows epochs.

    Its length is a whole number of joint batches: BasicSR drops an incomplete last one but counts it.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__()
        self.opt = opt
        batch, iterations = opt['batch_size_per_gpu'], opt.get('iterations_per_epoch', 1000)
        if batch < 1 or iterations < 1:
            raise UserError('datasets, train: batch_size_per_gpu and iterations_per_epoch must be at least 1')
        _, world_size = get_dist_info()
        self._length = batch * world_size * iterations

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, int]:
        return {'index': index}
