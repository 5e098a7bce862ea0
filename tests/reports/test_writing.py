"""JSON and Markdown."""

import json
import math

import pytest

from vsrkd_plugin.reports.telling import left_out_lines, result_rows
from vsrkd_plugin.reports.writing import to_json, to_markdown

NETWORKS = {'teacher': 'VDSR(num_feat=64)', 'student': 'VDSR(num_feat=32)'}


def test_json_has_no_nan(report):
    report['results'][0].update(psnr=math.inf, ssim=math.nan)
    again = json.loads(to_json(report), parse_constant=pytest.fail)
    assert again['results'][0]['psnr'] is None and again['results'][0]['ssim'] is None
    assert again['complexity'] == report['complexity']


def test_a_row_says_which_images_do_not_count(report):
    assert '*' not in result_rows(report)[1][0] and left_out_lines(report) == []
    for result in report['results']:
        result['left_out'] = ['1 of 5 images left out: psnr of black is not finite']
    assert result_rows(report)[1][0] == 'Set5 *'
    line = '* Set5 x2: 1 of 5 images left out: psnr of black is not finite.'
    assert left_out_lines(report) == [line]
    assert f'\n\n{line}\n\n' in to_markdown(report, 'mine', NETWORKS, 'command', [])


def test_page(report):
    page = to_markdown(report, 'mine', NETWORKS, 'basicsr report experiments/mine', ['Something is missing.'])
    assert page.startswith('# mine\n') and '**VDSR(num_feat=64)** (664,704 weights) →' in page
    assert '| Set5 | x2 |' in page and 'Note: Something is missing.' in page
    widths = {line.count('|') for line in page.splitlines() if line.startswith('|')}
    assert widths == {7, 5}
