"""A folder with all that a tiny training needs, for attacks to spoil."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny_training import tiny_options


@pytest.fixture
def place(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    """A folder with `teacher.pth`, `images` and `good.yml`, a training of them."""
    folder = tmp_path / 'place'
    folder.mkdir()
    options = tiny_options(folder, make_images(folder / 'images'))
    (folder / 'good.yml').write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    return folder
