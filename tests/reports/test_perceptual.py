"""LPIPS and DISTS: by pyiqa where it is, and never by a download."""

import http.server
import json
import socket
import sys
import threading
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reports.conftest import natural_picture

from vsrkd_plugin.reports.folder import make_report
from vsrkd_plugin.reports.perceptual import MOST_IMAGES, MOST_SIDE, Perceptual, load_metrics, offline
from vsrkd_plugin.reports.telling import perceptual_rows

CPU = torch.device('cpu')


def difference(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean difference of the red channels, as a stand-in for a metric."""
    return (x - y)[:, 0].abs().mean()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An address that can be asked, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{found.server_port}', asked
    found.shutdown()
    found.server_close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A pyiqa whose metrics are `difference`."""
    module = types.ModuleType('pyiqa')
    module.create_metric = lambda name, device: difference
    monkeypatch.setitem(sys.modules, 'pyiqa', module)
    return module


def test_nothing_is_said_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pyiqa', None)
    notes: list[str] = []
    assert load_metrics(CPU, notes) == {} and notes == []


def test_a_broken_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / 'pyiqa.py').write_text('import a_library_that_is_nowhere', encoding='utf-8')
    monkeypatch.delitem(sys.modules, 'pyiqa', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    notes: list[str] = []
    assert load_metrics(CPU, notes) == {}
    assert len(notes) == 1 and 'a_library_that_is_nowhere' in notes[0]


def test_weights_that_are_not_there_are_never_downloaded(
    fake: types.ModuleType, server: tuple[str, list[str]], capsys: pytest.CaptureFixture
) -> None:
    address, asked = server

    def create(name: str, device: torch.device):
        if name == 'dists':
            print('Downloading')
            urllib.request.urlopen(f'{address}/vgg16.pth')
        return difference

    fake.create_metric = create
    notes: list[str] = []
    assert list(load_metrics(CPU, notes)) == ['lpips']
    assert len(notes) == 1 and notes[0].startswith('DISTS is left out: pyiqa is installed, but its weights are not')
    assert asked == [] and capsys.readouterr().out == ''
    urllib.request.urlopen(f'{address}/afterwards')  # and then the world is there again
    assert asked == ['/afterwards']


def test_another_fault_is_told_as_it_is(fake: types.ModuleType) -> None:
    def create(name: str, device: torch.device):
        raise RuntimeError('the file is broken')

    fake.create_metric = create
    notes: list[str] = []
    assert load_metrics(CPU, notes) == {}
    assert len(notes) == 2 and all('the file is broken' in note for note in notes)


def test_no_way_out_is_left() -> None:
    with offline():
        with pytest.raises(OSError, match='no connection'):
            socket.create_connection(('127.0.0.1', 9))
        with socket.socket() as opened, pytest.raises(OSError, match='no connection'):
            opened.connect(('127.0.0.1', 9))


def test_values_are_those_of_the_inner_part_in_rgb() -> None:
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (MOST_SIDE + 20, 80, 3), dtype=np.uint8)
    image = rng.integers(0, 256, hr.shape, dtype=np.uint8)
    measured = Perceptual({'lpips': difference}, CPU)
    for number in range(MOST_IMAGES + 2):
        measured.add(str(number), {'student': image}, hr, 4)
    top = 10
    inner = (slice(top, top + MOST_SIDE), slice(4, 76), 2)  # OpenCV's third is red
    expected = np.abs(image[inner].astype(float) - hr[inner]).mean() / 255
    assert measured.values['student']['lpips'] == pytest.approx([expected] * MOST_IMAGES, abs=1e-6)
    grey = Perceptual({'lpips': difference}, CPU)
    grey.add('grey', {'student': image[:, :, 0]}, hr[:, :, 0], 0)
    grey.add('small', {'student': image[:63, :63]}, hr[:63, :63], 0)
    assert grey.names == ['grey']


def test_a_report_tells_them(fake: types.ModuleType, experiment: Path) -> None:
    for number, name in enumerate('ab'):  # large enough
        cv2.imwrite(str(experiment.parents[1] / 'pictures' / f'{name}.png'), natural_picture(96, 84, number))
    report = make_report(experiment)
    for result in report['results']:
        assert 0 < result['lpips'] < 1 and result['lpips'] == result['dists']
    rows = perceptual_rows(report)
    assert rows[0] == ['data set', 'scale', 'metric', 'bicubic', 'teacher', 'student'] and len(rows) == 5
    assert rows[1][:3] == ['pictures', 'x2', 'LPIPS']
    for name in ('report.md', 'report.html'):
        assert 'LPIPS (AlexNet) and DISTS against HR' in (experiment / name).read_text(encoding='utf-8')
    assert json.loads((experiment / 'report.json').read_text())['results'] == report['results']
