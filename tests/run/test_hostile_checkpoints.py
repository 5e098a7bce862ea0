"""Nothing that is read from a checkpoint runs, imports or writes, whatever the file is made of."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_checkpoints
import pytest
import torch

import vsrkd_plugin
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.checkpoints import read_weights

HOLDS_WEIGHTS = {
    **{f'{title}, {kind}': False for title in hostile_checkpoints.PROGRAMS for kind in ('zip', 'old')},
    **dict.fromkeys(hostile_checkpoints.FILES, False),
    **dict.fromkeys(hostile_checkpoints.HARMLESS, True),
}


def _tree(folder: Path) -> dict[str, tuple]:
    stats = {str(file.relative_to(folder)): file.lstat() for file in folder.rglob('*')}
    return {name: (stat.st_size, stat.st_mode, stat.st_nlink, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.fixture(scope='module')
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of reading each file, all in one process; its folders are as they were."""
    root = tmp_path_factory.mktemp('hostile')
    for name in ('files', 'cwd', 'tmp'):
        (root / name).mkdir()
    assert hostile_checkpoints.write_all(root / 'files') == HOLDS_WEIGHTS
    before, hostname = _tree(root), os.stat('/etc/hostname') if os.path.exists('/etc/hostname') else None
    done = subprocess.run(
        [sys.executable, hostile_checkpoints.__file__, str(root / 'files')],
        cwd=root / 'cwd',
        env={
            **os.environ,
            'TMPDIR': str(root / 'tmp'),
            'PYTHONPATH': str(Path(vsrkd_plugin.__file__).parents[1]),
            'PYTHONDONTWRITEBYTECODE': '1',
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert _tree(root) == before
    assert hostname is None or os.stat('/etc/hostname')[:9] == hostname[:9]
    return json.loads(done.stdout)


@pytest.mark.parametrize('title', HOLDS_WEIGHTS)
def test_a_file_is_read_or_refused_and_does_nothing(read: dict[str, Any], title: str) -> None:
    assert read[title]['events'] == []
    outcome = read[title]['outcome']
    if HOLDS_WEIGHTS[title]:
        assert outcome == 'weights: weight'
    else:
        assert outcome.startswith('UserError: ') and f'{title}.pth: ' in outcome and '\n' not in outcome
        assert len(outcome) < 600


def test_the_harmless_files_say_what_they_hold(tmp_path: Path) -> None:
    """They are assembled by hand: torch itself reads the same of them."""
    import torch

    hostile_checkpoints.write_all(tmp_path)
    for title in ('plain', 'plain, old', 'part of a storage'):
        expected = torch.load(tmp_path / f'{title}.pth', weights_only=True)
        assert torch.equal(read_weights(tmp_path / f'{title}.pth')['weight'], expected['weight'])
    expected = torch.load(tmp_path / 'numpy.pth', weights_only=False)['params']
    for title in ('numpy', 'numpy, old'):
        assert torch.equal(read_weights(tmp_path / f'{title}.pth')['weight'], expected['weight'])


def test_a_tensor_that_repeats_a_number_without_end_is_refused(tmp_path: Path) -> None:
    one = torch.ones(1)
    torch.save({'a': one.expand(100, 100)}, tmp_path / 'some.pth')
    assert torch.equal(read_weights(tmp_path / 'some.pth')['a'], torch.ones(100, 100))
    torch.save({'a': one.expand(200_000, 200_000)}, tmp_path / 'endless.pth')
    with pytest.raises(UserError, match='far more numbers than its storage'):
        read_weights(tmp_path / 'endless.pth')
