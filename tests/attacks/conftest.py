"""A folder with all that a tiny training needs, for attacks to spoil."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny_training import tiny_options

from .writing import prepare


@pytest.fixture
def place(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    """A folder with `teacher.pth`, `images` and `good.yml`, a training of them."""
    folder = tmp_path / 'place'
    folder.mkdir()
    options = tiny_options(folder, make_images(folder / 'images'))
    (folder / 'good.yml').write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    return folder


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]) -> Path:
    """A folder with what the commands that write work on, and something of the user's."""
    folder = tmp_path_factory.mktemp('writing') / 'place'
    folder.mkdir()
    prepare(folder, make_images(folder / 'images'))
    return folder
