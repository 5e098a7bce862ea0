"""Training on clips with data: either kind of network learns, and the command reports."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_training import run

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.temporal import over_time
from vsrkd_plugin.preflight.networks import check_networks
from vsrkd_plugin.registration import register

RLSP = {'type': 'RLSP', 'num_feat': 6, 'num_layer': 3, 'upscale': 2}
TDAN = {'type': 'TDAN', 'num_frame': 3, 'num_feat': 4, 'num_extract_block': 1, 'num_block': 1, 'deformable_groups': 1,
        'upscale': 2}  # fmt: skip


@pytest.fixture
def options(tmp_path: Path) -> dict:
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        (tmp_path / 'clips' / name).mkdir(parents=True)
        picture = cv2.resize(rng.uniform(0, 255, (12, 12, 3)).astype(np.float32), (80, 72)).clip(0, 255)
        for number in range(4):
            frame = picture[number : number + 48, 2 * number : 2 * number + 56].round().astype(np.uint8)
            cv2.imwrite(str(tmp_path / 'clips' / name / f'{number:04d}.png'), frame)
    clips = {'name': 'clips', 'type': 'DegradedClipDataset', 'dataroot_gt': str(tmp_path / 'clips'), 'scale': 2,
             'degradation': 'blur', 'sigma': 1.0}  # fmt: skip
    return {
        'name': 'tiny_clips', 'model_type': 'ClipSRModel', 'num_gpu': 0, 'manual_seed': 0,
        'datasets': {
            'train': {**clips, 'num_frame': 3, 'gt_size': 32, 'enlarge': 8, 'batch_size_per_gpu': 4,
                      'num_worker_per_gpu': 0},
            'val': {**clips, 'name': 'val'},
        },
        'network_g': dict(RLSP),
        'path': {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 3e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [1000], 'gamma': 0.5},
            'total_iter': 8, 'warmup_iter': -1, 'ema_decay': 0.5,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
        },
        'val': {'val_freq': 4, 'metrics': {'psnr': {'type': 'calculate_psnr', 'test_y_channel': True}}},
        'logger': {'print_freq': 4, 'save_checkpoint_freq': 4, 'use_tb_logger': False},
    }  # fmt: skip


def test_a_network_of_y_learns_y_alone(options: dict, tmp_path: Path) -> None:
    from basicsr.models import build_model

    register()
    validate(options, True)
    complete(options, str(tmp_path), True)
    model = build_model(options)
    torch.manual_seed(0)
    lq, gt = torch.rand(1, 3, 3, 16, 16), torch.rand(1, 3, 3, 32, 32)
    grey = torch.tensor([65.481, 128.553, 24.966]).view(3, 1, 1)
    other = gt + 0.1 * torch.tensor([1.0, 1.0, -(grey[0] + grey[1]) / grey[2]]).view(3, 1, 1)  # of the same Y
    start = {name: value.clone() for name, value in model.net_g.state_dict().items()}
    found = []
    for target in (gt, other, gt + 0.1):
        model.net_g.load_state_dict(start)
        model.feed_data({'lq': lq, 'gt': target, 'scale': torch.tensor([2])})
        model.optimize_parameters(1)
        found.append(model.log_dict['l_pix'])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert found[2] != pytest.approx(found[0], rel=1e-2)


def test_tdan_learns_to_align(options: dict, tmp_path: Path) -> None:
    from basicsr.data import build_dataset
    from basicsr.models import build_model

    register()
    options['network_g'] = dict(TDAN)
    options['train'] |= {'alignment_opt': {'type': 'MSELoss'}, 'optim_g': {'type': 'Adam', 'lr': 2e-3}}
    validate(options, True)
    complete(options, str(tmp_path), True)
    torch.manual_seed(0)
    model, dataset = build_model(options), build_dataset(options['datasets']['train'])
    losses = []
    for iteration in range(1, 61):
        samples = [dataset[i % 16] for i in range(4 * iteration, 4 * iteration + 4)]
        model.feed_data({key: torch.stack([sample[key] for sample in samples]) for key in ('lq', 'gt')})
        model.optimize_parameters(iteration)
        losses.append((model.log_dict['l_align'], model.log_dict['l_pix']))
    align, pixel = zip(*losses, strict=True)
    assert sum(align[-10:]) < 0.5 * sum(align[:10]) and sum(pixel[-10:]) < 0.8 * sum(pixel[:10])
    options['network_g'] = dict(RLSP)
    with pytest.raises(UserError, match=r'networks that give aligned frames .* not for RLSP'):
        check_networks(options)


def test_a_network_of_3d_convolutions_may_start_as_differences(options: dict, tmp_path: Path) -> None:
    from basicsr.models import build_model

    register()
    for folder in (tmp_path / 'clips').iterdir():  # its windows are of seven frames
        for number in range(4, 8):
            shutil.copy(folder / '0003.png', folder / f'{number:04d}.png')
    options['network_g'] = {'type': 'DUF', 'num_layer': 16, 'scale': 2}
    options['train']['start'], options['datasets']['train']['num_frame'] = 'differences', 7
    complete(options, str(tmp_path), True)
    check_networks(options)
    model = build_model(options)
    for network in (model.net_g, model.net_g_ema):
        layers = over_time(network)
        assert len(layers) == 6
        for layer in layers:
            over = layer.weight.detach().mean(2).abs().amax((1, 2, 3))
            assert over[:16].max() < 1e-7 < 1e-3 < over[16:].min()
    for layer in over_time(model.net_g):
        torch.nn.init.ones_(layer.weight)
    torch.save({'params': model.net_g.state_dict()}, tmp_path / 'duf.pth')
    options['path']['pretrain_network_g'] = str(tmp_path / 'duf.pth')  # weights are taken as they are
    assert all((layer.weight == 1).all() for layer in over_time(build_model(options).net_g))
    options['network_g'], options['path']['pretrain_network_g'] = dict(RLSP), None
    with pytest.raises(UserError, match=r'^train, start: differences are for networks of 3D .* not for RLSP'):
        check_networks(options)


@pytest.mark.parametrize(('network', 'lr'), [(RLSP, 2e-3), (TDAN, 3e-3)], ids=['recurrent', 'window'])
def test_the_loss_falls(options: dict, tmp_path: Path, network: dict, lr: float) -> None:
    from basicsr.data import build_dataset
    from basicsr.models import build_model

    register()
    options['network_g'], options['train']['optim_g']['lr'] = dict(network), lr
    complete(options, str(tmp_path), True)
    torch.manual_seed(0)
    model, dataset = build_model(options), build_dataset(options['datasets']['train'])
    assert (model.net_g.__class__.__name__, len(dataset)) == (network['type'], 16)
    losses = []
    for iteration in range(1, 61):
        samples = [dataset[i % 16] for i in range(4 * iteration, 4 * iteration + 4)]
        model.feed_data({key: torch.stack([sample[key] for sample in samples]) for key in ('lq', 'gt')})
        model.optimize_parameters(iteration)
        losses.append(model.log_dict['l_pix'])
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_command_trains_and_reports(options: dict, tmp_path: Path) -> None:
    done = run(['train'], options, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / 'experiments' / 'tiny_clips'
    report = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    assert {(r['dataset'], r['method']) for r in report['results']} == {
        (name, method) for name in ('val', 'val/a', 'val/b') for method in ('bicubic', 'student')
    }
    assert 'Flicker' in (folder / 'report.md').read_text(encoding='utf-8')


def test_a_report_without_validation_sets(options: dict, tmp_path: Path) -> None:
    del options['val'], options['datasets']['val']
    done = run(['train'], options, tmp_path, '--force_yml', 'train:total_iter=2')
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / 'experiments' / 'tiny_clips' / 'report.json').read_text(encoding='utf-8'))
    assert report['complexity'][0]['scale'] == 2 and report['complexity'][0]['macs'] > 0


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda o: o['train'].pop('pixel_opt'), 'no loss is given'),
        (lambda o: o['train'].update(temporal_opt={'type': 'L1Loss'}), 'temporal_opt: has no use in ClipSRModel'),
        (lambda o: o.update(network_g={**TDAN, 'num_frame': 5}), 'num_frame: expected 5, the window .* got 3'),
        (lambda o: o['network_g'].update(upscale=4), r'network_g: does not fit datasets, train: .* expected'),
        (lambda o: o['datasets']['val'].update(scale=4), 'datasets, val, scale: 4 does not suit network_g'),
    ],
)
def test_what_does_not_fit_is_told_before_the_training(options: dict, tmp_path: Path, change, words: str) -> None:
    register()
    change(options)
    with pytest.raises(UserError, match=words):
        validate(options, True)
        complete(options, str(tmp_path), True)
        check_networks(options)
