"""Every flaw of the options that can be told without a file is told, with its place."""

import copy
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.registration import register

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
FILES = sorted(file.name for file in OPTIONS.glob('*.yml'))
GONE = object()
PAIRED: dict[str, Any] = {'name': 'p', 'type': 'PairedImageDataset', 'dataroot_gt': 'a', 'dataroot_lq': 'b'}
PAIRED['io_backend'] = {'type': 'disk'}


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


def _load(name: str) -> dict[str, Any]:
    return load_options(str(OPTIONS / name))


def _set(opt: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    *sections, key = where.split(':')
    target: Any = opt
    for section in sections:
        target = target[int(section)] if isinstance(target, list) else target[section]
    if value is GONE:
        del target[key]
    else:
        target[int(key) if isinstance(target, list) else key] = value
    return opt


def _stock() -> dict[str, Any]:
    """Options of BasicSR's own SRModel."""
    opt = _set(_load('train_vdsr_teacher.yml'), 'model_type', 'SRModel')
    opt['train']['optim_g'] = {'type': 'Adam', 'lr': 5e-4, 'betas': [0.9, 0.99]}
    return opt


def _fails(opt: dict[str, Any], message: str, is_train: bool = True) -> None:
    with pytest.raises(UserError) as caught:
        validate(opt, is_train)
    text = str(caught.value)
    assert re.search(message, text), text
    assert '\n' not in text


@pytest.mark.parametrize('name', FILES)
def test_our_files_pass_unchanged(name: str) -> None:
    opt = _load(name)
    before, random_state = copy.deepcopy(opt), torch.get_rng_state()
    handlers = list(logging.getLogger('basicsr').handlers)
    validate(opt, not name.startswith('test_'))
    assert opt == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert logging.getLogger('basicsr').handlers == handlers


@pytest.mark.parametrize(
    ('where', 'value', 'message'),
    [
        # unknown keys
        ('sclaes', 2, r"^options: unknown key 'sclaes'; did you mean 'scales'\?"),
        ('scale', 2, r"^options: unknown key 'scale'; did you mean 'scales'\?"),
        ('generator_freq', 5, r"^options: unknown key 'generator_freq'; it belongs under train$"),
        ('pretrain_network_t', 'x', r"^options: unknown key 'pretrain_network_t'; it belongs under path$"),
        ('train:precision', 'bf16', r"^train: unknown key 'precision'; it belongs at the top level$"),
        ('train:every', 5, r"^train: unknown key 'every'; it belongs under train, growth$"),
        ('train:optm_g', {}, r"^train: unknown key 'optm_g'; did you mean 'optim_g'\?"),
        ('train:growth:strat', 1, r"^train, growth: unknown key 'strat'; did you mean 'start'\?"),
        (
            'path:pretrain_networks_t',
            'x',
            r"^path: unknown key 'pretrain_networks_t'; did you mean 'pretrain_network_t'\?",
        ),
        ('path:teacher', 'x', r"^path: unknown key 'teacher'; known are pretrain_network_\*, "),
        ('val:metric', {}, r"^val: unknown key 'metric'; did you mean 'metrics'\?"),
        ('logger:print_frequency', 1, r"^logger: unknown key 'print_frequency'; did you mean 'print_freq'\?"),
        ('synthesis:hrsize', 48, r"^synthesis: unknown key 'hrsize'; did you mean 'hr_size'\?"),
        ('synthesis:sources:0:wieght', 1, r"^synthesis, sources, 0: unknown key 'wieght'; did you mean 'weight'\?"),
        ('synthesis:sources:1:num_images', 1, r"^synthesis, sources, 1: unknown key 'num_images'"),
        (
            'datasets:train:batch_size',
            1,
            r"^datasets, train: unknown key 'batch_size'; did you mean 'batch_size_per_gpu'\?",
        ),
        ('datasets:val_x2:colour', 'y', r"^datasets, val_x2: unknown key 'colour'; did you mean 'color'\?"),
        ('datasets:test_1', PAIRED, r"^datasets: 'test_1' has no use in training; expected train, val"),
        # types and ranges
        ('train:total_iter', 'many', r"^train, total_iter: expected a whole number > 0, got 'many'$"),
        ('train:total_iter', 0, r'^train, total_iter: expected a whole number > 0, got 0$'),
        ('train:total_iter', True, r'^train, total_iter: expected a whole number > 0, got True$'),
        ('train:total_iter', 2.5, r'^train, total_iter: expected a whole number > 0, got 2.5$'),
        ('train:warmup_iter', -2, r'^train, warmup_iter: expected a whole number >= -1, got -2$'),
        ('train:ema_decay', 1, r'^train, ema_decay: expected a number from 0 to below 1, got 1$'),
        ('train:grad_clip', 0, r'^train, grad_clip: expected a number > 0, got 0$'),
        ('train:init', 'he', r"^train, init: expected random or teacher, got 'he'$"),
        ('train:growth', 5, r'^train, growth: expected a mapping, got 5$'),
        ('train:growth:block_start', 'zero', r"^train, growth, block_start: expected identity or random, got 'zero'$"),
        ('train:growth:start', 19, r'^train, growth, start: expected at most 18, the blocks of network_g, got 19$'),
        ('train:growth:milestones', [5], r'^train, growth: expected either every or milestones'),
        ('train:growth:every', None, r'^train, growth: expected either every or milestones'),
        ('num_gpu', -1, r"^num_gpu: expected 'auto' or a whole number >= 0, got -1$"),
        ('num_gpu', True, r"^num_gpu: expected 'auto' or a whole number >= 0, got True$"),
        ('num_gpu', None, r"^num_gpu: expected 'auto' or a whole number >= 0, got nothing$"),
        ('name', 291, r'^name: expected text, got 291$'),
        ('scales', [2, 2], r'^scales: expected a whole number >= 2, or a list of distinct ones, got \[2, 2\]$'),
        ('scales', [1, 2], r'^scales: expected a whole number >= 2'),
        ('scales', [2, 3, 5], r'^synthesis, hr_size: expected a multiple of every scale, but 48 is none of 5$'),
        ('precision', 'fp16', r"^precision: expected one of auto, bf16, fp32, got 'fp16'$"),
        ('manual_seed', -1, r'^manual_seed: expected a whole number from 0 to below 2\*\*32 - 2\*\*16, got -1$'),
        ('path', None, r'^path: expected a mapping, got nothing$'),
        ('path:strict_load_t', 'yes', r"^path, strict_load_t: expected true or false, got 'yes'$"),
        ('logger:keep_checkpoints', 0, r'^logger, keep_checkpoints: expected a whole number > 0, got 0$'),
        ('logger:wandb', {'project': 'p', 'id': 1}, r"^logger, wandb: unknown key 'id'"),
        ('val:save_img', 'no!', r"^val, save_img: expected true or false, got 'no!'$"),
        ('synthesis:sources', [], r'^synthesis, sources: expected a list of mappings with a type, got \[\]$'),
        (
            'synthesis:sources:0:type',
            'painted',
            r"^synthesis, sources, 0, type: expected one of procedural, .*, images, lr_images, got 'painted'$",
        ),
        ('synthesis:sources:0:weight', 0, r'^synthesis, sources, 0, weight: expected a number > 0, got 0$'),
        ('synthesis:sources:0:image_size', 8, r'^synthesis, sources, 0, image_size: expected at least 24'),
        (
            'datasets:train:batch_size_per_gpu',
            0,
            r'^datasets, train, batch_size_per_gpu: expected a whole number > 0, got 0$',
        ),
        ('datasets:train:prefetch_mode', 'cuda', r'^datasets, train: prefetch_mode: cuda needs pin_memory: true$'),
        (
            'datasets:train:persistent_workers',
            True,
            r'^datasets, train: persistent_workers needs num_worker_per_gpu > 0',
        ),
        ('datasets:val_x2:scale', [2, 3], r'^datasets, val_x2, scale: expected one scale in validation, got \[2, 3\]$'),
        ('datasets:val_x2:scale', [2], r'^datasets, val_x2, scale: expected one scale in validation, got \[2\]$'),
        ('datasets:val_x2:color', 'ycbcr', r"^datasets, val_x2, color: expected y or rgb, got 'ycbcr'$"),
        ('datasets:val_x3:name', 'skimage_x2', r"^datasets, val_x3, name: 'skimage_x2' is the name of val_x2 too$"),
        ('datasets:val_x3', [1], r'^datasets, val_x3: expected a mapping, got \[1\]$'),
        # missing
        ('name', GONE, r"^options: key 'name' is missing"),
        ('model_type', GONE, r"^options: key 'model_type' is missing"),
        ('modle_type', 'SRModel', r"^options: unknown key 'modle_type'; did you mean 'model_type'\?"),
        ('datasets', GONE, r"^options: key 'datasets' is missing"),
        ('datasets:train', GONE, r"^datasets: key 'train' is missing"),
        ('datasets:train:batch_size_per_gpu', GONE, r"^datasets, train: key 'batch_size_per_gpu' is missing"),
        ('train', GONE, r"^options: key 'train' is missing"),
        (
            'train:total_iter',
            GONE,
            r"^train: key 'total_iter' is missing \(length of the training; expected a whole number > 0\)",
        ),
        ('train:scheduler', GONE, r"^train: key 'scheduler' is missing"),
        ('train:distill_opt', GONE, r"^train: key 'distill_opt' is missing"),
        ('network_t', GONE, r"^options: key 'network_t' is missing"),
        ('network_g', GONE, r"^options: key 'network_g' is missing"),
        ('network_g:type', GONE, r"^network_g: key 'type' is missing"),
        ('path:pretrain_network_t', GONE, r"^path: key 'pretrain_network_t' is missing \(checkpoint of the teacher"),
        ('val:val_freq', GONE, r"^val: key 'val_freq' is missing"),
        ('network_z', GONE, r"^options: key 'network_z' is missing \(synthesis, sources, 1 is learned\)$"),
        ('train:optim_z', GONE, r"^train: key 'optim_z' is missing \(synthesis, sources, 1 is learned\)$"),
        (
            'train:adversarial_opt',
            None,
            r"^train: key 'adversarial_opt' is missing \(synthesis, sources, 1 is learned\)$",
        ),
        ('train:reconstruction_opt', GONE, r"^train: key 'reconstruction_opt' is missing"),
        # registered names and their arguments
        (
            'model_type',
            'DataFreeDistilationModel',
            r"^model_type: no model .* did you mean 'DataFreeDistillationModel'\?",
        ),
        ('network_g:type', 'VDRS', r"^network_g, type: no network 'VDRS' is registered; did you mean 'VDSR'\?"),
        ('network_t:type', 'vdsr', r"^network_t, type: no network 'vdsr' is registered; did you mean 'VDSR'\?"),
        (
            'network_g:type',
            'Xyzzy',
            r"^network_g, type: no network 'Xyzzy' is registered; name the module .* by --import",
        ),
        ('network_g:num_feats', 8, r"^network_g: VDSR has no argument 'num_feats'; did you mean 'num_feat'\?"),
        ('network_g', {'type': 'EDSR', 'num_in_ch': 1}, r"^network_g: key 'num_out_ch' is missing, which EDSR needs"),
        ('network_z:latent', 8, r"^network_z: LatentGenerator has no argument 'latent'; did you mean 'num_latent'\?"),
        (
            'train:distill_opt:type',
            'DistilationLoss',
            r"^train, distill_opt, type: no loss .* did you mean 'DistillationLoss'\?",
        ),
        (
            'train:distill_opt:criteria',
            'l1',
            r"^train, distill_opt: DistillationLoss has no argument 'criteria'; did you mean 'crit",
        ),
        (
            'datasets:train:type',
            'LatentDataSet',
            r"^datasets, train, type: no data set .* did you mean 'LatentDataset'\?",
        ),
        ('datasets:train:type', 'BicubicImageDataset', r'^datasets, train: unknown key|^datasets, train: key'),
        (
            'val:metrics:psnr:type',
            'calculate_psrn',
            r"^val, metrics, psnr, type: no metric .* did you mean 'calculate_psnr",
        ),
        (
            'val:metrics:psnr:test_y_chanel',
            True,
            r"^val, metrics, psnr: calculate_psnr .* did you mean 'test_y_channel'\?",
        ),
        ('val:metrics:psnr:better', 'more', r"^val, metrics, psnr, better: expected higher or lower, got 'more'$"),
        (
            'train:optim_g:type',
            'Adma',
            r"^train, optim_g, type: expected one of Adam, AdamW, SGD, Muon, got 'Adma'; did you mean 'Adam'\?",
        ),
        ('train:optim_g:lr', GONE, r"^train, optim_g: key 'lr' is missing \(expected a number > 0\)$"),
        ('train:optim_g:lr', '1e-4', r"^train, optim_g, lr: expected a number > 0, got '1e-4'$"),
        ('train:optim_g:betas', [0.9], r'^train, optim_g, betas: expected two numbers from 0 to below 1, got \[0.9\]$'),
        ('train:optim_g:beta', [0.9, 0.9], r"^train, optim_g: Muon has no argument 'beta'; did you mean 'betas'\?"),
        ('train:scheduler:type', 'StepLR', r'^train, scheduler, type: expected one of MultiStepLR, '),
        (
            'train:scheduler:eta',
            0,
            r"^train, scheduler: CosineAnnealingRestartLR has no argument 'eta'; did you mean 'eta_min'\?",
        ),
        ('train:scheduler:restart_weights', [1, 1], r'^train, scheduler: periods has 1 entries but restart_weights 2'),
        (
            'train:scheduler:periods',
            [2000],
            r'^train, scheduler, periods: end at iteration 2000, expected at least total_iter',
        ),
    ],
)
def test_flaws_of_a_distillation(where: str, value: Any, message: str) -> None:
    _fails(_set(_load('dfkd_vdsr.yml'), where, value), message)


NOT_NAMES = ['../../precious', '.', '..', 'a/b', '/tmp/x', '.hidden', 'a\\b', 'a\0b', 'a\nb', 'é' * 101]
KINDS = [
    ('dfkd_vdsr.yml', True),
    ('dfkd_vsr.yml', True),
    ('train_rlsp_teacher.yml', True),
    ('test_vdsr_set5.yml', False),
]


@pytest.mark.parametrize('name', NOT_NAMES)
@pytest.mark.parametrize(('file', 'is_train'), [*KINDS, ('stock', True)])
def test_names_of_folders_are_one_component(file: str, is_train: bool, name: str) -> None:
    opt = _stock() if file == 'stock' else _load(file)
    phases = list(opt['datasets'])
    places = ['name', 'val:suffix', f'datasets:{phases[0]}:name', f'datasets:{phases[-1]}:name']
    for place in places:
        where = re.escape(place.replace(':', ', '))
        _fails(_set(copy.deepcopy(opt), place, name), f'^{where}: expected one folder name, got ', is_train)
        validate(_set(copy.deepcopy(opt), place, 'é' * 100), is_train)
    for name in ('', '\ud800'):  # the latter cannot be encoded
        _fails(_set(opt, 'name', name), r"^name: expected text, got '.*'$", is_train)


@pytest.mark.parametrize('speed', [[3, 1], [1], [0, 1], 2])
def test_flaws_of_a_speed(speed: Any) -> None:
    message = 'expected two numbers > 0, the lower first, got '
    _fails(_set(_load('dfkd_vsr.yml'), 'synthesis:clips:speed', speed), f'^synthesis, clips, speed: {message}')
    options = _set(_load('train_rlsp_teacher.yml'), 'datasets:train:invented_speed', speed)
    _fails(options, f'^datasets, train, invented_speed: {message}')


@pytest.mark.parametrize(
    ('where', 'value', 'message'),
    [
        ('gt_size', GONE, r"^datasets, train: key 'gt_size' is missing \(side of the HR patches"),
        ('gt_size', 130, r'^datasets, train, gt_size: expected a multiple of every scale, but 130 is none of 4$'),
        ('scale', GONE, r"^datasets, train: key 'scale' is missing \(the scale; expected a whole number > 0\)$"),
        ('name', GONE, r"^datasets, train: key 'name' is missing"),
        ('type', GONE, r"^datasets, train: key 'type' is missing"),
    ],
)
def test_flaws_of_a_data_set_of_clips(where: str, value: Any, message: str) -> None:
    _fails(_set(_load('train_rlsp_teacher.yml'), f'datasets:train:{where}', value), message)


@pytest.mark.parametrize(
    ('where', 'value', 'message'),
    [
        ('synthesis:sources:0', 5, r'^synthesis, sources, 0: expected a mapping, got 5$'),
        ('synthesis:sources:0', {'num_images': 5}, r"^synthesis, sources, 0: key 'type' is missing "),
        ('network_g', {'type': 'VDSR', 5: 1}, r'^network_g, 5: expected keys that are text, got 5$'),
        ('train:growth:start', 1.0, r'^train, growth, start: expected a whole number > 0, got 1.0$'),
        ('train:optim_g:params', [], r"^train, optim_g: 'params' is not for options to set$"),
        ('train:scheduler:type', [], r'^train, scheduler, type: expected one of MultiStepLR, .* got \[\]$'),
        ('train:scheduler:periods', [0], r'^train, scheduler, periods: expected a list of whole numbers > 0, got'),
        ('synthesis:candidates', 65, r'^synthesis, candidates: expected at most 64, got 65$'),
        ('synthesis:candidates', 0, r'^synthesis, candidates: expected a whole number > 0, got 0$'),
        ('synthesis:bank:path', 'a.lmdb', r'^synthesis: expected sources, or stored banks .* got both$'),
        ('network_t', None, r'^network_t: expected a mapping, got nothing$'),
    ],
)
def test_more_flaws(where: str, value: Any, message: str) -> None:
    _fails(_set(_load('dfkd_vdsr.yml'), where, value), message)


_NOISE = {'noise_range': [0, 9]}


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ({}, r'^synthesis, degrade: expected at least one of blur_sigma, resize_range, noise_range, .*jpeg_range$'),
        ({'clean_prob': 0.5}, r'^synthesis, degrade: expected at least one of blur_sigma'),
        ({**_NOISE, 'clean_prob': 1.5}, r'^synthesis, degrade, clean_prob: expected a number from 0 to 1, got 1.5$'),
        ({'noise': [0, 9]}, r"^synthesis, degrade: unknown key 'noise'; did you mean 'noise_range'\?$"),
        ({'noise_range': [9, 0]}, r'^synthesis, degrade, noise_range: expected two numbers >= 0, the lower first, got'),
        ({'noise_range': 9}, r'^synthesis, degrade, noise_range: expected two numbers >= 0'),
        ({'blur_sigma': [-1, 0]}, r'^synthesis, degrade, blur_sigma: expected two numbers >= 0'),
        (
            {'resize_range': [0, 1]},
            r'^synthesis, degrade, resize_range: expected two numbers from 0.1 to 10, the lower',
        ),
        (
            {'jpeg_range': [50, 100]},
            r'^synthesis, degrade, jpeg_range: expected two numbers from 1 to 99, the lower fir',
        ),
        ([0, 9], r'^synthesis, degrade: expected a mapping, got \[0, 9\]$'),
    ],
)
def test_flaws_of_degrading(value: Any, message: str) -> None:
    _fails(_set(_load('dfkd_vdsr.yml'), 'synthesis:degrade', value), message)


def test_degrading_is_for_images_that_are_made_clean() -> None:
    opt = _set(_load('dfkd_vdsr.yml'), 'synthesis:degrade', _NOISE)
    validate(opt, True)
    own = {'type': 'lr_images', 'dataroot_lq': 'mine'}
    for sources in ([own], [own, {'type': 'noise'}]):
        _fails(
            _set(copy.deepcopy(opt), 'synthesis:sources', sources), r'degrade: expected a source procedural, learned'
        )
    validate(_set(copy.deepcopy(opt), 'synthesis:sources', [own, {'type': 'procedural'}]), True)
    stored = _set(_set(opt, 'synthesis:sources', GONE), 'synthesis:bank', {'path': 'a.lmdb'})
    _fails(stored, r'^synthesis, degrade: is for sources; stored banks hold')


def _with_discriminator(opt: dict[str, Any], **without: Any) -> dict[str, Any]:
    parts = {
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 4},
        'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla'},
        'train:optim_d': {'type': 'Adam', 'lr': 1e-4},
    }
    for where, value in {**parts, **{key.replace('__', ':'): value for key, value in without.items()}}.items():
        if value is not GONE:
            opt = _set(opt, where, value)
    return opt


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'network_d': GONE}, r'^train, gan_opt: needs network_d too$'),
        ({'train__gan_opt': GONE}, r'^network_d: needs train, gan_opt too$'),
        ({'train__optim_d': GONE}, r'^network_d: needs train, optim_d too$'),
        ({'train__optim_d': GONE, 'train__gan_opt': GONE}, r'^network_d: needs train, gan_opt and train, optim_d too$'),
        ({'train__gan_opt': {'type': 'L1Loss'}}, r'^train, gan_opt, type: expected GANLoss, .* got L1Loss$'),
        ({'train__gan_opt': {'type': 'GANLoss'}}, r"^train, gan_opt: key 'gan_type' is missing"),
        ({'train__gan_start': -1}, r'^train, gan_start: expected a whole number >= 0, got -1$'),
        ({'network_d': {'type': 'UNetDiscriminator'}}, r"^network_d, type: .*did you mean 'UNetDiscriminatorSN'"),
    ],
)
def test_flaws_of_a_discriminator(changes: dict[str, Any], message: str) -> None:
    _fails(_with_discriminator(_load('dfkd_vdsr.yml'), **changes), message)


def test_discriminators_are_for_images_and_whole() -> None:
    validate(_with_discriminator(_load('dfkd_vdsr.yml'), train__gan_start=100), True)
    _fails(_with_discriminator(_load('dfkd_vsr.yml')), r'^network_d: discriminators are for networks of images')
    _fails(_set(_load('dfkd_vdsr.yml'), 'train:gan_start', 5), r'^train, gan_start: is for a discriminator')


def test_video_takes_no_degrading_and_no_lr_images() -> None:
    opt = _load('dfkd_vsr.yml')
    _fails(_set(copy.deepcopy(opt), 'synthesis:degrade', _NOISE), r'^synthesis, degrade: is for networks of images')
    own = {'type': 'lr_images', 'dataroot_lq': 'mine'}
    _fails(_set(opt, 'synthesis:sources:0', own), r'^synthesis, sources, 0: lr_images is for networks of images')


def test_lr_images_need_a_folder() -> None:
    opt = _load('dfkd_vdsr.yml')
    _fails(
        _set(opt, 'synthesis:sources:0', {'type': 'lr_images'}), r"^synthesis, sources, 0: key 'dataroot_lq' is miss"
    )
    wrong = {'type': 'lr_images', 'dataroot_lq': 'a', 'dataroot_gt': 'a'}
    _fails(_set(opt, 'synthesis:sources:0', wrong), r"^synthesis, sources, 0: unknown key 'dataroot_gt'")


def test_no_block_is_fewer_than_one() -> None:
    _fails(_set(_load('dfkd_vdsr.yml'), 'network_g:num_block', 0), r'start: expected at most 0, .* got 17$')


def test_what_is_fine() -> None:
    opt = _load('dfkd_vdsr.yml')
    for where, value in (
        (
            'scales', 4), ('train:grad_clip', None), ('train:growth', None), ('train:optim_g:lr', 1), ('manual_seed',
            None,
        ),
        ('val:val_freq', 5e2), ('logger:print_freq', 1e2), ('train:optim_g', {'type': 'AdamW', 'lr': 1e-4}),
        ('logger:wandb', {'project': None, 'resume_id': None}), ('path:param_key_t', None), ('scales', [4, 2]),
        ('network_g', {'type': 'EDSR', 'num_in_ch': 1, 'num_out_ch': 1, 'upscale': 2, 'num_block': 20}),
        ('val:suffix', 'x'),
        ('network_g', {'type': 'ProgressiveStudent', 'network': {'type': 'VDSR', 'num_block': 20}}),
    ):  # fmt: skip
        changed = _set(copy.deepcopy(opt), where, value)
        before = copy.deepcopy(changed)
        validate(changed, True)
        assert changed == before, where  # nothing is filled in or put right
    alone = _set(_set(copy.deepcopy(opt), 'synthesis:sources', [{'type': 'procedural'}]), 'network_z', GONE)
    for key in ('optim_z', 'adversarial_opt', 'reconstruction_opt', 'scheduler_z'):
        del alone['train'][key]
    validate(alone, True)


def test_a_network_within_a_network() -> None:
    opt = _load('dfkd_vdsr.yml')
    opt['network_g'] = {'type': 'ProgressiveStudent', 'network': {'type': 'VDSR', 'num_blocks': 3}}
    _fails(opt, r"^network_g, network: VDSR has no argument 'num_blocks'; did you mean 'num_block'\?")
    opt['network_g'] = {'type': 'ProgressiveStudent', 'network': {'type': 'VDSR', 'num_block': 3}}
    opt['train']['growth']['start'] = 4
    _fails(opt, r'^train, growth, start: expected at most 3')


@pytest.mark.parametrize(
    ('where', 'value', 'message'),
    [
        ('scales', [2], r"^options: unknown key 'scales'; did you mean 'scale'\?"),
        ('path:models', 'x', r"^path: unknown key 'models'"),
        ('path:pretrain_g', 'x', r"^path: unknown key 'pretrain_g'; did you mean 'pretrain_network_g'\?"),
        ('train:optim_g', GONE, r"^train: key 'optim_g' is missing"),
        ('train:scheduler', GONE, r"^train: key 'scheduler' is missing"),
        ('train:optim_g:type', 'AdamW', r"^train, optim_g, type: expected Adam, got 'AdamW'"),
        ('train:pixel_opt', None, r'^train: no loss is given; expected pixel_opt, perceptual_opt or both$'),
        (
            'train:pixel_opt:type',
            'L1los',
            r"^train, pixel_opt, type: no loss 'L1los' is registered; did you mean 'L1Loss'\?",
        ),
        (
            'train:pixel_opt:reduce',
            'sum',
            r"^train, pixel_opt: L1Loss has no argument 'reduce'; did you mean 'reduction'\?",
        ),
        ('train:total_itr', 5, r"^train: unknown key 'total_itr'; did you mean 'total_iter'\?"),
        ('train:ema_decay', '0.9', r"^train, ema_decay: expected a number from 0 to below 1, got '0.9'$"),
        (
            'val:metrics:psnr:crop_border',
            GONE,
            r"^val, metrics, psnr: key 'crop_border' is missing, which calculate_psnr needs$",
        ),
        ('datasets:train:gt_size', GONE, r"^datasets, train: key 'gt_size' is missing"),
        (
            'datasets:train:gt_size',
            50,
            r'^datasets, train, gt_size: expected a multiple of every scale, but 50 is none of 3$',
        ),
        ('datasets:train:interpolate', False, r'^datasets, train, scale: several scales need interpolate: true'),
        ('datasets:val_x2:scale', GONE, r"^datasets, val_x2: key 'scale' is missing"),
        (
            'datasets:val_x2:dataroot_gt',
            [],
            r'^datasets, val_x2, dataroot_gt: expected a path, or a list of them, got \[\]$',
        ),
        ('datasets:val_x2', {**PAIRED, 'io_backend': None}, r"^datasets, val_x2: key 'io_backend' is missing"),
        (
            'datasets:val_x2',
            {**PAIRED, 'io_backend': {'type': 'dsk'}},
            r'^datasets, val_x2, io_backend, type: expected one of',
        ),
        (
            'datasets:val_x2',
            {k: v for k, v in PAIRED.items() if k != 'dataroot_gt'},
            r'datasets, val_x2 has no dataroot_gt',
        ),
        ('logger:wandb', {'project': 'p'}, None),
        ('train:net_d_iters', 1, None),
        ('datasets:val_x2', PAIRED, None),
        ('datasets:val_x2', {**PAIRED, 'filename_tmpl': '{}'}, None),
    ],
)
def test_stock_model(where: str, value: Any, message: str | None) -> None:
    opt = _set(_stock(), where, value)
    if message is None:
        validate(opt, True)
    else:
        _fails(opt, message)


def test_wandb_needs_tensorboard() -> None:
    opt = _stock()
    opt['logger'].update(wandb={'project': 'p'}, use_tb_logger=False)
    _fails(opt, r'^logger, wandb: needs use_tb_logger: true$')


def test_testing() -> None:
    opt = _load('test_vdsr_set5.yml')
    _fails(_set(copy.deepcopy(opt), 'datasets', {}), r'^datasets: holds no data set', is_train=False)
    _fails(_set(copy.deepcopy(opt), 'datasets:train', PAIRED), r"^datasets: 'train' has no use in a test", False)
    _fails({**opt, 'netwrok_g': {}}, r"^options: unknown key 'netwrok_g'; did you mean 'network_g'", False)
    _fails(_load('dfkd_vdsr.yml'), r"^datasets: 'train' has no use in a test", is_train=False)


def test_somebody_elses_model_keeps_its_own_keys() -> None:
    from basicsr.models.sr_model import SRModel
    from basicsr.utils.registry import MODEL_REGISTRY

    model = type('ModelOfATest', (SRModel,), {'__module__': 'somebody.else'})
    MODEL_REGISTRY._obj_map['ModelOfATest'] = model
    try:
        opt = _set(_stock(), 'model_type', 'ModelOfATest')
        opt.update(my_key=1)
        opt['train'].update(my_opt={'weight': 1}, other=[1])
        validate(opt, True)
        _fails({**opt, 'manual_sead': 1}, r"^options: unknown key 'manual_sead'; did you mean 'manual_seed'\?")
        _fails(_set(copy.deepcopy(opt), 'train:total_iter', 'x'), r'^train, total_iter: expected')
        _fails(_set(copy.deepcopy(opt), 'path:my_key', 'x'), r"^path: unknown key 'my_key'")
    finally:
        del MODEL_REGISTRY._obj_map['ModelOfATest']


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'compare': ['oracle']}, r"^compare: 'oracle': key 'network_oracle' is missing \(that network\)$"),
        (
            {'compare': ['oracle'], 'network_oracle': {'type': 'VDSR'}},
            r"^path: key 'pretrain_network_oracle' is missing \(its checkpoint\)$",
        ),
        ({'compare': ['g']}, r"^compare: 'g' is taken; expected another name, such as oracle, of a network_oracle$"),
        ({'compare': ['t']}, r"^compare: 't' is taken"),
        ({'compare': ['bicubic']}, r"^compare: 'bicubic' is taken"),
        ({'compare': 'oracle'}, r'^compare: expected a list of texts'),
    ],
)
def test_networks_to_compare(given: dict[str, Any], message: str) -> None:
    _fails({**_load('dfkd_vdsr.yml'), **given}, message)


def test_networks_to_compare_are_named_once() -> None:
    opt = {**_load('dfkd_vdsr.yml'), 'compare': ['oracle', 'oracle'], 'network_oracle': {'type': 'VDSR'}}
    opt['path']['pretrain_network_oracle'] = 'a.pth'
    _fails(opt, '^compare: names a network twice$')
    validate({**opt, 'compare': ['oracle']}, True)
