"""Every data set of ours can be read by worker processes that are spawned, where nothing is inherited."""

from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from torch.utils.data import ConcatDataset, DataLoader

from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.data.latent_dataset import LatentDataset


def test_spawned_workers_give_the_same_samples(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    images = make_images(tmp_path / 'images')
    make_images(tmp_path / 'clips' / 'a', ((40, 48),) * 3)
    lmdb = tmp_path / 'images.lmdb'
    make_lmdb_from_imgs(str(images), str(lmdb), ['0.png', '1.png', '2.png'], ['0', '1', '2'])
    validation = {'name': 'set', 'phase': 'val', 'scale': 2}
    training = {'name': 'set', 'phase': 'train', 'scale': 2, 'gt_size': 16}
    datasets = [
        *(BicubicImageDataset({**validation, 'dataroot_gt': str(root)}) for root in (images, lmdb, 'skimage')),
        *(DegradedClipDataset({**validation, 'dataroot_gt': str(root)}) for root in (tmp_path / 'clips', 'skimage')),
        BicubicImageDataset({**training, 'dataroot_gt': str(images)}),
        DegradedClipDataset({**training, 'dataroot_gt': str(tmp_path / 'clips'), 'num_frame': 2}),
        LatentDataset({'batch_size_per_gpu': 1, 'iterations_per_epoch': 1}),
    ]
    datasets[6]._inventor = lambda: None  # what this process has made must not be in the way
    expected = [sample for dataset in datasets for sample in (dataset[index] for index in range(len(dataset)))]
    loader = DataLoader(ConcatDataset(datasets), batch_size=None, num_workers=1, multiprocessing_context='spawn')
    for found, sample in zip(loader, expected, strict=True):
        assert found.keys() == sample.keys()
        for key in ('lq', 'gt') if 'lq' in sample else ():
            is_patch = sample['gt'].shape[-2:] == (16, 16)  # at random: as large, but another
            assert found[key].shape == sample[key].shape and (is_patch or torch.equal(found[key], sample[key]))
