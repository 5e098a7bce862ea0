"""Validation on clips: frames and clips whose metric is not finite are named and do not count."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from basicsr.models import sr_model
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from torch import Tensor, nn

from vsrkd_plugin.basicsr_patches.validation import mend_validation
from vsrkd_plugin.metrics.clips import frame_metrics
from vsrkd_plugin.models.clip_sr_model import ClipSRModel

METRICS = {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}, 'ssim': {'type': 'calculate_ssim', 'crop_border': 2}}


class Darker(nn.Module):
    """A recurrent network: repeats pixels and takes 10 levels off; what is black stays black."""

    def forward(self, clip: Tensor) -> Tensor:
        return clip.repeat_interleave(2, 3).repeat_interleave(2, 4) - 10 / 255


class Writer:
    """TensorBoard's."""

    def __init__(self) -> None:
        self.scalars: dict[str, float] = {}

    def add_scalar(self, name: str, value: float, _iteration: int) -> None:
        self.scalars[name] = value


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClipSRModel:
    model = ClipSRModel.__new__(ClipSRModel)
    model.opt = {'val': {'metrics': METRICS}, 'train': {'total_iter': 4}, 'network_g': {'type': 'Darker'},
                 'path': {'experiments_root': str(tmp_path)}, 'is_train': True}  # fmt: skip
    model.device, model.net_g, model.is_train = torch.device('cpu'), Darker(), True
    for owner, name in (
        (sr_model, 'calculate_metric'),
        *((SRModel, name) for name in ('feed_data', 'nondist_validation', '_log_validation_metric_values')),
        (BaseModel, '_update_best_metric_result'),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # so that what the patch changes is put back
    if SRModel._log_validation_metric_values.__module__ == sr_model.__name__:  # no other test has mended it
        mend_validation()  # as a run has it
    return model


def lines(folder: Path) -> list[dict[str, Any]]:
    """What `metrics.jsonl` holds, read as strictly as JSON is defined: no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f'{constant} is no JSON')

    text = (folder / 'metrics.jsonl').read_text(encoding='utf-8')
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def clip(name: str, frames: int) -> dict[str, Any]:
    lq = torch.rand(frames, 3, 12, 14, generator=torch.Generator().manual_seed(frames)) * 0.7 + 0.2
    return {'lq': lq, 'gt': lq.repeat_interleave(2, 2).repeat_interleave(2, 3), 'folder': name, 'scale': 2}


class Clips(list):
    opt = {'name': 'clips', 'type': 'DegradedClipDataset'}  # noqa: RUF012


def test_frames_and_clips_that_are_not_finite(model: ClipSRModel, tmp_path: Path) -> None:
    moving, dark, still = clip('moving', 4), clip('dark', 5), clip('still', 1)
    for black, time in ((dark, 2), (still, 0)):
        black['lq'][time], black['gt'][time] = 0, 0
    writer = Writer()
    model.nondist_validation(SimpleNamespace(dataset=Clips([moving, dark, still])), 4, writer, False)
    by_frame = [frame_metrics(Darker()(c['lq'][None])[0], c['gt'], METRICS)['psnr'] for c in (moving, dark)]
    expected = [sum(by_frame[0]) / 4, (sum(by_frame[1][:2]) + sum(by_frame[1][3:])) / 4]
    assert model.metric_results['psnr'] == pytest.approx(sum(expected) / 2)
    assert model.best_metric_results['clips']['psnr']['val'] == model.metric_results['psnr']
    assert model.left_out == [
        'dark: 1 of 5 frames left out: psnr of frame 2 is not finite',
        'still: 1 of 1 frames left out: psnr of frame 0 is not finite',
        '1 of 3 clips left out: psnr of still is not finite',
    ]
    assert writer.scalars['metrics/clips/psnr/dark'] == pytest.approx(expected[1])
    assert 'metrics/clips/psnr/still' not in writer.scalars  # nor its flicker
    assert math.isfinite(writer.scalars['metrics/clips/flicker'])
    assert all(map(math.isfinite, writer.scalars.values()))
    (line,) = lines(tmp_path)
    assert line == {
        'iteration': 4, 'dataset': 'clips', 'left_out': model.left_out,
        'metrics': {name: pytest.approx(model.metric_results[name]) for name in ('psnr', 'ssim')},
    }  # fmt: skip
    assert writer.scalars['metrics/clips/psnr'] == pytest.approx(sum(expected) / 2)


def test_a_set_without_any_finite_value(model: ClipSRModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    still = clip('still', 2)
    still['lq'][:], still['gt'][:] = 0, 0
    writer = Writer()
    model.nondist_validation(SimpleNamespace(dataset=Clips([still])), 5, writer, False)
    (line,) = lines(tmp_path)
    assert line['metrics'] == {'psnr': None, 'ssim': pytest.approx(1)}
    assert line['iteration'] == 4  # the last one; stock counts one more
    assert line['left_out'] == [
        'still: 2 of 2 frames left out: psnr of frame 0, frame 1 is not finite',
        '1 of 1 clips left out: psnr of still is not finite',
    ]
    assert all(f'Validation clips: {text}' in caplog.text for text in line['left_out'])
    assert 'metrics/clips/psnr' not in writer.scalars and 'metrics/clips/ssim' in writer.scalars


def test_a_set_that_is_all_finite_leaves_nothing_out(model: ClipSRModel, tmp_path: Path) -> None:
    model.nondist_validation(SimpleNamespace(dataset=Clips([clip('moving', 3)])), 2, None, False)
    (line,) = lines(tmp_path)
    assert set(line) == {'iteration', 'dataset', 'metrics'} and line['iteration'] == 2
