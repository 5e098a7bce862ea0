"""Folders of pictures: each enlarged, a bad one told, nothing half written, reading and writing beside the network."""

import errno
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import Nearest, model_of
from torch import Tensor

from vsrkd_plugin.deploy import batch
from vsrkd_plugin.deploy.batch import Summary, upscale_pictures
from vsrkd_plugin.deploy.jobs import Job, plan_jobs
from vsrkd_plugin.deploy.picture_writing import Output, write_picture
from vsrkd_plugin.deploy.pictures import Picture, read_picture
from vsrkd_plugin.deploy.upscaling import Upscaler
from vsrkd_plugin.errors import UserError


def make(folder: Path, count: int = 3, size: tuple[int, int] = (20, 30)) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.png')
    return folder


def upscale(
    folder: Path, target: Path, network: Nearest | None = None, **settings: object
) -> tuple[Summary, list[str]]:
    told: list[str] = []
    upscaler = Upscaler(model_of(network or Nearest()), tile=16, precision='fp32')
    return upscale_pictures(upscaler, plan_jobs(folder, target)[0], say=told.append, **settings), told


def test_each_picture_is_enlarged(tmp_path: Path) -> None:
    summary, told = upscale(make(tmp_path / 'in'), tmp_path / 'out')
    assert [path.name for path in summary.done] == ['0.png', '1.png', '2.png'] and not told
    assert summary.pixels == 3 * 40 * 60 and summary.seconds > 0
    for index in range(3):
        given, made = (read_picture(tmp_path / side / f'{index}.png').pixels for side in ('in', 'out'))
        assert np.array_equal(made, given.repeat(2, 0).repeat(2, 1))


def test_a_bad_picture_does_not_end_a_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / 'in', 4)
    (folder / '0.png').write_bytes(b'')
    (folder / '2.png').write_bytes((folder / '2.png').read_bytes()[:500])
    summary, told = upscale(folder, tmp_path / 'out')
    assert [path.name for path in summary.done] == ['1.png', '3.png']
    assert [path.name for path in summary.failed] == ['0.png', '2.png'] and len(told) == 2 and '2.png' in told[1]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['1.png', '3.png']


def test_conversions_are_noted(tmp_path: Path) -> None:
    folder = make(tmp_path / 'in', 1)
    Image.open(folder / '0.png').quantize(4).save(folder / 'palette.png')
    summary, _ = upscale(folder, tmp_path / 'out')
    assert summary.notes == {'palette, written in full colours': [folder / 'palette.png']}


def test_existing_files_are_skipped_where_asked(tmp_path: Path) -> None:
    folder, out = make(tmp_path / 'in'), tmp_path / 'out'
    out.mkdir()
    (out / '1.png').write_bytes(b'mine')
    summary, _ = upscale(folder, out, skip_existing=True)
    assert len(summary.done) == 2 and summary.skipped == [out / '1.png'] and (out / '1.png').read_bytes() == b'mine'
    summary, _ = upscale(folder, out)
    assert len(summary.done) == 3 and (out / '1.png').read_bytes() != b'mine'


class Fails(Nearest):
    """Takes no picture of 7 rows."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] == 7:
            raise RuntimeError('no seven')
        return super().forward(x)


def test_a_picture_that_the_network_does_not_take_leaves_no_file(tmp_path: Path) -> None:
    folder = make(tmp_path / 'in', 2)
    make(tmp_path / 'seven', 1, (7, 9))
    (tmp_path / 'seven' / '0.png').rename(folder / '0.png')
    summary, (told,) = upscale(folder, tmp_path / 'out', Fails())
    assert '0.png: Fails does not take 9x7 pixels (no seven)' in told
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['1.png']
    assert list(summary.failed) == [folder / '0.png']


def full_after(count: int) -> object:
    """`write_picture` on a disk that has room for so many files, and half of one more."""
    written: list[Path] = []

    def write(output: Output, strips: Iterable[np.ndarray]) -> None:
        def until_full() -> Iterable[np.ndarray]:
            for strip in strips:
                yield strip
                if len(written) >= count:
                    raise OSError(errno.ENOSPC, 'No space left on device')

        write_picture(output, until_full())
        written.append(output.path)

    return write


def test_a_full_disk_leaves_what_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, 'write_picture', full_after(2))
    folder, out = make(tmp_path / 'in', 5), tmp_path / 'out'
    with pytest.raises(
        UserError, match=r'2\.png: cannot be written \(No space left.*2 files were written.*--skip-exist'
    ):
        upscale(folder, out)
    assert sorted(path.name for path in out.iterdir()) == ['0.png', '1.png']
    for path in out.iterdir():
        assert read_picture(path).pixels.shape == (40, 60, 3)
    monkeypatch.undo()
    summary, _ = upscale(folder, out, skip_existing=True)
    assert len(summary.skipped) == 2 and len(summary.done) == 3


def test_another_failure_to_write_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder, out = make(tmp_path / 'in'), tmp_path / 'out'
    (out / '1.png').mkdir(parents=True)
    summary, told = upscale(folder, out)
    assert [path.name for path in summary.done] == ['0.png', '2.png'] and '1.png: cannot be written' in told[0]


def test_an_interruption_leaves_no_half_file(tmp_path: Path) -> None:
    class Interrupted(Nearest):
        def forward(self, x: Tensor) -> Tensor:
            self.calls = getattr(self, 'calls', 0) + 1
            if self.calls > 6:
                raise KeyboardInterrupt
            return super().forward(x)

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        upscale(make(tmp_path / 'in'), tmp_path / 'out', Interrupted())
    assert all(path.suffix == '.png' and not path.name.startswith('.') for path in (tmp_path / 'out').glob('*'))
    assert threading.active_count() == threads


def test_reading_network_and_writing_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 0.1 s a picture; one after the other they would take 0.3 s."""
    each, count = 0.1, 6

    def slow_read(path: Path) -> Picture:
        time.sleep(each)
        return read_picture(path)

    def slow_write(output: Output, strips: Iterable[np.ndarray]) -> None:
        write_picture(output, strips)
        time.sleep(each)

    class Slow(Nearest):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(each)
            return super().forward(x)

    monkeypatch.setattr(batch, 'read_picture', slow_read)
    monkeypatch.setattr(batch, 'write_picture', slow_write)
    folder = make(tmp_path / 'in', count, (8, 8))
    network = Slow()
    network.pre_upsampling = False
    upscaler = Upscaler(model_of(network), tile=16, precision='fp32')
    started = time.monotonic()
    upscale_pictures(upscaler, plan_jobs(folder, tmp_path / 'out')[0])
    assert time.monotonic() - started < 0.75 * 3 * each * count


def test_no_picture_is_kept_in_memory_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the one that is enlarged and the next."""
    alive: list[int] = []
    most = 0

    class Counted(Picture):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            alive.append(1)
            nonlocal most
            most = max(most, len(alive))

        def __del__(self) -> None:
            alive.pop()

    monkeypatch.setattr(batch, 'read_picture', lambda path: Counted(read_picture(path).pixels))
    upscale(make(tmp_path / 'in', 6), tmp_path / 'out')
    assert 1 <= most <= 2 and not alive


def test_nothing_to_do(tmp_path: Path) -> None:
    summary = upscale_pictures(Upscaler(model_of(Nearest()), precision='fp32'), [])
    assert not summary.done and not summary.failed


def test_a_result_that_its_format_cannot_hold_is_told(tmp_path: Path) -> None:
    Image.new('RGB', (20000, 2)).save(tmp_path / 'a.bmp')
    summary = upscale_pictures(
        Upscaler(model_of(Nearest()), tile=1000, precision='fp32'),
        [Job(tmp_path / 'a.bmp', tmp_path / 'out' / 'a.bmp')],
        say=lambda text: None,
    )
    assert 'more than a BMP holds' in summary.failed[tmp_path / 'a.bmp'] and torch.is_grad_enabled()
