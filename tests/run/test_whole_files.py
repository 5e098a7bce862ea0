"""Files are whole or not there."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.run.whole_files import save_atomically, write_png, write_text_atomically


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


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_png(pixels, tmp_path / 'new' / 'a.png')
    assert (cv2.imread(str(tmp_path / 'new' / 'a.png')) == pixels).all()
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        write_png(pixels, tmp_path / 'file' / 'a.png')
