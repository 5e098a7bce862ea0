"""The film of a report: every clip long enough to be seen, panels of the frames that were given."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vsrkd_plugin.reports import film as film_module
from vsrkd_plugin.reports.evaluation import Film
from vsrkd_plugin.reports.film import FRAMES_PER_SECOND, write_film


def film(name: str, length: int, side: int = 64) -> Film:
    """Panels of one grey each, brighter from frame to frame."""
    grey = (np.arange(length) * 20).astype(np.uint8)[:, None, None, None]
    panels = {method: np.broadcast_to(grey + start, (length, side, side, 3)).astype(np.uint8)
              for start, method in ((10, 'lr'), (60, 'student'), (100, 'hr'))}  # fmt: skip
    return Film(name, panels)


def frames_of(path: Path) -> list[np.ndarray]:
    if path.suffix == '.png':
        image = Image.open(path)
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert('RGB'))[:, :, ::-1])
        return frames
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize(('pyav', 'writer'), [(True, True), (False, True), (False, False)])
def test_frames_are_the_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyav: bool, writer: bool) -> None:
    if pyav:
        pytest.importorskip('av', reason='needs the extra video')
    else:
        monkeypatch.setattr(film_module, '_has_pyav', lambda: False)
    if not writer:
        monkeypatch.setattr(cv2, 'VideoWriter', type('Closed', (), {
            '__init__': lambda self, *args: None, 'isOpened': lambda self: False,
        }))  # fmt: skip
    path = write_film(tmp_path, [film('set/a', 7), film('set/b', 5)])
    assert path == tmp_path / ('report.mp4' if writer else 'report_clips.png')
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    frames = frames_of(path)
    if writer:  # 3 seconds of each, in whole repetitions
        assert len(frames) == 35 + 30 and len(frames) >= 6 * FRAMES_PER_SECOND
    for number in range(7):
        for column, start in enumerate((10, 60, 100)):
            middle = frames[number][40:70, column * 68 + 16 : column * 68 + 48].mean()
            assert middle == pytest.approx(start + 20 * number, abs=5)  # MP4 is lossy


def test_browsers_play_it(tmp_path: Path) -> None:
    av = pytest.importorskip('av', reason='needs the extra video')
    path = write_film(tmp_path, [film('set/a', 7)])
    assert path is not None
    content = path.read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')
    with av.open(str(path)) as opened:
        context = opened.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace, context.color_range) == ('h264', 'yuv420p', 1, 1)


def test_clips_of_other_sizes_share_a_film(tmp_path: Path) -> None:
    path = write_film(tmp_path, [film('a', 3), film('b', 3, side=33)])
    assert {frame.shape for frame in frames_of(path)} == {(64 + 44, 3 * 64 + 8, 3)}


def test_nothing_to_show(tmp_path: Path) -> None:
    assert write_film(tmp_path, []) is None and not list(tmp_path.iterdir())
