"""The whole report, from a folder to its files."""

import json
import logging
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.experiment import TRAINING_KEYS, read_experiment, read_validations
from vsrkd_plugin.reports.folder import make_report


def bicubic_psnr(file, scale: int) -> float:
    """Apart from our code: OpenCV reads, BasicSR's imresize enlarges, the formulas are written out."""
    image = cv2.imread(str(file)).astype(np.float64) / 255
    height, width = (side // scale * scale for side in image.shape[:2])
    blue, green, red = np.moveaxis(image[:height, :width], 2, 0)
    y = (16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255
    enlarged = imresize(imresize(y[..., None], 1 / scale), scale)[..., 0]
    a, b = (np.round(np.clip(x, 0, 1) * 255)[scale:-scale, scale:-scale] for x in (y, enlarged))
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


def without_times(report: dict) -> dict:
    return {**report, 'complexity': [{**e, 'seconds_per_image': 0} for e in report['complexity']]}


def test_report_of_a_distillation(experiment, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    with caplog.at_level(logging.INFO, 'basicsr'):
        report = make_report(experiment)

    assert json.loads((experiment / 'report.json').read_text()) == report
    assert list(report) == ['results', 'made', 'complexity', 'training', 'names']
    assert [(r['dataset'], r['scale'], r['method']) for r in report['results']] == [
        ('pictures', scale, method) for scale in (2, 3) for method in ('bicubic', 'teacher', 'student')
    ]
    measured = {'dataset', 'scale', 'method', 'psnr', 'ssim', 'sharpness'}
    for result in report['results']:
        own = {'agreement'} if result['method'] == 'student' else set()
        assert set(result) - {'niqe'} == measured | own
    for scale in (2, 3):
        found = next(r['psnr'] for r in report['results'] if (r['scale'], r['method']) == (scale, 'bicubic'))
        expected = np.mean([bicubic_psnr(experiment.parents[1] / 'pictures' / f'{n}.png', scale) for n in 'ab'])
        assert found == pytest.approx(expected, abs=0.01)
    assert [entry['network'] for entry in report['complexity']] == ['teacher', 'student']
    assert report['complexity'][0]['params'] == 9 * 8 + 2 * 9 * 64 + 9 * 8
    assert report['training'] == {
        'iterations': 4, 'seconds': 812.3, 'device': 'cpu (2 threads)', 'precision': 'bf16', 'seed': 0,
        'peak_memory_mb': 2716.4,
    }  # fmt: skip
    page = (experiment / 'report.md').read_text(encoding='utf-8')
    assert 'basicsr report experiments/tiny' in page and 'report.png' in page and '13 min 32 s' in page
    assert '2,716 MB of memory at most' in page
    assert cv2.imread(str(experiment / 'report.png')).shape[1] > 1000
    assert 'student - teacher' in caplog.text and 'Report: pictures x3, 2 image(s)' in caplog.text
    assert not [file for file in os.listdir(experiment) if '.part' in file]

    assert without_times(make_report(experiment)) == without_times(report)


def test_report_without_a_teacher_or_records(experiment, change_options):
    """A stock SRModel training: no teacher, weights under params_ema, a numbered model alone, other data sets."""

    def edit(options):
        del options['network_t'], options['path']['pretrain_network_t'], options['scales']
        options['model_type'] = 'SRModel'
        options['datasets']['val_x2']['color'] = 'rgb'
        options['datasets']['val_lr'] = {'name': 'lr', 'type': 'SingleImageDataset', 'dataroot_lq': 'pictures',
                                         'io_backend': {'type': 'disk'}, 'phase': 'val'}  # fmt: skip

    change_options(edit)
    models = experiment / 'models'
    weights = torch.load(models / 'net_g_latest.pth')['params']
    (models / 'net_g_latest.pth').unlink()
    zeros = {key: torch.zeros_like(value) for key, value in weights.items()}
    torch.save({'params': weights}, models / 'net_g_9.pth')
    torch.save({'params': weights, 'params_ema': zeros}, models / 'net_g_10.pth')
    (experiment / 'metrics.jsonl').unlink()
    (experiment / 'training.json').unlink()

    report = make_report(experiment)

    # The third set has no HR: it is looked at, and nothing is compared.
    assert [r['method'] for r in report['results']] == ['bicubic', 'student'] * 3
    assert [(r['psnr'], r.get('without_gt')) for r in report['results'][4:]] == [(None, True)] * 2
    assert report['training'] == dict.fromkeys(TRAINING_KEYS)
    # A network of zeros is bicubic: the newest file was taken, and its moving average. In colour it passes through
    # YCbCr and back, which may round otherwise.
    assert report['results'][3]['psnr'] == report['results'][2]['psnr']
    assert report['results'][1]['psnr'] == pytest.approx(report['results'][0]['psnr'], abs=0.01)
    page = (experiment / 'report.md').read_text(encoding='utf-8')
    assert 'training.json is missing' in page and 'metrics.jsonl is missing' in page and 'student - bicubic' in page
    assert (experiment / 'report.png').is_file()


def test_resumed_and_truncated_validations(experiment):
    file = experiment / 'metrics.jsonl'
    with file.open('a', encoding='utf-8') as stream:  # the resumed training wrote on behind the truncated line
        stream.write('{"iteration": 6}\n{"iteration": 8, "dataset": "pictures_x2", "metrics": {"psnr": 23.0}}\n7\n')
    found = read_validations(file, [])
    assert {i: v['psnr'] for i, v in found['pictures_x2'].items()} == {2: 20.0, 4: 22.0, 8: 23.0}
    assert list(found['pictures_x3']) == [2, 4]


def test_report_without_validation_sets(experiment, change_options):
    change_options(lambda options: options.pop('datasets'))
    report = make_report(experiment)
    assert report['results'] == [] and report['complexity'][0]['scale'] == 2
    assert 'no data set' in (experiment / 'report.md').read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('missing', 'words'),
    [
        ('.', 'no such experiment folder'),
        ('options.yml', 'has no options.yml'),
        ('models', 'has no folder models'),
        ('models/net_g_latest.pth', 'expected net_g_latest.pth'),
    ],
)
def test_missing_parts_are_named(experiment, missing, words):
    target = experiment / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(UserError, match=words) as error:
        make_report(experiment)
    assert str(experiment) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('edit', 'words'),
    [
        (lambda o: o.pop('network_g'), 'network_g'),
        (lambda o: o['network_g'].update(type='Nope'), "network_g: no network 'Nope' is registered"),
        (lambda o: o['network_g'].update(num_feat=5), 'has shape'),
        (lambda o: o['network_g'].update(width=5), 'network_g: cannot be built.*width'),
        (lambda o: o['path'].pop('pretrain_network_t'), 'pretrain_network_t'),
        (lambda o: o['path'].update(pretrain_network_t='gone.pth'), 'gone.pth: no such checkpoint'),
        (lambda o: o['datasets']['val_x2'].update(dataroot_gt='gone'), 'gone'),
        (lambda o: o['datasets']['val_x2'].update(type='Nope'), 'pictures_x2: cannot be built'),
        (lambda o: o.update(network_t={'type': 'EDSR', 'num_in_ch': 1, 'num_out_ch': 1}), 'teacher.pth'),
    ],
)
def test_bad_options_are_named(experiment, change_options, edit, words):
    change_options(edit)
    with pytest.raises(UserError, match=words) as error:
        make_report(experiment)
    assert '\n' not in str(error.value)
    assert not (experiment / 'report.json').exists()


def test_broken_training_json_is_named(experiment):
    (experiment / 'training.json').write_text('{"iterations": 4,', encoding='utf-8')
    with pytest.raises(UserError, match=r'training\.json: is not valid JSON'):
        read_experiment(experiment)


def test_unwritable_folder_is_named(experiment):
    (experiment / 'report.md').mkdir()  # root may write anywhere, but not over a folder
    with pytest.raises(UserError, match='cannot be written'):
        make_report(experiment)
