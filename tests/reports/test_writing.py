"""JSON, Markdown and log."""

import json
import math

import pytest

from vsrkd_plugin.reports.writing import (
    complexity_rows,
    headline,
    left_out_lines,
    result_rows,
    to_json,
    to_markdown,
    training_line,
)

NETWORKS = {'teacher': 'VDSR(num_feat=64)', 'student': 'VDSR(num_feat=32)'}


@pytest.fixture
def report() -> dict:
    values = {'bicubic': (33.66, 0.93), 'teacher': (37.57, 0.9587), 'student': (37.25, 0.957)}
    cost = {'teacher': (664704, 10_890_510_336, 0.4), 'student': (166464, 2_727_346_176, 0.1)}
    keys = ('params', 'macs', 'seconds_per_image')
    return {
        'results': [
            {'dataset': 'Set5', 'scale': 2, 'method': method, 'psnr': psnr, 'ssim': ssim}
            for method, (psnr, ssim) in values.items()
        ],
        'complexity': [
            {'network': name, **dict(zip(keys, values, strict=True)), 'input': [1, 1, 64, 64], 'scale': 2}
            for name, values in cost.items()
        ],
        'training': {'iterations': 3000, 'seconds': 3725.0, 'device': 'cpu', 'precision': 'bf16', 'seed': 0},
    }


def test_json_has_no_nan(report):
    report['results'][0].update(psnr=math.inf, ssim=math.nan)
    again = json.loads(to_json(report), parse_constant=pytest.fail)
    assert again['results'][0]['psnr'] is None and again['results'][0]['ssim'] is None
    assert again['complexity'] == report['complexity']


def test_rows(report):
    assert result_rows(report)[1] == [
        'Set5', 'x2', '33.66 / 0.9300', '37.57 / 0.9587', '37.25 / 0.9570', '-0.32 / -0.0017'
    ]  # fmt: skip
    assert complexity_rows(report)[1:] == [
        ['weights', '664,704', '166,464', '3.99'],
        ['multiply-accumulates', '10.89 G', '2.73 G', '3.99'],
        ['time per image', '400.0 ms', '100.0 ms', '4.00'],
    ]


def test_unknown_values_are_dashes(report):
    report['results'][1]['psnr'] = None
    report['complexity'][0]['macs'] = None
    assert result_rows(report)[1][3:] == ['- / 0.9587', '37.25 / 0.9570', '- / -0.0017']
    assert complexity_rows(report)[2] == ['multiply-accumulates', '-', '2.73 G', '-']
    assert 'multiply' not in headline(report, NETWORKS)


def test_a_row_says_which_images_do_not_count(report):
    assert '*' not in result_rows(report)[1][0] and left_out_lines(report) == []
    for result in report['results']:
        result['left_out'] = ['1 of 5 images left out: psnr of black is not finite']
    assert result_rows(report)[1][0] == 'Set5 *'
    line = '* Set5 x2: 1 of 5 images left out: psnr of black is not finite.'
    assert left_out_lines(report) == [line]
    assert f'\n\n{line}\n\n' in to_markdown(report, 'mine', NETWORKS, 'command', [])


def test_headline_tells_what_was_saved(report):
    assert headline(report, NETWORKS) == (
        '**VDSR(num_feat=64)** (664,704 weights) → **VDSR(num_feat=32)** (166,464 weights): '
        '3.99x fewer weights, 3.99x fewer multiply-accumulates, 4.00x faster.'
    )
    report['complexity'][1]['seconds_per_image'] = 0.8
    assert '2.00x slower' in headline(report, NETWORKS)


def test_training_line(report):
    assert training_line(report['training']) == '3,000 iterations in 1 h 2 min, on cpu, precision bf16, seed 0.'
    assert 'training.json' in training_line(dict.fromkeys(report['training']))


def test_page(report):
    page = to_markdown(report, 'mine', NETWORKS, 'basicsr report experiments/mine', ['Something is missing.'])
    assert page.startswith('# mine\n') and '| Set5 | x2 |' in page and 'Note: Something is missing.' in page
    widths = {line.count('|') for line in page.splitlines() if line.startswith('|')}
    assert widths == {7, 5}
