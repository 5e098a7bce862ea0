"""What validation, a test and the report will do with each data set is tried before anything starts."""

import copy
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
from torch import Tensor, nn
from torch.utils.data import Dataset

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.files import check_files
from vsrkd_plugin.registration import register

COLOUR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1}
COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 4, 'num_conv': 1}
VDSR = {'type': 'VDSR', 'num_feat': 4, 'num_block': 1}
RLSP = {'type': 'RLSP', 'num_feat': 4, 'num_layer': 2, 'upscale': 2}
TDAN = {'type': 'TDAN', 'num_frame': 5, 'num_feat': 4, 'num_extract_block': 1, 'num_block': 1, 'deformable_groups': 1,
        'upscale': 2}  # fmt: skip
PSNR = {'type': 'calculate_psnr', 'test_y_channel': True}


@pytest.fixture(autouse=True)
def registered() -> None:
    register()


def _registered(monkeypatch: pytest.MonkeyPatch, registry: Any, cls: type) -> None:
    monkeypatch.setitem(registry._obj_map, cls.__name__, cls)


def _test(model: str, network: dict[str, Any], dataset: dict[str, Any], **metric: Any) -> dict[str, Any]:
    """Options of a test on one data set."""
    return {
        'name': 'tiny', 'model_type': model, 'num_gpu': 0, 'manual_seed': 0,
        'datasets': {'test': {'name': 'set', **dataset}},
        'network_g': dict(network), 'path': {},
        'val': {'save_img': False, 'metrics': {'psnr': {**PSNR, **metric}}},
    }  # fmt: skip


def _distillation(
    folder: Path, teacher: dict[str, Any], student: dict[str, Any], scale: int, dataset: dict[str, Any]
) -> dict[str, Any]:
    """Options of a distillation that validates on one data set."""
    build = ARCH_REGISTRY.get(teacher['type'])
    arguments = {key: value for key, value in teacher.items() if key != 'type'}
    torch.save({'params': build(**arguments).state_dict()}, folder / 'teacher.pth')
    return {
        'name': 'tiny', 'model_type': 'DataFreeDistillationModel', 'num_gpu': 0, 'manual_seed': 0, 'scales': [scale],
        'datasets': {
            'train': {'name': 'latent', 'type': 'LatentDataset', 'batch_size_per_gpu': 2},
            'val': {'name': 'set', **dataset},
        },
        'network_t': dict(teacher), 'network_g': dict(student),
        'path': {'pretrain_network_t': str(folder / 'teacher.pth')},
        'synthesis': {'hr_size': 48, 'sources': [{'type': 'procedural', 'num_images': 4}]},
        'train': {
            'distill_opt': {'type': 'DistillationLoss'}, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR'}, 'total_iter': 4,
        },
        'val': {'val_freq': 2, 'save_img': False, 'metrics': {'psnr': dict(PSNR)}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }  # fmt: skip


def _check(opt: dict[str, Any], root: Path, is_train: bool = True) -> None:
    opt = copy.deepcopy(opt)
    validate(opt, is_train)
    complete(opt, str(root), is_train)
    check_files(opt)


def _fails(opt: dict[str, Any], root: Path, message: str, is_train: bool = True) -> None:
    with pytest.raises(UserError) as caught:
        _check(opt, root, is_train)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert '\n' not in str(caught.value)


def _images(folder: Path, **options: Any) -> dict[str, Any]:
    return {'type': 'BicubicImageDataset', 'dataroot_gt': str(folder), 'scale': 2, 'color': 'y', **options}


def test_a_colour_teacher_and_images_of_y(tmp_path: Path, image_folder: Path) -> None:
    teacher, student = {**COLOUR, 'upscale': 2}, {**COLOUR, 'upscale': 2, 'num_feat': 2}
    opt = _distillation(tmp_path, teacher, student, 2, _images(image_folder))
    message = r'^datasets, val: gives 1 channel \(color: y\), but network_g takes 3; expected color: rgb$'
    _fails(opt, tmp_path, message)
    del opt['val']  # then the report, which there is without validation too, would meet it
    _fails(opt, tmp_path, message.replace('network_g', 'network_t'))
    opt['datasets']['val']['color'] = 'rgb'
    _check(opt, tmp_path)


def test_a_network_of_another_scale(tmp_path: Path, image_folder: Path) -> None:
    opt = _distillation(tmp_path, VDSR, {**COMPACT, 'upscale': 4}, 4, _images(image_folder))
    _fails(opt, tmp_path, r'^datasets, val, scale: 2, but network_g enlarges by 4$')
    opt['datasets']['val']['scale'] = 4
    _check(opt, tmp_path)
    opt['datasets']['val']['interpolate'] = True
    _fails(opt, tmp_path, r'^datasets, val, interpolate: true gives LR at the size of HR, but network_g enlarges it by')


def test_colours_and_a_network_of_y(tmp_path: Path, image_folder: Path) -> None:
    opt = _test('MultiScaleSRModel', {**COMPACT, 'upscale': 2}, _images(image_folder, color='rgb'))
    _fails(opt, tmp_path, r'^datasets, test: gives 3 channels \(color: rgb\), but network_g takes 1; .*: y$', False)
    _check({**opt, 'network_g': dict(VDSR)}, tmp_path, False)  # enlarges chroma itself


class _AtHRSize(nn.Module):
    """Works at the size of HR, and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


@pytest.mark.parametrize('model', ['MultiScaleSRModel', 'SRModel'])
def test_a_network_at_hr_size(tmp_path: Path, image_folder: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, ARCH_REGISTRY, _AtHRSize)
    opt = _test(model, {'type': '_AtHRSize'}, _images(image_folder), crop_border=2)
    _fails(
        opt, tmp_path, r'^datasets, test, scale: 2, but network_g enlarges by 1; .* expected interpolate: true$', False
    )
    opt['datasets']['test']['interpolate'] = True
    _check(opt, tmp_path, False)


def test_stock_sr_model_tells_no_scale(tmp_path: Path, image_folder: Path) -> None:
    opt = _test('SRModel', {**VDSR, 'upscale': 2}, _images(image_folder, scale=3), crop_border=2)
    _fails(opt, tmp_path, r'^datasets, test, scale: 3, but network_g enlarges by 2$', False)
    _check({**opt, 'model_type': 'MultiScaleSRModel'}, tmp_path, False)


class _MultipleOf4(nn.Module):
    """Wants sides that are a multiple of 4, and at least 20."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert min(x.shape[2:]) >= 20 and x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0, 'sides must be a multiple of 4'
        return nn.functional.pixel_shuffle(self.conv(x), 2)


def test_sizes_that_a_network_cannot_take(
    tmp_path: Path, make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(monkeypatch, ARCH_REGISTRY, _MultipleOf4)
    fit, unfit = make_images(tmp_path / 'fit', ((64, 48),)), make_images(tmp_path / 'unfit', ((64, 52),))
    for folder in (fit, unfit):
        opt = _test('MultiScaleSRModel', {'type': '_MultipleOf4'}, _images(folder, color='rgb'))
        if folder == fit:  # although the first try, with less than 20 pixels, fails
            _check(opt, tmp_path, False)
        else:
            _fails(opt, tmp_path, r'^datasets, test: does not suit network_g: sides must be a multiple of 4$', False)


def test_pairs_of_basicsr(tmp_path: Path, image_folder: Path) -> None:
    (tmp_path / 'lq').mkdir()
    for file in image_folder.iterdir():
        cv2.imwrite(str(tmp_path / 'lq' / file.name), cv2.imread(str(file))[::3, ::3])
    paired = {'type': 'PairedImageDataset', 'dataroot_gt': str(image_folder), 'dataroot_lq': str(tmp_path / 'lq'),
              'io_backend': {'type': 'disk'}}  # fmt: skip
    opt = _test('SRModel', {**COLOUR, 'upscale': 2}, paired, crop_border=2)
    _fails(opt, tmp_path, r"^datasets, test: PairedImageDataset gives no first sample: KeyError 'scale'$", False)
    opt['datasets']['test']['scale'] = 3
    _fails(opt, tmp_path, r'^datasets, test, scale: 3, but network_g enlarges by 2$', False)
    opt['network_g']['upscale'] = 3
    _check(opt, tmp_path, False)
    single = {'type': 'SingleImageDataset', 'dataroot_lq': str(tmp_path / 'lq'), 'io_backend': {'type': 'disk'}}
    _check({**opt, 'model_type': 'MultiScaleSRModel', 'datasets': {'test': {'name': 'lr', **single}}}, tmp_path, False)


def test_metrics(tmp_path: Path, image_folder: Path) -> None:
    opt = _test('MultiScaleSRModel', VDSR, _images(image_folder), input_order='HCW')
    _fails(opt, tmp_path, r'^val, metrics, psnr: calculate_psnr cannot be calculated: Wrong input_order HCW', False)
    opt['val']['metrics']['psnr'] = {'type': 'calculate_psnr_pt'}  # takes tensors, which no validation has
    _fails(opt, tmp_path, r'^val, metrics, psnr: calculate_psnr_pt cannot be calculated: ', False)


# Clips


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Any]:
    """A data set of two clips of four frames."""
    image = np.random.default_rng(0).integers(0, 256, (44, 52, 3)).astype(np.uint8)
    for name in ('a', 'b'):
        (tmp_path / 'clips' / name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / 'clips' / name / f'{number:08d}.png'), image)
    return {'type': 'DegradedClipDataset', 'dataroot_gt': str(tmp_path / 'clips'), 'scale': 2}


@pytest.mark.parametrize('model', ['VideoDataFreeDistillationModel', 'ClipSRModel'])
def test_clips_and_networks(tmp_path: Path, clips: dict[str, Any], model: str) -> None:
    opt = _test(model, RLSP, clips)
    _check(opt, tmp_path, False)
    opt['datasets']['test']['scale'] = 4
    _fails(opt, tmp_path, r'^datasets, test, scale: 4 does not suit network_g: turns .* frames of', False)
    opt = _test(model, TDAN, clips)
    _fails(opt, tmp_path, r'^datasets, test: .*/a has 4 frames, fewer than the window of 5 of network_g$', False)
    opt['network_g']['num_frame'] = 3
    _check(opt, tmp_path, False)


def test_clips_of_basicsr(tmp_path: Path, clips: dict[str, Any]) -> None:
    for file in (tmp_path / 'clips').rglob('*.png'):
        small = tmp_path / 'lq' / file.relative_to(tmp_path / 'clips')
        small.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(small), cv2.imread(str(file))[::2, ::2])
    stock = {'name': 'Vid4', 'type': 'VideoRecurrentTestDataset', 'dataroot_gt': str(tmp_path / 'clips'),
             'dataroot_lq': str(tmp_path / 'lq'), 'cache_data': True, 'io_backend': {'type': 'disk'},
             'num_frame': 3}  # fmt: skip
    _check(_test('ClipSRModel', RLSP, stock), tmp_path, False)
    opt = _test('ClipSRModel', {**RLSP, 'upscale': 4}, stock)
    _fails(opt, tmp_path, r'^datasets, test, scale: 2 does not suit network_g: ', False)
    (tmp_path / 'lq' / 'a' / '00000003.png').unlink()
    _fails(opt, tmp_path, r'^datasets, test: VideoRecurrentTestDataset gives no first frame: Different number', False)


def test_images_are_no_clips_and_clips_no_images(tmp_path: Path, clips: dict[str, Any], image_folder: Path) -> None:
    opt = _test('ClipSRModel', RLSP, _images(image_folder))
    _fails(opt, tmp_path, r'^datasets, test, type: BicubicImageDataset gives no whole clips; expected Degraded', False)
    opt = _test('MultiScaleSRModel', VDSR, clips)
    _fails(opt, tmp_path, r'^datasets, test, type: DegradedClipDataset gives clips, but .* single images$', False)


# What is nobody's business


class _Theirs(Dataset):
    """A user's data set, which may be slow to build."""

    def __init__(self, opt: dict[str, Any]) -> None:
        raise AssertionError('not to be built before the run')


def test_what_is_not_known_is_not_tried(tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel

    class TheirModel(MultiScaleSRModel):
        def test(self) -> None:
            """In their own way."""

    class TheirOtherModel(MultiScaleSRModel):
        """Validates as ours does."""

    for model in (TheirModel, TheirOtherModel):
        _registered(monkeypatch, MODEL_REGISTRY, model)
    _registered(monkeypatch, DATASET_REGISTRY, _Theirs)
    _check(_test('MultiScaleSRModel', VDSR, {'type': '_Theirs'}), tmp_path, False)
    opt = _test('TheirModel', {**COMPACT, 'upscale': 4}, _images(image_folder))
    _check(opt, tmp_path, False)
    _fails({**opt, 'model_type': 'TheirOtherModel'}, tmp_path, r'^datasets, test, scale: 2, but network_g', False)


def test_random_states_are_kept_and_a_set_takes_little_time(tmp_path: Path, image_folder: Path) -> None:
    opt = _test('MultiScaleSRModel', {**VDSR, 'num_feat': 64, 'num_block': 18}, _images(image_folder))
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    _check(opt, tmp_path, False)
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()
    several = {f'test_{number}': {**opt['datasets']['test'], 'name': f'set_{number}'} for number in range(6)}
    durations = []
    for datasets in (opt['datasets'], several):
        started = time.perf_counter()
        _check({**opt, 'datasets': datasets}, tmp_path, False)
        durations.append(time.perf_counter() - started)
    assert (durations[1] - durations[0]) / 5 < 0.5  # seconds; some 30 ms where nothing else runs
