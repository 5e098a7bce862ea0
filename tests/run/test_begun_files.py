"""What writers that are gone leave is cleared, what others write at this moment is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vsrkd_plugin.run import begun_files
from vsrkd_plugin.run.begun_files import begun, clear_begun, clear_own
from vsrkd_plugin.run.whole_files import begun_folder, whole_file, write_text_atomically


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
        monkeypatch.setattr(begun_files, '_machine', lambda: '01234567')
        os.link(file.name, begun(tmp_path / 'd.pth').with_name('.d.pth.01234567-4194305.part'))
        monkeypatch.undo()
        names = {entry.name for entry in tmp_path.iterdir()}
        clear_begun(tmp_path)
        assert {entry.name for entry in tmp_path.iterdir()} == names and len(names) == 4 and folder.is_dir()


def test_what_a_killed_process_of_our_number_left_is_in_nobodys_way(tmp_path: Path) -> None:
    left = begun(tmp_path / 'net.onnx')
    left.mkdir()
    (left / 'half.bin').write_bytes(b'x')
    with begun_folder(tmp_path / 'net.onnx') as folder:
        assert folder == left and not list(folder.iterdir())
    assert not list(tmp_path.iterdir())


def test_at_its_end_a_process_clears_its_own_and_nothing_else(tmp_path: Path) -> None:
    own = begun(tmp_path / 'a' / 'net.pth'), begun(tmp_path / 'b' / 'net.onnx'), begun(tmp_path / 'gone' / 'net.pth')
    others = own[0].with_name(own[0].name.replace(f'-{os.getpid()}.', f'-{os.getppid()}.')), own[0].with_name('net.pth')
    for file in (own[0], *others):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    own[1].mkdir(parents=True)
    (own[1] / 'graph').touch()
    clear_own()
    assert sorted(path for path in tmp_path.rglob('*') if path.is_file()) == sorted(others)
    assert not own[1].exists()
