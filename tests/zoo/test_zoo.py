"""Names of shipped weights."""

from pathlib import Path

import pytest
import torch

from vsrkd_plugin import zoo
from vsrkd_plugin.checkpoints import read_weights
from vsrkd_plugin.errors import UserError


@pytest.fixture
def small_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ('vdsr_x234', 'another'):
        torch.save({'params': {'weight': torch.arange(3.0)}}, tmp_path / f'{name}.pth')
        (tmp_path / f'{name}.md').write_text('card')
    monkeypatch.setattr(zoo, '_FOLDER', tmp_path)
    return tmp_path


def test_names_and_places(small_zoo: Path) -> None:
    assert zoo.names() == ['another', 'vdsr_x234']
    assert zoo.resolve_weights('zoo:vdsr_x234') == small_zoo / 'vdsr_x234.pth'
    assert torch.equal(read_weights('zoo:vdsr_x234')['weight'], torch.arange(3.0))


def test_unknown_name_tells_the_nearest(small_zoo: Path) -> None:
    with pytest.raises(UserError, match=r'zoo:vdsr_x23: .*another, vdsr_x234; did you mean zoo:vdsr_x234\?'):
        zoo.resolve_weights('zoo:vdsr_x23')
    with pytest.raises(UserError, match=r'has another, vdsr_x234$'):
        zoo.resolve_weights('zoo:qqqqqq')
    with pytest.raises(UserError):
        zoo.resolve_weights('zoo:../zoo/another')


def test_anything_else_is_a_path() -> None:
    assert zoo.resolve_weights('some/file.pth') == Path('some/file.pth')
    assert zoo.resolve_weights(Path('file.pth')) == Path('file.pth')
    assert zoo.resolve_weights('~/file.pth') == Path.home() / 'file.pth'


def test_all_shipped_weights_are_readable_and_have_a_card() -> None:
    for name in zoo.names():
        file = zoo.resolve_weights(f'zoo:{name}')
        assert read_weights(f'zoo:{name}')
        assert file.with_suffix('.md').is_file(), f'{name} has no model card'
        assert file.stat().st_size <= 3 << 20
