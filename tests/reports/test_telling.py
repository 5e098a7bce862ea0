"""Rows and sentences."""

from vsrkd_plugin.reports.telling import complexity_rows, headline, result_rows, training_line

NETWORKS = {'teacher': 'VDSR(num_feat=64)', 'student': 'VDSR(num_feat=32)'}


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


def test_headline_tells_what_was_saved(report):
    assert headline(report, NETWORKS) == (
        'VDSR(num_feat=64) (664,704 weights) → VDSR(num_feat=32) (166,464 weights): '
        '3.99x fewer weights, 3.99x fewer multiply-accumulates, 4.00x faster.'
    )
    report['complexity'][1]['seconds_per_image'] = 0.8
    assert '2.00x slower' in headline(report, NETWORKS)


def test_training_line(report):
    assert training_line(report['training']) == '3,000 iterations in 1 h 2 min, on cpu, precision bf16, seed 0.'
    assert 'training.json' in training_line(dict.fromkeys(report['training']))
