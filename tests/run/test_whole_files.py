"""Files are whole or not there; what killed writers leave is cleared, what others write at this moment is not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vsrkd_plugin.run import whole_files
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.run.whole_files import (
    begun,
    begun_folder,
    clear_begun,
    save_atomically,
    whole_file,
    write_png,
    write_text_atomically,
)


@pytest.mark.parametrize('step', ['save', 'fsync', 'replace'])
def test_a_failing_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    file = tmp_path / 'net.pth'
    save_atomically({'w': torch.ones(3)}, file)
    old = file.read_bytes()

    def fail(*args: Any) -> None:
        if step == 'save':
            args[1].write(b'half a check')
        raise OSError('No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(*{'save': (torch, 'save'), 'fsync': (os, 'fsync'), 'replace': (os, 'replace')}[step], fail)
        with pytest.raises(OSError, match='No space'):
            save_atomically({'w': torch.zeros(3)}, file)
        if step != 'save':
            with pytest.raises(OSError, match='No space'):
                write_text_atomically('new', file)
    assert file.read_bytes() == old
    assert list(tmp_path.iterdir()) == [file]
    save_atomically({'w': torch.zeros(3)}, file)
    assert torch.equal(read_weights(file)['w'], torch.zeros(3))


def test_text(tmp_path: Path) -> None:
    for text in ('x2, 37.57 dB ± 0.01', ''):
        write_text_atomically(text, tmp_path / 'report.md')
        assert (tmp_path / 'report.md').read_text(encoding='utf-8') == text
    assert len(list(tmp_path.iterdir())) == 1


def _killed_while_it_writes(folder: Path) -> list[Path]:
    """What such a process leaves: a file and a folder."""
    code = (
        'import os, signal, sys; from pathlib import Path\n'
        'from vsrkd_plugin.run.whole_files import begun_folder, whole_file\n'
        'folder = Path(sys.argv[1])\n'
        'with whole_file(folder / "net.pth") as file, begun_folder(folder / "net.onnx") as made:\n'
        '    file.write(b"half"); file.flush(); (made / "graph").touch()\n'
        '    os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    before = set(folder.iterdir())
    subprocess.run([sys.executable, '-c', code, str(folder)], check=False)
    return sorted(set(folder.iterdir()) - before)


def test_what_a_killed_process_left_is_cleared_when_the_next_one_writes_there(tmp_path: Path) -> None:
    (tmp_path / '.mine.1234.part').touch()  # somebody else's
    left = _killed_while_it_writes(tmp_path)
    assert len(left) == 2 and not (tmp_path / 'net.pth').exists()
    write_text_atomically('text', tmp_path / 'a.txt')
    assert sorted(file.name for file in tmp_path.iterdir()) == ['.mine.1234.part', 'a.txt']


def test_what_is_being_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By this process, by another one of this machine, and by one of another machine, which cannot be seen."""
    with whole_file(tmp_path / 'a.pth') as file, begun_folder(tmp_path / 'b') as folder:
        running = begun(tmp_path / 'c.pth')
        os.link(file.name, running.with_name(running.name.replace(f'-{os.getpid()}.', f'-{os.getppid()}.')))
        monkeypatch.setattr(whole_files, '_machine', lambda: '01234567')
        os.link(file.name, begun(tmp_path / 'd.pth').with_name('.d.pth.01234567-4194305.part'))
        monkeypatch.undo()
        names = {entry.name for entry in tmp_path.iterdir()}
        clear_begun(tmp_path)
        assert {entry.name for entry in tmp_path.iterdir()} == names and len(names) == 4 and folder.is_dir()


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_png(pixels, tmp_path / 'new' / 'a.png')
    assert (cv2.imread(str(tmp_path / 'new' / 'a.png')) == pixels).all()
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        write_png(pixels, tmp_path / 'file' / 'a.png')


def test_what_a_killed_process_of_our_number_left_is_in_nobodys_way(tmp_path: Path) -> None:
    left = begun(tmp_path / 'net.onnx')
    left.mkdir()
    (left / 'half.bin').write_bytes(b'x')
    with begun_folder(tmp_path / 'net.onnx') as folder:
        assert folder == left and not list(folder.iterdir())
    assert not list(tmp_path.iterdir())
