"""What options name is tried before anything is created: every flaw has its one line, and nothing is left behind."""

import copy
import logging
import os
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.files import check_files
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.folder_lock import owned
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
TEACHER = {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 6, 'num_block': 3}
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 2, 'upscale': 2}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A checkpoint of the teacher."""
    register()
    from vsrkd_plugin.archs.vdsr_arch import VDSR

    path = tmp_path / 'teacher.pth'
    torch.save({'params': VDSR(num_feat=6, num_block=3).state_dict()}, path)
    return path


@pytest.fixture
def opt(weights: Path, image_folder: Path) -> dict[str, Any]:
    """A small distillation that passes."""
    opt = load_options(str(OPTIONS / 'dfkd_vdsr.yml'))
    opt.update(name='run', num_gpu=0, network_t=dict(TEACHER), network_g={**TEACHER, 'num_feat': 4})
    opt['network_z'].update(num_latent=8, num_feat=8)
    opt['path']['pretrain_network_t'] = str(weights)
    opt['train']['growth'].update(start=2)
    for scale in (2, 3, 4):
        opt['datasets'][f'val_x{scale}']['dataroot_gt'] = str(image_folder)
    return opt


def _check(opt: dict[str, Any], root: Path, is_train: bool = True, auto_resume: bool = False) -> None:
    opt = copy.deepcopy(opt)
    validate(opt, is_train)
    complete(opt, str(root), is_train, auto_resume)
    before = copy.deepcopy(opt)
    try:
        check_files(opt)
    finally:
        assert opt == before


def _fails(opt: dict[str, Any], root: Path, message: str, is_train: bool = True) -> None:
    files = sorted(root.rglob('*'))
    with pytest.raises(UserError) as caught:
        _check(opt, root, is_train)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert '\n' not in str(caught.value)
    assert sorted(root.rglob('*')) == files


def test_passes_unnoticed(opt: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    from basicsr.utils import logger as basicsr_logger

    states = torch.get_rng_state(), np.random.get_state(legacy=False)['state']['key'].copy(), random.getstate()
    handlers, ready = list(logging.getLogger('basicsr').handlers), dict(basicsr_logger.initialized_logger)
    files = sorted(tmp_path.rglob('*'))
    _check(opt, tmp_path)
    assert sorted(tmp_path.rglob('*')) == files
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state(legacy=False)['state']['key'] == states[1]).all() and random.getstate() == states[2]
    assert logging.getLogger('basicsr').handlers == handlers and basicsr_logger.initialized_logger == ready
    assert logging.root.manager.disable == logging.NOTSET
    assert capfd.readouterr() == ('', '')


def test_a_network_that_logs_when_built_does_not_set_up_the_log(opt: dict[str, Any], tmp_path: Path) -> None:
    from basicsr.utils import get_root_logger
    from basicsr.utils import logger as basicsr_logger
    from basicsr.utils.registry import ARCH_REGISTRY

    from vsrkd_plugin.archs.vdsr_arch import VDSR

    def loud(**arguments: Any) -> nn.Module:
        get_root_logger().warning('built')
        return VDSR(**arguments)

    ARCH_REGISTRY._obj_map['LoudNet'] = loud
    ready, handlers = dict(basicsr_logger.initialized_logger), list(logging.getLogger('basicsr').handlers)
    try:
        _check({**opt, 'network_g': {**opt['network_g'], 'type': 'LoudNet'}}, tmp_path)
    finally:
        del ARCH_REGISTRY._obj_map['LoudNet']
    assert basicsr_logger.initialized_logger == ready
    assert logging.getLogger('basicsr').handlers == handlers


@pytest.mark.parametrize(
    ('key', 'change', 'message'),
    [
        ('network_g', {'num_in_ch': 2}, r'^network_g: VDSR cannot be built: num_in_ch must be 1 .* got 2$'),
        ('network_g', {'num_feat': 'wide'}, r"^network_g, num_feat: expected a number, got 'wide'$"),
        ('network_g', {'num_in_ch': 3}, r'^train, init: teacher: .* differ in the channels .* 1 and 3$'),
        ('network_g', {'num_feat': 8}, r'^train, init: teacher: a student of 8 channels cannot start from .* of 6$'),
        ('network_z', {'num_feat': 7}, r'^network_z: LatentGenerator cannot be built: num_feat must be even, got 7$'),
        ('network_z', {'num_latent': 0}, r'^network_z: LatentGenerator cannot be built: '),
    ],
)
def test_networks(opt: dict[str, Any], tmp_path: Path, key: str, change: dict[str, Any], message: str) -> None:
    opt[key].update(change)
    _fails(opt, tmp_path, message)


@pytest.mark.parametrize(
    ('key', 'change', 'message'),
    [
        ('distill_opt', {'criterion': 'l3'}, r'^train, distill_opt: DistillationLoss cannot be built: criterion'),
        ('reconstruction_opt', {'degradation': 'nearest'}, r'^train, reconstruction_opt: .*one of bicubic, blur'),
        ('optim_g', {'type': 'SGD', 'nesterov': True}, r'^train, optim_g: SGD cannot be built: Nesterov'),
    ],
)
def test_losses_and_optimisers(opt: dict[str, Any], tmp_path: Path, key: str, change: dict, message: str) -> None:
    for name in ('betas', 'lr_other'):
        opt['train'][key].pop(name, None)
    opt['train'][key].update(change)
    _fails(opt, tmp_path, message)


class _TheirNet(nn.Module):
    """A class that nobody else has."""

    def __reduce__(self) -> Any:
        return os.mkdir, ('pwned',)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _empty(path: Path) -> None:
    path.write_bytes(b'')


def _other_shape(path: Path) -> None:
    from vsrkd_plugin.archs.vdsr_arch import VDSR

    torch.save({'params': VDSR(num_feat=8, num_block=3).state_dict()}, path)


def _deeper(path: Path) -> None:
    from vsrkd_plugin.archs.vdsr_arch import VDSR

    torch.save({'params': VDSR(num_feat=6, num_block=4).state_dict()}, path)


def _other_code(path: Path) -> None:
    torch.save(_TheirNet(), path, pickle_module=pickle)


def _no_weights(path: Path) -> None:
    torch.save({'epoch': 3}, path)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (Path.unlink, r'no such checkpoint file$'),
        (_truncated, r'cannot be read as a checkpoint, it is truncated or not one'),
        (_empty, r'cannot be read as a checkpoint, it is truncated or not one'),
        (_other_shape, r'input\.weight has shape \(8, 1, 3, 3\)|has shape .* but the VDSR of the options has'),
        (
            _deeper,
            r'holds residual_layer\.3\.conv\.weight \(1 keys more\) that the VDSR of the options has not; '
            r"check the network's options against the checkpoint$",
        ),
        (_other_code, r'holds no state dict'),
        (_no_weights, r'holds no state dict'),
    ],
)
def test_teacher_file(
    opt: dict[str, Any],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(weights)
    _fails(opt, tmp_path, rf'^path, pretrain_network_t: {re.escape(str(weights))}: (.*{message})')
    assert not (tmp_path / 'pwned').exists()


def test_unknown_zoo_name_and_a_checkpoint_for_no_network(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['path']['pretrain_network_t'] = 'zoo:no_such'
    _fails(opt, tmp_path, r'^path, pretrain_network_t: zoo:no_such: no such weights in the zoo')
    opt['path']['pretrain_network_d'] = 'x.pth'
    opt['path']['pretrain_network_t'] = None
    _fails(opt, tmp_path, r"^path: key 'pretrain_network_t' is missing")


def test_a_named_entry_that_the_teacher_file_lacks(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['path']['param_key_t'] = 'parms'
    _fails(opt, tmp_path, r"^path, pretrain_network_t: .*has no weights under 'parms' .*; expected one of params$")


def test_resuming_does_not_want_the_old_checkpoint(weights: Path, image_folder: Path, tmp_path: Path) -> None:
    opt = load_options(str(OPTIONS / 'train_vdsr_teacher.yml'))
    opt.update(name='run', num_gpu=0, network_g={**TEACHER, 'upscale': 1})
    for dataset in opt['datasets'].values():
        dataset['dataroot_gt'] = str(image_folder)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'gone.pth')
    _fails(opt, tmp_path, r'^path, pretrain_network_g: .*gone\.pth: no such checkpoint file')
    states = tmp_path / 'experiments' / 'run' / 'training_states'
    states.mkdir(parents=True)
    torch.save({'epoch': 0, 'iter': 10, 'optimizers': [], 'schedulers': []}, states / '10.state')
    _check(opt, tmp_path, auto_resume=True)
    whole = (states / '10.state').read_bytes()
    torch.save({'params': {}}, states / '12.state')  # no state: it is skipped
    _check(opt, tmp_path, auto_resume=True)
    for what in (whole[:-50], (states / '12.state').read_bytes()):  # the training will start anew
        (states / '10.state').write_bytes(what)
        with pytest.raises(UserError, match=r'gone\.pth: no such checkpoint file'):
            _check(opt, tmp_path, auto_resume=True)


def _edsr(opt: dict[str, Any], tmp_path: Path, **student: Any) -> dict[str, Any]:
    """Distil an EDSR of x2, which takes colours."""
    from basicsr.archs.edsr_arch import EDSR as Network

    path = tmp_path / 'edsr.pth'
    torch.save({'params': Network(**{key: value for key, value in EDSR.items() if key != 'type'}).state_dict()}, path)
    opt.update(network_t=dict(EDSR), network_g={**EDSR, 'num_feat': 2, **student}, scales=2)
    opt['path']['pretrain_network_t'] = str(path)
    opt['train'].update(init='random', growth={'start': 1, 'every': 10})
    for scale in (3, 4):
        del opt['datasets'][f'val_x{scale}']
    opt['datasets']['val_x2']['color'] = 'rgb'
    return opt


def _stored(opt: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Learn from a stored bank, of Y, that answers for the teacher of the options."""
    spec = SampleSpec(1, {scale: 48 // scale for scale in (2, 3, 4)})
    writer = BankWriter(folder / 'bank.lmdb', spec, teacher='T', capacity=4)
    for scale, size in spec.lr_sizes.items():
        writer.add(torch.zeros(4, 1, size, size), torch.zeros(4, 1, 48, 48), scale)
    writer.close()
    opt['synthesis'] = {'hr_size': 48, 'bank': {'path': str(folder / 'bank.lmdb')}}
    opt['train'].update(init='random', growth=None)
    for key in ('adversarial_opt', 'reconstruction_opt', 'optim_z', 'self_ensemble'):
        opt['train'].pop(key, None)
    del opt['network_z']
    return opt


def test_a_teacher_that_is_left_beside_stored_banks(opt: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    opt = _stored(opt, tmp_path)
    _check(opt, tmp_path)
    opt['network_t'] = {**EDSR, 'upscale': 4}  # other channels, another scale; its weights do not fit
    _fails(opt, tmp_path, r'^path, pretrain_network_t: ')  # the report would load them
    weights.unlink()
    _check(opt, tmp_path)
    opt['path']['pretrain_network_t'] = 'zoo:no_such'
    _fails(opt, tmp_path, r'^path, pretrain_network_t: zoo:no_such: no such weights in the zoo')
    opt['path']['pretrain_network_t'] = None
    _check(opt, tmp_path)
    opt['train']['init'] = 'teacher'
    opt['path']['pretrain_network_t'] = str(weights)
    _fails(opt, tmp_path, r'^path, pretrain_network_t: .*: no such checkpoint file$')


def test_networks_of_basicsr(opt: dict[str, Any], tmp_path: Path) -> None:
    _check(_edsr(opt, tmp_path), tmp_path)


@pytest.mark.parametrize(
    ('student', 'changes', 'message'),
    [
        ({'upscale': 4}, {}, r'^network_g: does not fit scale 2: gives \(1, 3, 96, 96\) .* expected \(1, 3, 48, 48\)$'),
        ({}, {'scales': [2, 4]}, r'^network_t: does not fit scale 4: gives \(1, 3, 24, 24\) .* expected'),
        ({'num_in_ch': 1, 'num_out_ch': 1}, {}, r'^network_g: does not fit .*to have 1 channels'),
        ({'num_out_ch': 2}, {}, r'^network_g: does not fit scale 2: cannot run on an image 3x24x24'),
        ({'upscale': 5}, {}, r'^network_g: EDSR cannot be built: scale 5 is not supported'),
    ],
)
def test_pairs_that_do_not_match(
    opt: dict[str, Any], tmp_path: Path, student: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    opt = {**_edsr(opt, tmp_path, **student), **changes}
    _fails(opt, tmp_path, message)


def test_start_from_the_teacher_needs_networks_of_one_kind(opt: dict[str, Any], tmp_path: Path) -> None:
    opt = _edsr(opt, tmp_path)
    opt['train'].update(init='teacher', growth=None)
    _check(copy.deepcopy(opt), tmp_path)
    opt['network_g'] = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 2}
    _fails(opt, tmp_path, r'^train, init: teacher: needs two .* network_t \(EDSR\) does not fit$')


class _Asserts(nn.Module):
    """Tells by an assertion that it does not take its input, as SwinIR, say, does."""

    pre_upsampling = True

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError('sides must be odd')


def test_a_student_that_asserts(opt: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, '_Asserts', _Asserts)
    opt['network_g'] = {'type': '_Asserts'}
    opt['train'].update(init='random', growth=None)
    _fails(opt, tmp_path, r'^network_g: does not fit scale 2: sides must be odd$')


def test_a_network_that_cannot_grow(opt: dict[str, Any], tmp_path: Path) -> None:
    opt = _edsr(opt, tmp_path)
    opt['network_g'] = {'type': 'SRVGGNetCompact', 'upscale': 2}
    _fails(opt, tmp_path, r'^train, growth: ProgressiveStudent cannot be built: SRVGGNetCompact cannot grow')


def test_folder_missing_empty_or_of_known_name(opt: dict[str, Any], tmp_path: Path) -> None:
    dataset = opt['datasets']['val_x3']
    dataset['dataroot_gt'] = str(tmp_path / 'none')
    _fails(opt, tmp_path, r'^datasets, skimage_x3, dataroot_gt: no folder .*none: expected a folder of HR images$')
    dataset['dataroot_gt'] = str(tmp_path / 'Set5')
    _fails(opt, tmp_path, r'no folder .*Set5: put the 5 HR images of Set5')
    (tmp_path / 'Set5').mkdir()
    (tmp_path / 'Set5' / 'readme.txt').touch()
    _fails(opt, tmp_path, r'^datasets, skimage_x3, dataroot_gt: folder .*Set5 holds no image')


def test_lr_images_are_looked_at(opt: dict[str, Any], tmp_path: Path, image_folder: Path) -> None:
    own = {'type': 'lr_images', 'dataroot_lq': str(tmp_path / 'none')}
    opt['synthesis']['sources'][0] = own
    _fails(opt, tmp_path, r'^synthesis, sources, 0: dataroot_lq: no folder .*none: expected a folder of LR images$')
    (folder := tmp_path / 'none').mkdir()
    (folder / 'a.png').write_bytes(b'no image')
    _fails(
        opt, tmp_path, r'^synthesis, sources, 0: .*none: no image is as large as .* of x2, 24x24; found 1; 1 not readab'
    )
    own['dataroot_lq'] = str(image_folder)
    _check(opt, tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'num_in_ch': 3}, r'^network_d: does not fit SR patches of 1 channels, 48x48: '),
        ({'type': 'VGGStyleDiscriminator'}, r'^network_d: does not fit SR patches of 1 channels, 48x48: '),
        ({'num_feat': 'four'}, r"^network_d, num_feat: expected a number, got 'four'$"),
    ],
)
def test_discriminators(opt: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    opt['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 4}
    opt['train'].update(gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla'}, optim_d={'type': 'Adam', 'lr': 1e-4})
    _check(opt, tmp_path)
    opt['train']['gan_opt']['gan_type'] = 'vanila'
    _fails(opt, tmp_path, r'^train, gan_opt: GANLoss cannot be built: GAN type vanila is not implemented')
    opt['train']['gan_opt']['gan_type'] = 'vanilla'
    opt['network_d'].update(changes)
    _fails(opt, tmp_path, message)


def test_corrupt_and_small_images(
    opt: dict[str, Any], image_folder: Path, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    small = make_images(tmp_path / 'small', ((48, 48), (3, 40)))
    opt['datasets']['val_x4']['dataroot_gt'] = str(small)
    _fails(opt, tmp_path, r'^datasets, val_x4: .*1.*: is 40x3, smaller than the 4 pixels needed$')
    opt['datasets']['val_x4']['dataroot_gt'] = str(image_folder)
    broken = image_folder / '1.png'
    broken.write_bytes(broken.read_bytes()[:40])
    _fails(opt, tmp_path, rf'^datasets, val_x2: {re.escape(str(broken))}: not a readable image')


def test_data_sets_of_basicsr(opt: dict[str, Any], image_folder: Path, tmp_path: Path) -> None:
    paired: dict[str, Any] = {'name': 'p', 'type': 'PairedImageDataset', 'dataroot_gt': str(image_folder)}
    paired |= {'io_backend': {'type': 'disk'}, 'scale': 2}
    opt['datasets']['val_9'] = {**paired, 'dataroot_lq': str(tmp_path / 'none')}
    _fails(opt, tmp_path, r'^datasets, val_9, dataroot_lq: no folder .*none$')
    (tmp_path / 'none').mkdir()
    _fails(opt, tmp_path, r'^datasets, val_9, dataroot_lq: folder .*none is empty; expected images$')
    for file in image_folder.iterdir():
        cv2.imwrite(str(tmp_path / 'none' / file.name), np.asarray(cv2.imread(str(file)))[::2, ::2])
    _check(opt, tmp_path)


def test_prefetching_to_a_gpu_that_is_not_there(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['datasets']['train'].update(prefetch_mode='cuda', pin_memory=True)
    _fails(opt, tmp_path, r'^datasets, train, prefetch_mode: cuda needs a GPU')


def test_folders_that_cannot_be_written(opt: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'file').touch()
    _fails(opt, tmp_path / 'file', r'^name: cannot write into .*file/experiments/run: .*file is not a folder$')
    (tmp_path / 'experiments').mkdir()
    (tmp_path / 'experiments' / 'run').touch()
    _fails(opt, tmp_path, r'^name: cannot write into .*experiments/run: it is a file; expected a folder$')
    (tmp_path / 'experiments' / 'run').unlink()
    (tmp_path / 'tb_logger').touch()
    _fails(opt, tmp_path, r'^name: cannot write into .*tb_logger/run: .*tb_logger is not a folder$')

    def read_only(**_arguments: Any) -> str:
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr('tempfile.mkdtemp', read_only)
    _fails(opt, tmp_path, r'^name: cannot write into .*experiments/run: .*: Read-only file system; expected a folder')


@pytest.mark.parametrize('is_train', [True, False])
def test_a_folder_that_another_run_writes_into(
    opt: dict[str, Any], weights: Path, tmp_path: Path, is_train: bool
) -> None:
    kind = 'experiments' if is_train else 'results'
    if not is_train:
        sets = {f'test_{scale}': opt['datasets'][f'val_x{scale}'] for scale in (2, 3, 4)}
        opt = {'name': 'run', 'model_type': 'MultiScaleSRModel', 'num_gpu': 0, 'datasets': sets}
        opt |= {'network_g': dict(TEACHER), 'path': {'pretrain_network_g': str(weights)}}
    with owned(tmp_path / kind / 'run'):
        message = rf'^name: .*{kind}/run is in use by process {os.getpid()} on \S+, since '
        _fails(opt, tmp_path, message, is_train)
        opt['name'] = 'other'
        _check(opt, tmp_path, is_train)


def test_folders_that_are_links(opt: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'experiments').mkdir()
    link = tmp_path / 'experiments' / 'run'
    link.symlink_to(tmp_path / 'disk')
    _check(opt, tmp_path)  # the folder will be made where the link leads
    (tmp_path / 'disk').mkdir()
    _check(opt, tmp_path)
    with owned(tmp_path / 'disk'):
        _fails(opt, tmp_path, 'run is in use by process')
    with monkeypatch.context() as patch:
        patch.setattr('os.path.ismount', lambda path: str(path) == str(tmp_path / 'disk'))
        _fails(opt, tmp_path, r'^name: .*/run is a mount point')
    (tmp_path / 'disk').rmdir()
    (tmp_path / 'disk').touch()
    _fails(opt, tmp_path, r'^name: cannot write into .*experiments/run: it is a file; expected a folder')
    link.unlink()
    link.symlink_to(link)
    _fails(opt, tmp_path, r'^name: cannot write into .*experiments/run: it is no folder')


def test_a_test_of_weights(weights: Path, image_folder: Path, tmp_path: Path) -> None:
    opt = load_options(str(OPTIONS / 'test_vdsr_set5.yml'))
    opt.update(num_gpu=0, network_g=dict(TEACHER))
    opt['path']['pretrain_network_g'] = str(weights)
    for dataset in opt['datasets'].values():
        dataset['dataroot_gt'] = str(image_folder)
    _check(opt, tmp_path, is_train=False)
    (tmp_path / 'results').touch()
    _fails(opt, tmp_path, r'^name: cannot write into .*results is not a folder', is_train=False)


def test_a_perceptual_loss_asks_nobody_for_its_weights(
    opt: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    opt['train']['perceptual_opt'] = {'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1.0}, 'vgg_type': 'vgg19'}
    with pytest.raises(UserError, match='perceptual_opt: the weights of its vgg19 are not here; expected experiments/'):
        _check(opt, tmp_path)
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)
    (tmp_path / 'hub' / 'checkpoints' / 'vgg19-dcbb9e9d.pth').touch()
    _check(opt, tmp_path)
