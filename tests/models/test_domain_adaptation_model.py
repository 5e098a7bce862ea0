"""Adaptation by the commands: trained, killed and gone on with, in two processes; what is saved; what is refused."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from basicsr.archs.edsr_arch import EDSR
from tiny_training import build, command_line, few_threads, run

from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.files import check_files
from vsrkd_plugin.registration import register

TOTAL = 6
EDSR_OPTIONS = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2, 'img_range': 1.0}


@pytest.fixture
def options(tmp_path: Path, make_images: Callable[..., Path]) -> dict[str, Any]:
    images = {name: make_images(tmp_path / name, sizes) for name, sizes in (
        ('source', ((64, 60), (50, 72))), ('target', ((30, 20), (17, 40), (21, 22))),
    )}  # fmt: skip
    torch.manual_seed(2)
    torch.save({'params': EDSR(**EDSR_OPTIONS).state_dict()}, tmp_path / 'edsr.pth')
    judge = {'type': 'UNetDiscriminatorSN', 'num_feat': 4}
    return {
        'name': 'adapted',
        'model_type': 'DomainAdaptationModel',
        'scale': 2,
        'num_gpu': 0,
        'manual_seed': 5,
        'precision': 'fp32',
        'datasets': {
            'train': {
                'name': 'unpaired', 'type': 'UnpairedLRDataset', 'gt_size': 16, 'batch_size_per_gpu': 2,
                'dataroot_gt': str(images['source']), 'dataroot_lq': str(images['target']),
                'degrade': {'noise_range': [2, 8]},
            },
            'val': {'name': 'pictures', 'type': 'BicubicImageDataset', 'dataroot_gt': str(images['source'])},
        },
        'network_g': {'type': 'EDSR', **EDSR_OPTIONS},
        'decoder_start': 'upsample',
        'network_lr': {'type': 'USRDATargetDecoder', 'num_in_ch': 4, 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 2},
        'network_df': {**judge, 'num_in_ch': 4},
        'network_dt': {**judge, 'num_in_ch': 3},
        'network_dsr': {**judge, 'num_in_ch': 3},
        'path': {'pretrain_network_g': str(tmp_path / 'edsr.pth')},
        'train': {
            'pixel_opt': {'type': 'L1Loss'},
            'gan_opt': {'type': 'GANLoss', 'gan_type': 'lsgan', 'loss_weight': 0.01},
            'align_opt': {'type': 'AlignmentLoss', 'loss_weight': 0.01},
            'restore_opt': {'type': 'L1Loss'},
            'style_opt': {'type': 'GANLoss', 'gan_type': 'lsgan', 'loss_weight': 0.01},
            'identity_opt': {'type': 'L1Loss', 'loss_weight': 0.01},
            'cycle_opt': {'type': 'L1Loss'},
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'optim_d': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'eta_min': 1e-6},
            'ema_decay': 0.5,
            'total_iter': TOTAL,
        },
        'val': {'val_freq': 3, 'metrics': {'psnr': {'type': 'calculate_psnr', 'test_y_channel': True}}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }  # fmt: skip


def _weights(root: Path) -> dict[str, torch.Tensor]:
    return torch.load(root / 'experiments' / 'adapted' / 'models' / 'net_g_latest.pth', weights_only=True)['params']


def test_killed_and_gone_on_with_equals_never_killed(options: dict[str, Any], tmp_path: Path) -> None:
    """And what is saved is the SR network alone, which BasicSR's own class reads."""
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    for root in (whole, parts):
        root.mkdir()
    first = run(['train'], options, whole, '--root', str(whole))
    assert first.returncode == 0, first.stderr
    for name in ('l_pix', 'l_align', 'l_res', 'l_style', 'l_idt', 'l_cyc', 'l_g_gan', 'l_d_features', 'l_d_real_sr'):
        assert f'{name}: ' in first.stderr, name
    assert 'lr_lr: ' in first.stderr and 'Report written' in first.stderr

    stopped = copy.deepcopy(options)
    stopped['train']['total_iter'] = 3
    stopped['train']['scheduler']['periods'] = [TOTAL]
    again = copy.deepcopy(options)
    again['train']['scheduler']['periods'] = [TOTAL]
    for given, arguments in ((stopped, ()), (again, ('--auto_resume',))):
        result = run(['train'], given, parts, '--root', str(parts), *arguments)
        assert result.returncode == 0, result.stderr
    assert 'Resuming training from epoch: 0, iter: 3' in result.stderr
    wanted, found = _weights(whole), _weights(parts)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    EDSR(**EDSR_OPTIONS).load_state_dict(found)

    report = (whole / 'experiments' / 'adapted' / 'report.md').read_text()
    assert '| bicubic | not adapted | adapted | adapted - not adapted |' in report
    tested = run(['test', '-m', str(whole / 'experiments/adapted/models/net_g_latest.pth')], None, whole,
                 '-i', options['datasets']['train']['dataroot_gt'])  # fmt: skip
    assert tested.returncode == 0, tested.stderr


def test_two_processes_equal_one_with_the_joint_batch(options: dict[str, Any], tmp_path: Path) -> None:
    roots = [tmp_path / 'one', tmp_path / 'two']
    for root in roots:
        root.mkdir()
    joint = copy.deepcopy(options)
    joint['datasets']['train']['batch_size_per_gpu'] = 4
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'vsrkd_plugin', 'train']
    for command, given, root in ((['train'], joint, roots[0]), (torchrun, options, roots[1])):
        line = command_line(command, given, root, '--root', str(root))
        result = subprocess.run(line, env=few_threads(), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
    one, two = (_weights(root) for root in roots)
    before = torch.load(options['path']['pretrain_network_g'], weights_only=True)['params']
    for key, value in one.items():
        assert not torch.equal(value, before[key]) or value.numel() < 2
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5)


def test_parts_are_the_options(options: dict[str, Any], tmp_path: Path) -> None:
    model = build(options, tmp_path)
    assert model.task.discriminators.named().keys() == {'features', 'style', 'sr'}
    assert set(model.get_current_log()) >= {'lr_g', 'lr_lr', 'lr_d'}
    assert len(model.optimizers) == 5 == len(model.schedulers)
    for key in ('network_lr', 'network_df', 'network_dt', 'network_dsr', 'decoder_start'):
        del options[key]
    options['train'] = {k: v for k, v in options['train'].items() if k in (
        'pixel_opt', 'optim_g', 'scheduler', 'total_iter')}  # fmt: skip
    options['network_g'] = {'type': 'USRDA', 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 2, 'upscale': 2}
    options['path'] = {}
    alone = build(options, tmp_path)
    assert not alone.task.discriminators.named() and alone.task.target_decoder is None and alone.task.averaged is None


def _without(options: dict[str, Any], key: str) -> None:
    del options[key]


def _teach_by(options: dict[str, Any], **changes: Any) -> None:
    """A teacher with weights of its own, otherwise as the network."""
    settings = {**EDSR_OPTIONS, **changes}
    file = Path(options['path']['pretrain_network_g']).with_name('teacher.pth')
    torch.save({'params': EDSR(**settings).state_dict()}, file)
    options['network_t'] = {'type': 'EDSR', **settings}
    options['path']['pretrain_network_t'] = str(file)


FLAWS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    'no G_t': (lambda o: _without(o, 'network_lr'), 'options: key .network_lr. is missing.*restore_opt needs it'),
    'no D_f': (lambda o: _without(o, 'network_df'), "key 'network_df' is missing.*align_opt needs it"),
    'idle D_t': (lambda o: _without(o['train'], 'style_opt'), 'network_dt: is for train, style_opt'),
    'idle G_t': (
        lambda o: [_without(o['train'], f'{k}_opt') for k in ('restore', 'identity', 'cycle')]
        + [_without(o['train'], 'style_opt'), _without(o, 'network_dt')],
        'network_lr: is for one of train, restore_opt',
    ),
    'no optim_d': (lambda o: _without(o['train'], 'optim_d'), "train: key 'optim_d' is missing"),
    'no alignment loss': (lambda o: o['train'].update(align_opt={'type': 'L1Loss'}), 'expected AlignmentLoss'),
    'no GAN loss': (lambda o: o['train'].update(style_opt={'type': 'L1Loss'}), 'style_opt, type: expected GANLoss'),
    'other scale': (lambda o: o['datasets']['train'].update(scale=4), 'datasets, train, scale: expected 2'),
    'patch': (lambda o: o['datasets']['train'].update(gt_size=15), 'gt_size: expected a multiple of every scale'),
    'other data': (
        lambda o: o['datasets']['train'].update(type='PairedImageDataset', io_backend={'type': 'disk'}),
        'expected UnpairedLRDataset',
    ),
    'empty degrade': (lambda o: o['datasets']['train'].update(degrade={}), 'degrade: expected at least one of'),
    'teacher': (lambda o: o.update(network_t=o['network_g']), "key 'pretrain_network_t' is missing"),
    'place': (lambda o: o.update(decoder_start='tail'), "decoder_start: EDSR has no module 'tail'"),
    'no place': (lambda o: _without(o, 'decoder_start'), 'decoder_start: EDSR does not say'),
    'features': (lambda o: o['network_df'].update(num_in_ch=7), 'network_df: does not fit features of 4 channels, 8x8'),
    'decoder': (lambda o: o['network_lr'].update(num_out_ch=1), 'network_lr: gives 1 channels, 8x8, expected 3'),
    'enlarges': (
        lambda o: [o['network_g'].update(upscale=4), o.update(path={})],
        'network_g: enlarges 8x8 to 32x32, expected 16x16',
    ),
    'colour': (lambda o: o['datasets']['train'].update(color='y'), 'network_g: takes 3 channels, but the patches'),
    "teacher's scale": (
        lambda o: _teach_by(o, upscale=3),
        'network_t: does not fit scale 2',
    ),
}  # fmt: skip


@pytest.mark.parametrize('flaw', FLAWS)
def test_what_does_not_fit_is_told_before_anything_is_made(
    flaw: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsrkd_plugin.config.defaults import complete

    register()
    change, message = FLAWS[flaw]
    change(options)
    with pytest.raises(UserError, match=message):
        validate(options, is_train=True)
        complete(options, str(tmp_path), is_train=True)
        check_files(options)
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.parametrize('name', ['usrda_x4', 'usrda_source_free_x4', 'usrda_compress_x4'])
def test_shipped_options_are_valid(name: str) -> None:
    register()
    file = Path(__file__).parents[2] / 'options' / f'{name}.yml'
    from vsrkd_plugin.config.loading import load_options

    validate(load_options(str(file)), is_train=True)
    assert yaml.safe_load(file.read_text())['name'] == name


def test_usrda_two_iterations(options: dict[str, Any], tmp_path: Path, make_images: Callable[..., Path]) -> None:
    """`usrda_x4.yml` cut short: its losses, networks and rates, small, on what is there."""
    from vsrkd_plugin.config.loading import load_options

    shipped = load_options('usrda_x4.yml')
    shipped['network_g'].update(num_feat=8, num_block=1)
    shipped['network_lr'].update(num_in_ch=8, num_feat=8, num_block=1)
    for key, channels in (('network_df', 8), ('network_dt', 3), ('network_dsr', 3)):
        shipped[key].update(num_in_ch=channels, num_feat=4)
    for key, sizes in (('dataroot_gt', ((500, 480),)), ('dataroot_lq', ((120, 130),))):  # NIQE wants some pixels
        options['datasets']['train'][key] = str(make_images(tmp_path / f'large_{key}', sizes))
    options['datasets']['val']['dataroot_gt'] = options['datasets']['train']['dataroot_gt']
    roots = {key: options['datasets']['train'][key] for key in ('dataroot_gt', 'dataroot_lq')}
    shipped['datasets']['train'].update(**roots, gt_size=32, batch_size_per_gpu=2, num_worker_per_gpu=0)
    camera = {**shipped['datasets'].pop('val'), 'dataroot_lq': roots['dataroot_lq']}
    shipped['datasets'].update(val_1={**options['datasets']['val'], 'scale': 4}, val_2=camera)
    shipped['train'].update(total_iter=2)
    shipped['val'].update(val_freq=2, save_img=False)
    shipped['val']['metrics']['psnr'] = options['val']['metrics']['psnr']
    shipped.update(name='adapted', num_gpu=0)
    shipped['logger'].update(print_freq=1, use_tb_logger=False)
    result = run(['train'], shipped, tmp_path, '--root', str(tmp_path))
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / 'experiments/adapted/metrics.jsonl').read_text().splitlines()
    found = {entry['dataset']: entry for entry in map(json.loads, lines)}
    assert found['pictures']['iteration'] == 2 and found['pictures']['metrics'].keys() == {'psnr', 'niqe'}
    assert found['camera']['metrics'].keys() == {'niqe'}  # PSNR compares, and there is nothing to compare with
    assert found['camera']['metrics']['niqe'] > 0
