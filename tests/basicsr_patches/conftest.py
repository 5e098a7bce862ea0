"""One stock training that several tests look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stock_training import run_stock, stock_options


@pytest.fixture(scope='module')
def trained(
    tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]
) -> tuple[Path, dict[str, Any], str]:
    """A folder in which `tiny` has been trained, its options, and what was printed."""
    root = tmp_path_factory.mktemp('trained')
    options = stock_options(make_images(root / 'images', ((40, 36), (40, 37), (41, 38))))
    result = run_stock('train', options, root)
    assert result.returncode == 0, result.stderr[-3000:]
    return root, options, result.stdout + result.stderr
