"""Stock validation of images, mended: an image whose metric is not finite is named and does not count."""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vsrkd_plugin.basicsr_patches import loop
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel

METRICS = {name: {'type': f'calculate_{name}', 'crop_border': 2, 'test_y_channel': True} for name in ('psnr', 'ssim')}


@pytest.fixture
def mended() -> None:
    """The patches: once in a process, whichever test comes first."""
    loop.apply()


class Images:
    """A validation set and its loader in one: images by name."""

    def __init__(self, images: dict[str, Tensor]) -> None:
        self.images, self.opt, self.dataset = images, {'name': 'set'}, self

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, gt = list(self.images.items())[index]
        return {'lq': gt[None], 'gt': gt[None], 'lq_path': [f'folder/{name}.png']}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self.images)))


class Darker(torch.nn.Module):
    """Errs by 10 levels; not where all is black."""

    def forward(self, x: Tensor) -> Tensor:
        return x - 10 / 255


class Writer:
    """TensorBoard's."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}

    def add_scalar(self, name: str, value: float, _iteration: int) -> None:
        self.scalars[name] = value


@pytest.fixture
def model(tmp_path: Path) -> MultiScaleSRModel:
    model = MultiScaleSRModel.__new__(MultiScaleSRModel)
    model.opt = {
        'val': {'metrics': METRICS},
        'train': {'total_iter': 4},
        'path': {'experiments_root': str(tmp_path)},
        'is_train': True,
    }
    model.device, model.net_g, model.is_train = torch.device('cpu'), Darker(), True
    return model


def picture(side: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(side).uniform(0.2, 1, (3, side, side))).float()


def test_black_and_tiny_images_are_named_and_do_not_count(
    mended: None, model: MultiScaleSRModel, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # BasicSR's own does not propagate to pytest's.
    monkeypatch.setattr('vsrkd_plugin.basicsr_patches.validation.logger', logging.getLogger('of_this_test'))
    good = {'a': picture(24), 'b': picture(32)}
    spoilt = {'a': good['a'], 'black': torch.zeros(3, 24, 24), 'tiny': picture(4), 'b': good['b']}
    writer = Writer()
    model.nondist_validation(Images(good), 2, writer, False)
    expected = dict(model.metric_results)
    model.nondist_validation(Images(spoilt), 4, writer, False)
    then = {**expected, 'ssim': (2 * expected['ssim'] + 1) / 3}  # of black it is 1, and counts
    assert model.metric_results == pytest.approx(then)
    assert model.best_metric_results['set']['psnr']['val'] == pytest.approx(expected['psnr'])
    assert model.best_metric_results['set']['psnr']['iter'] == 4
    assert '2 of 4 images left out: psnr of black, tiny is not finite' in caplog.text
    assert '1 of 4 images left out: ssim of tiny is not finite' in caplog.text
    assert writer.scalars == {f'metrics/set/{name}': pytest.approx(value) for name, value in then.items()}
    first, second = _lines(tmp_path)
    assert first == {'iteration': 2, 'dataset': 'set', 'metrics': pytest.approx(expected)}
    assert second['metrics'] == pytest.approx(then) and len(second['left_out']) == 2


def test_a_set_of_which_nothing_counts_has_no_best(mended: None, model: MultiScaleSRModel, tmp_path: Path) -> None:
    model.nondist_validation(Images({'black': torch.zeros(3, 24, 24)}), 4, Writer(), False)
    assert math.isnan(model.metric_results['psnr'])
    assert model.best_metric_results['set']['psnr'] == {'better': 'higher', 'val': -math.inf, 'iter': -1}
    assert _lines(tmp_path)[0]['metrics'] == {'psnr': None, 'ssim': pytest.approx(1)}


def _lines(folder: Path) -> list[dict[str, Any]]:
    """`metrics.jsonl`, read strictly."""
    text = (folder / 'metrics.jsonl').read_text(encoding='utf-8')
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
