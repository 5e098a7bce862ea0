"""What validation, a test and the report will do with each data set is tried before anything starts."""

import copy
import re
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
    _check(opt, tmp_path, False)  # chroma is enlarged by bicubic
    _check({**opt, 'network_g': dict(VDSR)}, tmp_path, False)
    opt['model_type'] = 'SRModel'
    opt['val']['metrics']['psnr']['crop_border'] = 2
    _fails(opt, tmp_path, r'^datasets, test: gives 3 channels \(color: rgb\), but network_g takes 1; .*: y$', False)


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


class _Multiples(nn.Module):
    """Wants sides that are multiples of a number, and not too small; an image, or a clip."""

    def __init__(self, of: int, least: int = 20) -> None:
        super().__init__()
        self.of, self.least, self.conv = of, least, nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        multiple = height % self.of == 0 and width % self.of == 0
        assert min(height, width) >= self.least and multiple, f'sides must be a multiple of {self.of}'
        images = nn.functional.pixel_shuffle(self.conv(x.flatten(0, -4)), 2)
        return images.view(*x.shape[:-2], 2 * height, 2 * width)


@pytest.mark.parametrize(
    ('of', 'sizes', 'unfit'),
    [
        (4, ((64, 48),), None),  # although the first try, with less than 20 pixels, fails
        (4, ((64, 52),), '26x32'),
        (4, ((64, 48), (64, 64), (64, 52)), '26x32'),
        (16, ((96, 64), (160, 32 + 96)), None),
        (16, ((80, 80),), '40x40'),  # which cannot be cropped to 16
        (32, ((64, 64), (64, 192), (192 + 32, 64)), '32x112'),
    ],
)
def test_sizes_that_a_network_cannot_take(
    tmp_path: Path,
    make_images: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    of: int,
    sizes: tuple[tuple[int, int], ...],
    unfit: str | None,
) -> None:
    _registered(monkeypatch, ARCH_REGISTRY, _Multiples)
    folder = make_images(tmp_path / 'images', sizes)
    opt = _test('MultiScaleSRModel', {'type': '_Multiples', 'of': of}, _images(folder, color='rgb'))
    if unfit is None:
        _check(opt, tmp_path, False)
    else:
        text = f'^datasets, test: LR of {unfit} does not suit network_g: sides must be a multiple of {of}'
        least = {4: 20, 16: 32, 32: 32}[of]
        hint = f'{{size_multiple: {of}' + (f', min_size: {least}}}' if least > of else '}')
        _fails(opt, tmp_path, f'{text}; try contract_g: {re.escape(hint)}$', False)
        _check({**opt, 'contract_g': {'size_multiple': of, 'min_size': 20}}, tmp_path, False)


def test_swinir_on_the_bundled_photographs(tmp_path: Path) -> None:
    swinir = {'type': 'SwinIR', 'upscale': 2, 'in_chans': 3, 'img_size': 16, 'window_size': 8, 'depths': [1],
              'embed_dim': 4, 'num_heads': [1], 'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect'}  # fmt: skip
    opt = _test('MultiScaleSRModel', swinir, _images(Path('skimage'), color='rgb'))
    _check(opt, tmp_path, False)  # ours pads
    opt['contract_g'] = {'size_multiple': 4}  # options come first, if they are wrong too
    _fails(opt, tmp_path, r'^datasets, test: LR of .* network_g: .*; try contract_g: {size_multiple: 8}$', False)
    del opt['contract_g']
    opt['model_type'] = 'SRModel'  # does not know of it
    opt['val']['metrics']['psnr']['crop_border'] = 2
    _fails(opt, tmp_path, r'^datasets, test: LR of (225x150|300x200|320x213) does not suit network_g: [^;]*$', False)


def test_sizes_in_the_report(tmp_path: Path, make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, ARCH_REGISTRY, _Multiples)
    folder = make_images(tmp_path / 'images', ((64, 64), (64, 52)))
    teacher, student = {'type': '_Multiples', 'of': 4, 'least': 8}, {**COLOUR, 'upscale': 2}
    opt = _distillation(tmp_path, teacher, student, 2, _images(folder, color='rgb'))
    _fails(opt, tmp_path, r'^datasets, val, scale: 2, LR of 26x32 does not suit network_t: sides must be a multiple')


def test_pairs_of_basicsr_of_several_sizes(
    tmp_path: Path, make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(monkeypatch, ARCH_REGISTRY, _Multiples)
    lq = make_images(tmp_path / 'lq', ((32, 32), (32, 24), (32, 26)))
    gt = make_images(tmp_path / 'gt', ((64, 64), (64, 48), (64, 52)))
    pairs = {'type': 'PairedImageDataset', 'dataroot_gt': str(gt), 'dataroot_lq': str(lq), 'scale': 2,
             'io_backend': {'type': 'disk'}}  # fmt: skip
    single = {'type': 'SingleImageDataset', 'dataroot_lq': str(lq), 'io_backend': {'type': 'disk'}}
    for dataset in (pairs, single):
        opt = _test('MultiScaleSRModel', {'type': '_Multiples', 'of': 4}, dataset, crop_border=2)
        _fails(opt, tmp_path, r'^datasets, test: LR of 26x32 does not suit network_g: sides must be', False)
    (lq / '2.png').unlink()
    (gt / '2.png').unlink()
    for dataset in (pairs, single):
        opt = _test('MultiScaleSRModel', {'type': '_Multiples', 'of': 4}, dataset, crop_border=2)
        _check(opt, tmp_path, False)


def test_pairs_of_basicsr(tmp_path: Path, image_folder: Path) -> None:
    (tmp_path / 'lq').mkdir()
    for file in image_folder.iterdir():
        cv2.imwrite(str(tmp_path / 'lq' / file.name), np.asarray(cv2.imread(str(file)))[::3, ::3])
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


@pytest.mark.parametrize(
    ('border', 'shown'), [(None, 'nothing'), (-1, '-1'), (2.5, r'2\.5'), ('2', "'2'"), (True, 'True')]
)
def test_a_border_that_is_none(tmp_path: Path, image_folder: Path, border: Any, shown: str) -> None:
    opt = _test('MultiScaleSRModel', VDSR, _images(image_folder), crop_border=border)
    text = f'^val, metrics, psnr, crop_border: expected a whole number >= 0, got {shown}$'
    _fails(opt, tmp_path, text, False)


@pytest.mark.parametrize('root', [5, ['hr', 5], {'hr': 5}])
@pytest.mark.parametrize('phase', ['train', 'val'])
def test_a_root_that_is_no_folder(tmp_path: Path, image_folder: Path, root: Any, phase: str) -> None:
    paired = {'name': 'pairs', 'type': 'PairedImageDataset', 'dataroot_gt': root, 'dataroot_lq': str(image_folder),
              'io_backend': {'type': 'disk'}, 'scale': 1}  # fmt: skip
    opt = _distillation(tmp_path, VDSR, VDSR, 2, _images(image_folder))
    opt |= {'model_type': 'MultiScaleSRModel', 'path': {}}
    for key in ('scales', 'network_t', 'synthesis'):
        del opt[key]
    del opt['train']['distill_opt']
    opt['train'] |= {'pixel_opt': {'type': 'L1Loss'}, 'scheduler': {'type': 'MultiStepLR', 'milestones': [2]}}
    opt['datasets']['train'] = {'name': 'hr', 'batch_size_per_gpu': 2, **_images(image_folder, gt_size=16)}
    opt['datasets'][phase].update(paired)
    text = rf'^datasets, {phase}, dataroot_gt: expected a folder, or a list of folders, got {re.escape(repr(root))}$'
    _fails(opt, tmp_path, text)


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
        cv2.imwrite(str(small), np.asarray(cv2.imread(str(file)))[::2, ::2])
    stock = {'name': 'Vid4', 'type': 'VideoRecurrentTestDataset', 'dataroot_gt': str(tmp_path / 'clips'),
             'dataroot_lq': str(tmp_path / 'lq'), 'cache_data': True, 'io_backend': {'type': 'disk'},
             'num_frame': 3}  # fmt: skip
    _check(_test('ClipSRModel', RLSP, stock), tmp_path, False)
    opt = _test('ClipSRModel', {**RLSP, 'upscale': 4}, stock)
    _fails(opt, tmp_path, r'^datasets, test, scale: 2 does not suit network_g: ', False)
    (tmp_path / 'lq' / 'a' / '00000003.png').unlink()
    _fails(opt, tmp_path, r'^datasets, test: VideoRecurrentTestDataset gives no first frame: Different number', False)


def test_clips_of_several_sizes(tmp_path: Path, clips: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, ARCH_REGISTRY, _Multiples)

    def write(kind: str, name: str, height: int, width: int) -> None:
        (tmp_path / kind / name).mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(tmp_path / kind / name / f'{number:08d}.png'), np.zeros((height, width, 3), np.uint8))

    for name, height, width in (('a', 64, 48), ('b', 64, 52)):
        write('gt', name, height, width)
        write('lq', name, height // 2, width // 2)
    stock = {'name': 'Vid4', 'type': 'VideoRecurrentTestDataset', 'dataroot_gt': str(tmp_path / 'gt'),
             'dataroot_lq': str(tmp_path / 'lq'), 'cache_data': True, 'io_backend': {'type': 'disk'},
             'num_frame': 3}  # fmt: skip
    for dataset in ({**clips, 'dataroot_gt': str(tmp_path / 'gt')}, stock):
        opt = _test('ClipSRModel', {'type': '_Multiples', 'of': 4}, dataset)
        _fails(opt, tmp_path, '^datasets, test: LR frames of 26x32 do not suit network_g: sides must be', False)
    _check(_test('ClipSRModel', {'type': '_Multiples', 'of': 2}, stock), tmp_path, False)


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ['images']  # nothing was created
    opt = _test('TheirModel', {**COMPACT, 'upscale': 4}, _images(image_folder))
    _check(opt, tmp_path, False)
    _fails({**opt, 'model_type': 'TheirOtherModel'}, tmp_path, r'^datasets, test, scale: 2, but network_g', False)


def test_random_states_are_kept(tmp_path: Path, image_folder: Path) -> None:
    opt = _test('MultiScaleSRModel', VDSR, _images(image_folder))
    states = torch.get_rng_state(), np.random.get_state(legacy=False)['state']['key'].copy()
    _check(opt, tmp_path, False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state(legacy=False)['state']['key'] == states[1]).all()


def test_a_network_is_called_once_for_sizes_that_are_alike(
    tmp_path: Path, make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset

    _registered(monkeypatch, ARCH_REGISTRY, _Multiples)
    read, forward = BicubicImageDataset._read, _Multiples.forward
    decoded: list[int] = []
    pixels: list[int] = []

    def noted_read(self: BicubicImageDataset, index: int) -> np.ndarray:
        decoded.append(index)
        return read(self, index)

    def noted_forward(self: _Multiples, x: Tensor) -> Tensor:
        pixels.append(x[0, 0].numel())
        return forward(self, x)

    monkeypatch.setattr(BicubicImageDataset, '_read', noted_read)
    monkeypatch.setattr(_Multiples, 'forward', noted_forward)
    folder = make_images(tmp_path / 'images', ((64, 64), (64, 64), (64, 192), (80, 64), (64 + 256, 320)))
    opt = _test('MultiScaleSRModel', {'type': '_Multiples', 'of': 4}, _images(folder, color='rgb'))
    several = {f'test_{number}': {**opt['datasets']['test'], 'name': f'set_{number}'} for number in range(3)}
    _check({**opt, 'datasets': several}, tmp_path, False)
    # LR of 32x32, of 96x32, which is cropped alike, of 32x40 and of 160x160, which is cropped to 32x32 too.
    assert sorted(pixels) == sorted(3 * [32 * 32, 32 * 40])
    assert sorted(decoded) == sorted(3 * list(range(5)))
