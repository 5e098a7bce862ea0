"""What a report is about, and what it is called there."""

import json
import re
from pathlib import Path

import cv2
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.folder import make_report

from .conftest import TEACHER, small_vdsr

SETTINGS = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}


@pytest.fixture
def adaptation(experiment: Path, change_options) -> Path:
    """An experiment that adapted a network, validated on pictures with HR and on some without."""

    def edit(options: dict) -> None:
        for key in ('network_t', 'scales'):
            del options[key]
        options.update(model_type='DomainAdaptationModel', scale=2, network_g={'type': 'EDSR', **SETTINGS})
        options['path'] = {'pretrain_network_g': 'before.pth'}
        options['datasets'] = {
            'val_1': {**options['datasets']['val_x2'], 'color': 'rgb', 'name': 'pictures'},
            'val_2': {'name': 'camera', 'type': 'SingleImageDataset', 'dataroot_lq': 'pictures', 'phase': 'val',
                      'io_backend': {'type': 'disk'}},
        }  # fmt: skip

    change_options(edit)
    for file in (experiment.parents[1] / 'before.pth', experiment / 'models' / 'net_g_latest.pth'):
        torch.manual_seed(len(file.name))
        torch.save({'params': EDSR(**SETTINGS).state_dict()}, file)
    return experiment


def test_an_adaptation_speaks_of_before_and_after(adaptation: Path) -> None:
    report = make_report(adaptation)
    assert report['names'] == {'bicubic': 'bicubic', 'teacher': 'not adapted', 'student': 'adapted'}
    page = (adaptation / 'report.md').read_text(encoding='utf-8')
    assert '| data set | scale | bicubic | not adapted | adapted | adapted - not adapted |' in page
    assert ', adapted.' in page and 'fewer weights' not in page and '1.00' not in page.split('## Cost')[1]
    html = (adaptation / 'report.html').read_text(encoding='utf-8')
    shown = re.sub(r'(?s)<(style|script)>.*?</\1>|<[^>]*>', ' ', html)  # without tags
    assert 'not adapted' in shown and 'student' not in shown and 'teacher' not in shown
    assert 'student' not in page and 'teacher' not in page
    assert 'What the adaptation changed' in html
    # What it does to LR by bicubic is told too, and the set without HR is shown.
    assert [made['scale'] for made in report['made']] == [2]
    assert {result['dataset'] for result in report['results'] if result.get('without_gt')} == {'camera'}
    assert 'made images' in page


def test_other_networks_are_shown_beside(experiment: Path, change_options) -> None:
    """The same file as the teacher's gives the same figures, under its own name."""

    def edit(options: dict) -> None:
        options.update(compare=['not_adapted', 'gone'], network_not_adapted={'type': 'VDSR', **TEACHER})
        options['network_gone'] = {'type': 'VDSR', **TEACHER}
        options['path'].update(pretrain_network_not_adapted='teacher.pth', pretrain_network_gone='gone.pth')
        options['network_not_adapted']['num_block'] = 3

    change_options(edit)
    network = small_vdsr({**TEACHER, 'num_block': 3}, 7)
    torch.save({'params': network.state_dict()}, experiment.parents[1] / 'other.pth')
    change_options(lambda options: options['path'].update(pretrain_network_not_adapted='other.pth'))
    report = make_report(experiment)
    assert list(report['names'].items())[3:] == [('not_adapted', 'not adapted')]
    by_method = {r['method']: r for r in report['results'] if r['scale'] == 2}
    assert list(by_method) == ['bicubic', 'teacher', 'student', 'not_adapted']
    cost = {entry['network']: entry['params'] for entry in report['complexity']}
    assert cost['not_adapted'] == sum(p.numel() for p in network.parameters()) > cost['teacher']
    page = (experiment / 'report.md').read_text(encoding='utf-8')
    assert '| data set | scale | bicubic | teacher | student | not adapted | student - teacher |' in page
    assert '|  | teacher | student | not adapted | teacher : student |' in page
    assert 'gone is left out: its weights are not there' in page
    html = (experiment / 'report.html').read_text(encoding='utf-8')
    assert 'data-method="not_adapted"' in html and 'data-title="not adapted"' in html
    assert json.loads((experiment / 'report.json').read_text())['names'] == report['names']
    assert cv2.imread(str(experiment / 'report.png')) is not None


def test_weights_of_another_network_are_told(experiment: Path, change_options) -> None:
    def edit(options: dict) -> None:
        options.update(compare=['oracle'], network_oracle={'type': 'VDSR', **TEACHER, 'num_feat': 5})
        options['path']['pretrain_network_oracle'] = 'teacher.pth'

    change_options(edit)
    with pytest.raises(UserError, match=r'teacher\.pth'):
        make_report(experiment)
