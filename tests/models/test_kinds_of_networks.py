"""Trainings with teachers and students of every kind: they train, validate and report."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from tiny_training import run, tiny_options

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.archs.rlfn_arch import RLFN
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.networks import check_networks
from vsrkd_plugin.registration import register
from vsrkd_plugin.reports.evaluation import evaluate, metric_options
from vsrkd_plugin.run.checkpoints import load_weights

VDSR = {'type': 'VDSR', 'num_feat': 4, 'num_block': 2}
COMPACT = {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 2}
COLOUR = {**COMPACT, 'num_in_ch': 3, 'num_out_ch': 3}
LUMA = {**COMPACT, 'num_in_ch': 1, 'num_out_ch': 1}
SWINIR = {'type': 'SwinIR', 'upscale': 2, 'in_chans': 3, 'img_size': 16, 'window_size': 8, 'depths': [2],
          'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect'}  # fmt: skip


def _options(
    folder: Path, images: Path, teacher: dict[str, Any], student: dict[str, Any], color: str, **changes: Any
) -> dict[str, Any]:
    """Four iterations of a distillation at x2; writes the teacher."""
    register()
    opt = tiny_options(folder, images, init='random', total_iter=4, ema_decay=0)
    for key in ('growth', 'adversarial_opt', 'reconstruction_opt', 'generator_freq', 'optim_z'):
        del opt['train'][key]
    del opt['network_z'], opt['datasets']['val_x3']
    opt['datasets']['val_x2']['color'] = color
    opt['synthesis'] = {'hr_size': 24, 'sources': [{'type': 'procedural', 'num_images': 8, 'image_size': 16}]}
    opt['val']['val_freq'] = 4
    opt['logger']['save_checkpoint_freq'] = 4
    torch.manual_seed(0)
    network = build_network(dict(teacher))
    torch.save({'params': network.state_dict()}, folder / 'teacher.pth')
    return {**opt, 'scales': [2], 'network_t': dict(teacher), 'network_g': dict(student), **changes}


def _trained(opt: dict[str, Any], root: Path) -> tuple[dict[str, float], subprocess.CompletedProcess]:
    """PSNR by method in the report of a training."""
    done = run(['train'], opt, root)
    assert done.returncode == 0, done.stderr
    folder = root / 'experiments' / 'tiny'
    assert 'psnr' in json.loads((folder / 'metrics.jsonl').read_text().splitlines()[-1])['metrics']
    report = json.loads((folder / 'report.json').read_text())
    return {result['method']: result['psnr'] for result in report['results']}, done


def _checked(opt: dict[str, Any], root: Path) -> None:
    opt = copy.deepcopy(opt)
    validate(opt, True)
    complete(opt, str(root), True)
    check_networks(opt)


@pytest.mark.parametrize(
    ('teacher', 'student'),
    [(COLOUR, LUMA), (LUMA, COLOUR), ({**VDSR, 'num_in_ch': 3}, VDSR)],
    ids=['colour-luma', 'luma-colour', 'VDSR'],
)
def test_colour_and_luma(tmp_path: Path, image_folder: Path, teacher: dict[str, Any], student: dict[str, Any]) -> None:
    opt = _options(tmp_path, image_folder, teacher, student, 'rgb')
    found, _ = _trained(opt, tmp_path)
    assert found.keys() == {'bicubic', 'teacher', 'student'}


def test_a_student_of_luma_learns_from_a_bank_in_colour(tmp_path: Path, image_folder: Path) -> None:
    opt = _options(tmp_path, image_folder, COLOUR, LUMA, 'rgb')
    done = run(['synthesize'], opt, tmp_path, '-n', '4', '-o', 'bank.lmdb')
    assert done.returncode == 0, done.stderr
    opt['synthesis'] = {'hr_size': 24, 'bank': {'path': 'bank.lmdb'}}
    opt['path'] = {}
    found, _ = _trained(opt, tmp_path)
    assert found.keys() == {'bicubic', 'student'}


def test_a_start_from_a_teacher_of_other_channels_is_refused(tmp_path: Path, image_folder: Path) -> None:
    opt = _options(tmp_path, image_folder, {**VDSR, 'num_in_ch': 3}, VDSR, 'rgb')
    opt['train']['init'] = 'teacher'
    done = run(['train'], opt, tmp_path)
    assert done.returncode == 2 and not (tmp_path / 'experiments').exists()
    assert 'train, init: teacher: teacher and student differ in the channels of their input: 3 and 1' in done.stderr


def test_swinir_teaches_whatever_the_sizes(tmp_path: Path, image_folder: Path) -> None:
    """LR images of 24x30, 25x24 and 26x32, none of which its windows of 8x8 divide, and patches of 12x12."""
    found, _ = _trained(_options(tmp_path, image_folder, SWINIR, COLOUR, 'rgb'), tmp_path)
    assert found.keys() == {'bicubic', 'teacher', 'student'}


def test_training_validation_and_report_heed_the_options_alike(tmp_path: Path, image_folder: Path) -> None:
    """With a student that grows, and an average of it: each is built by itself."""
    said = {'value_range': [-1, 1], 'size_multiple': 20}
    grown = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 2, 'upscale': 2}
    opt = _options(tmp_path, image_folder, COLOUR, grown, 'rgb', contract_t=said, contract_g=said)
    opt['train'] |= {'growth': {'start': 1, 'every': 2}, 'ema_decay': 0.5}
    found, _ = _trained(opt, tmp_path)
    experiment = tmp_path / 'experiments' / 'tiny'
    validated = json.loads((experiment / 'metrics.jsonl').read_text().splitlines()[-1])['metrics']['psnr']
    assert found['student'] == pytest.approx(validated, abs=1e-3)
    dataset = {**opt['datasets']['val_x2'], 'phase': 'val'}
    for method, options, weights in (
        ('teacher', COLOUR, tmp_path / 'teacher.pth'), ('student', grown, experiment / 'models' / 'net_g_latest.pth')
    ):  # fmt: skip
        psnr = {}
        for contract in (said, {}):
            network = freeze(comply(build_network(dict(options)), contract))
            load_weights(network, weights)
            outcome = evaluate(BicubicImageDataset(dataset), dataset, {'it': ImageSRAdapter(network, 3)},
                               metric_options(None), torch.device('cpu'))  # fmt: skip
            psnr[len(contract)] = outcome.results[1]['psnr']
        assert found[method] == pytest.approx(psnr[2], abs=1e-3) and found[method] != pytest.approx(psnr[0], abs=1e-3)


@pytest.mark.parametrize(
    ('teacher', 'said', 'expected'),
    [('RLFN', [0, 1], None), ('IMDN', [0, 255], '[0, 1]'), ('IMDN', [-1, 1], '[0, 1]'), ('IMDN', None, None)],
)
def test_a_range_that_is_wrong_is_noticed(
    tmp_path: Path, image_folder: Path, shared_data: Path, teacher: str, said: list[int] | None, expected: str | None
) -> None:
    opt = _options(tmp_path, image_folder, COLOUR, {**COLOUR, 'upscale': 4}, 'rgb')
    opt |= {'scales': [4], 'network_t': {'type': teacher}}
    opt['path'] = {'pretrain_network_t': str(shared_data / 'teachers' / f'{teacher.lower()}_x4.pth')}
    opt['datasets']['val_x2']['scale'] = 4
    if said:
        opt['contract_t'] = {'value_range': said}
    if expected is None:  # options that say a range are believed while there is an image at all
        _checked(opt, tmp_path)
        return
    with pytest.raises(UserError) as caught:
        _checked(opt, tmp_path)
    would = re.escape(f'with contract_t: {{value_range: {expected}}} it would be 0.000')
    away = r'path, pretrain_network_t: on a smooth image \w+ is \d\.?\d* away from bicubic; '
    assert re.fullmatch(away + would + r'\d+', str(caught.value)), str(caught.value)


def test_a_teacher_that_does_not_say_its_range(
    tmp_path: Path, image_folder: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RLFN as others have it; between [0, 1] it differs from bicubic by two grey values only."""
    register()
    monkeypatch.delattr(RLFN, 'value_range')
    monkeypatch.delattr(RLFN, 'min_size')
    opt = _options(tmp_path, image_folder, COLOUR, {**COLOUR, 'upscale': 4}, 'rgb')
    opt |= {'scales': [4], 'network_t': {'type': 'RLFN'}}
    opt['path'] = {'pretrain_network_t': str(shared_data / 'teachers' / 'rlfn_x4.pth')}
    opt['datasets']['val_x2']['scale'] = 4
    with pytest.raises(UserError, match=r'^network_t: does not fit scale 4: .*; try contract_t: {min_size: 15}$'):
        _checked(opt, tmp_path)
    opt['contract_t'] = {'min_size': 15}
    message = r'RLFN is 0.0083 away from bicubic; with contract_t: {value_range: \[0, 255\]} it would be 0.00'
    with pytest.raises(UserError, match=message):
        _checked(opt, tmp_path)
    opt['contract_t'] = {'min_size': 15, 'value_range': [0, 255]}
    _checked(opt, tmp_path)
