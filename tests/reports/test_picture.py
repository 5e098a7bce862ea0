"""The picture is drawn whatever there is to show."""

import cv2
import numpy as np
import pytest

from vsrkd_plugin.reports.evaluation import Crop
from vsrkd_plugin.reports.picture import Curve, draw_report


def crop(methods: tuple[str, ...], colour: bool) -> Crop:
    shape = (12, 12, 3) if colour else (12, 12)
    panels = {key: np.full(shape, 128, np.uint8) for key in ('lr', *methods, 'hr')}
    return Crop('set', 2, 'a', 1.0, panels, dict.fromkeys(methods, float('inf')))


CURVE = Curve('set x2', [(2, 30.0), (4, 31.0)], {'bicubic': 29.0, 'teacher': 32.0})


@pytest.mark.parametrize(
    ('crops', 'curves'),
    [
        ([crop(('bicubic', 'teacher', 'student'), False)] * 4, [CURVE] * 3),
        ([crop(('bicubic', 'student'), True)], [Curve('set x2', [(2, 30.0)], {})] * 5),
        ([], [CURVE]),
        ([crop(('bicubic', 'student'), True)], []),
        ([], []),
    ],
)
def test_picture(tmp_path, crops, curves):
    path = tmp_path / 'report.png'
    draw_report(path, 'title', 'subtitle ' * 30, crops, curves)
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 1440 and picture.std() > 1
    assert [file.name for file in tmp_path.iterdir()] == ['report.png']


def test_nothing_is_left_where_nothing_can_be_written(tmp_path):
    (tmp_path / 'report.png').mkdir()
    with pytest.raises(OSError):
        draw_report(tmp_path / 'report.png', 'title', '', [], [])
    assert [file.name for file in tmp_path.iterdir()] == ['report.png']
