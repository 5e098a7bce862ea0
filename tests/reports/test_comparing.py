"""Experiments side by side: which are compared, what the table says, what a broken one is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from vsrkd_plugin.cli import main
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.comparing import compare_experiments, is_collection


def write_experiment(folder: Path, macs: int | None, psnr: float, scale: int = 2, teacher: bool = True) -> None:
    folder.mkdir(parents=True)
    (folder / 'options.yml').write_text('name: x', encoding='utf-8')
    entry = {'seconds_per_image': 0.01, 'input': [1, 1, 64, 64], 'scale': scale}
    complexity = [{'network': 'student', 'params': 1000, 'macs': macs, **entry}]
    results = [{'dataset': 'Set5', 'scale': scale, 'method': 'student', 'psnr': psnr, 'ssim': 0.9}]
    results.append({'dataset': 'Set5', 'scale': scale, 'method': 'bicubic', 'psnr': 30.0, 'ssim': 0.9})
    if teacher:
        pixels = 64 * 64 * scale**2
        complexity.append({'network': 'teacher', 'params': 4000, 'macs': 400 * pixels, **entry})
        results.append({'dataset': 'Set5', 'scale': scale, 'method': 'teacher', 'psnr': 37.5, 'ssim': 0.9})
    report = {'results': results, 'complexity': complexity, 'training': {'seconds': 90.0}}
    (folder / 'report.json').write_text(json.dumps(report), encoding='utf-8')


def test_students_are_ordered_by_operations_for_a_pixel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The one at x4 has more operations for an input, and fewer for a pixel of the result."""
    write_experiment(tmp_path / 'wide', 100 * 64 * 64 * 4, 37.2)
    write_experiment(tmp_path / 'narrow', 50 * 64 * 64 * 16, 31.0, scale=4)
    write_experiment(tmp_path / 'untraced', None, 36.0, teacher=False)
    (tmp_path / 'running').mkdir()
    (tmp_path / 'running' / 'options.yml').write_text('name: x', encoding='utf-8')
    members = compare_experiments(tmp_path)
    assert [member.name for member in members] == ['narrow', 'wide', 'untraced']
    assert [member.cost['student']['macs_per_pixel'] for member in members] == [50, 100, None]
    page = (tmp_path / 'comparison.md').read_text(encoding='utf-8')
    assert '| wide | 1,000 | 100 | 4.0x | 10.0 ms | 1.5 min | - | 37.20 |' in page
    assert page.count('teacher of ') == 2  # at two scales they are told apart by their figures
    assert 'left out: running' in page and 'running' in caplog.text
    assert cv2.imread(str(tmp_path / 'comparison.png')).shape[1] > 1000
    assert not list(tmp_path.glob('.*.part*'))


def test_labels_of_points_that_lie_near_do_not_cover_each_other(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from vsrkd_plugin.reports import comparing

    for number in range(6):
        write_experiment(
            tmp_path / f'a student of a long name {number}', (1000 + number) * 64 * 64 * 4, 36 + number / 1e3
        )
    write_experiment(tmp_path / 'far away', 10 * 64 * 64 * 4, 33.0)
    figures: list[Figure] = []
    stock = comparing.save_figure
    comparing.save_figure = lambda figure, path: figures.append(figure) or stock(figure, path)  # type: ignore[func-returns-value]
    try:
        compare_experiments(tmp_path)
    finally:
        comparing.save_figure = stock
    boxes = [label.get_window_extent() for label in figures[0].axes[0].texts]
    assert len(boxes) == 8
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])


def test_one_teacher_is_shown_once(tmp_path: Path) -> None:
    for name, macs in (('a', 10), ('b', 20)):
        write_experiment(tmp_path / name, macs * 64 * 64 * 4, 36.0)
    compare_experiments(tmp_path)
    assert (tmp_path / 'comparison.md').read_text(encoding='utf-8').count('teacher of ') == 1


def test_the_command_takes_either_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_experiment(tmp_path / 'a', 10 * 64 * 64 * 4, 36.0)
    assert is_collection(tmp_path) and not is_collection(tmp_path / 'a')
    assert main(['report', str(tmp_path)]) == 0
    assert (tmp_path / 'comparison.md').is_file()
    assert main(['report', str(tmp_path / 'a')]) == 2  # an experiment, but without weights
    assert 'has no folder models' in capsys.readouterr().err


def test_the_folder_of_a_distillation_leads_to_its_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_experiment(tmp_path / 'experiments' / 'mine', 10, 36.0)
    (tmp_path / 'options.yml').write_text('name: mine', encoding='utf-8')
    assert main(['report', str(tmp_path)]) == 2
    assert f'did you mean {tmp_path / "experiments" / "mine"}?' in capsys.readouterr().err


@pytest.mark.parametrize('text', ['{', '[]', '{"results": []}', '{"results": [], "complexity": [], "training": {}}'])
def test_a_broken_report_is_named(tmp_path: Path, text: str) -> None:
    write_experiment(tmp_path / 'a', 10, 36.0)
    (tmp_path / 'a' / 'report.json').write_text(text, encoding='utf-8')
    with pytest.raises(UserError, match=r'a.report\.json: is not a report'):
        compare_experiments(tmp_path)


def test_whatever_stands_in_a_report_it_is_compared_or_named(tmp_path: Path) -> None:
    write_experiment(tmp_path / 'a', 10, 36.0)
    file = tmp_path / 'a' / 'report.json'
    whole, told = json.loads(file.read_text()), 0

    def places(value: object) -> Iterator[tuple[Any, Any]]:
        for key, each in list(value.items() if isinstance(value, dict) else enumerate(value)):  # type: ignore[arg-type]
            yield value, key
            if isinstance(each, dict | list):
                yield from places(each)

    for section, key in list(places(whole)):
        right = section[key]
        for wrong in (None, 'x', [], {}, [1, 2, 3], {'a': 1}, True, -1, 0, 1e308, [[]] * 4):
            section[key] = wrong
            file.write_text(json.dumps(whole))
            try:
                compare_experiments(tmp_path)
            except UserError as error:
                told += 'report.json' in str(error)
        section[key] = right
    assert told > 100


def test_nothing_to_compare(tmp_path: Path) -> None:
    write_experiment(tmp_path / 'a', 10, 36.0)
    (tmp_path / 'a' / 'report.json').unlink()
    with pytest.raises(UserError, match=r'none of its experiments has a report\.json'):
        compare_experiments(tmp_path)
