"""What a folder holds: hidden entries are never data, clips are folders of images, frames come in their order."""

import logging
from pathlib import Path

import pytest

from vsrkd_plugin.data import listing
from vsrkd_plugin.data.listing import list_frames, order_frames, read_folder
from vsrkd_plugin.errors import UserError

KEY = 'datasets, val, dataroot_gt'
HIDDEN = ('.ipynb_checkpoints/0-checkpoint.png', '.@__thumb/0.png', '__MACOSX/0.png', '._0.png', '.0.png')


def put(root: Path, *names: str) -> Path:
    """Empty files, and the folders that they lie in."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """BasicSR's log, as it is while a run builds its data sets."""
    monkeypatch.setattr(listing, '_told', set())
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level(logging.INFO, 'basicsr')
    return caplog


def stems(frames: list[Path]) -> list[str]:
    return [frame.stem for frame in frames]


def test_entries_are_what_they_are(tmp_path: Path) -> None:
    put(tmp_path, *HIDDEN, 'b.JPG', 'a.png', 'Thumbs.db', 'notes.txt', 'folder/x.png', 'named_like.png/x.txt')
    found = read_folder(tmp_path, KEY)
    assert [path.name for path in found.images] == ['a.png', 'b.JPG']
    assert [path.name for path in found.folders] == ['folder', 'named_like.png']
    others = {'._0.png', '.0.png', '.@__thumb', '.ipynb_checkpoints', '__MACOSX', 'Thumbs.db', 'notes.txt'}
    assert {path.name for path in found.others} == others
    with pytest.raises(UserError, match=rf'^{KEY}: cannot read folder .*nowhere'):
        read_folder(tmp_path / 'nowhere', KEY)


def test_hidden_folders_are_no_clips_and_stray_images_no_frames(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    put(tmp_path, 'b/0.png', 'b/1.png', 'a/0.png', 'a/1.png', 'a/._0.png', 'a/.ipynb_checkpoints/0-checkpoint.png')
    put(tmp_path, *HIDDEN, 'preview_1.jpg', 'Thumbs.db', 'empty/readme.txt')
    for _ in range(2):  # of several scales, say
        clips = list_frames(tmp_path, None, KEY)
        assert [(folder.name, stems(frames)) for folder, frames in clips] == [('a', ['0', '1']), ('b', ['0', '1'])]
    (line,) = log.messages
    assert line.startswith(f'{tmp_path}: 10 entries are left out as no data: .0.png, .@__thumb, ._0.png, ')
    with pytest.raises(UserError, match=r'has no clips empty; it has a, b$'):
        list_frames(tmp_path, ['a', 'empty'], KEY)


def test_frames_of_one_clip(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    put(tmp_path, '0.png', '1.png', '.cache/0.png', 'notes/readme.txt')
    assert [(folder, stems(frames)) for folder, frames in list_frames(tmp_path, None, KEY)] == [(tmp_path, ['0', '1'])]
    assert log.messages == [f'{tmp_path}: 2 entries are left out as no data: .cache, notes']
    hidden = put(tmp_path / 'hidden', *HIDDEN)
    with pytest.raises(UserError, match='hidden holds neither frames nor folders of frames'):
        list_frames(hidden, None, KEY)


def test_nothing_is_told_before_a_run_has_its_log(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    put(tmp_path, '0.png', 'Thumbs.db')
    log.set_level(logging.WARNING, 'basicsr')  # as before BasicSR sets its log up: preflight
    list_frames(tmp_path, None, KEY)
    assert not log.messages
    log.set_level(logging.INFO, 'basicsr')
    list_frames(tmp_path, None, KEY)
    assert len(log.messages) == 1


@pytest.mark.parametrize(
    'names',
    [
        ('1.png', '2.png', '10.png'),
        ('0009.png', '0010.png', '0011.jpg'),
        ('1403636579763555584.png', '1403636579813555456.png'),  # nanoseconds
        ('1403636579.763.png', '1403636580.013.png', '1403636580.063.png'),
        ('0001_x4.png', '0002_x4.png', '0010_x4.png'),
        ('0001_1080p.png', '0002_1080p.png', '0003_1080p.png'),
        ('scene2_take1_9.png', 'scene2_take1_10.png'),
        ('0.png', '10.png', '20.png', '30.png'),
    ],
)
def test_frames_are_sorted_by_the_numbers_of_the_whole_name(names: tuple[str, ...]) -> None:
    files = [Path(name) for name in names]
    assert order_frames(Path('clip'), sorted(files, key=str, reverse=True)) == files


def test_far_timestamps_take_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    tracemalloc.start()
    order_frames(tmp_path, [Path(f'{number}.png') for number in (0, 50_000_000)])
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (('0', '1', '4', '6'), r'clip: frames 0 to 6, but 2, 3, 5 missing'),
        (('im1_x2', 'im2_x2', 'im4_x2'), r'clip: frames 1 to 4, but 3 missing'),
        (('0001', '1'), r'clip: frame 0001 is there twice \(0001.png, 1.png\)'),
        (('0001_x4', '1_x4', '0002_x4'), r'frame 0001_x4 is there twice'),
        (('0', '1', 'title'), r'clip: frame title.png has no number in its name'),
        (('0', '1', 'preview_1'), r'clip: frame preview_1.png is not named like the others \(0.png\)'),
    ],
)
def test_names_that_fit_no_order(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        order_frames(Path('clip'), [Path(f'{name}.png') for name in names])
