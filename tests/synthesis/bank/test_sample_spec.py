"""Kinds of samples: what can be cropped from what, how numbers are kept."""

import pytest
import torch

from vsrkd_plugin.synthesis.bank.sample_spec import (
    NUMBERS,
    SampleSpec,
    crop,
    decode,
    draw_windows,
    encode,
    motion_of,
    packed_motion,
)
from vsrkd_plugin.synthesis.source import Batch

_CLIPS = SampleSpec(3, {2: 8}, frames=5, made='blur 1.5')


def test_shapes_and_bytes() -> None:
    assert SampleSpec(1, {2: 6, 3: 4}).lr_shape(3) == (1, 4, 4)
    assert _CLIPS.lr_shape(2) == (5, 3, 8, 8) and _CLIPS.target_shape(2) == (5, 3, 16, 16)
    assert _CLIPS.bytes(2) == 2 * 5 * 3 * (8 * 8 + 16 * 16) == 2 * _CLIPS.bytes(2, 'uint8')


@pytest.mark.parametrize(
    ('other', 'holds'),
    [
        (SampleSpec(3, {2: 8}, 5, 'blur 1.5'), True),
        (SampleSpec(3, {2: 4}, 2, 'blur 1.5', layers=3), True),
        (SampleSpec(3, {2: 9}, 2, 'blur 1.5'), False),
        (SampleSpec(3, {2: 4}, 6, 'blur 1.5'), False),
        (SampleSpec(3, {2: 4}, None, 'blur 1.5'), False),
        (SampleSpec(1, {2: 4}, 2, 'blur 1.5'), False),
        (SampleSpec(3, {2: 4}, 2, 'bicubic'), False),
        (SampleSpec(3, {3: 4}, 2, 'blur 1.5'), False),
    ],
)
def test_what_can_be_cropped(other: SampleSpec, holds: bool) -> None:
    assert _CLIPS.holds(other) == holds


def test_parts_are_the_same_in_lr_and_sr() -> None:
    wanted = SampleSpec(3, {2: 3}, frames=2)
    lr = torch.arange(5 * 3 * 8 * 8.0).view(_CLIPS.lr_shape(2))
    target = lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
    windows = draw_windows(_CLIPS, wanted, 2, 400, torch.Generator().manual_seed(0))
    for column, most in enumerate((3, 5, 5)):  # every place comes, and none beyond
        assert windows[:, column].unique().tolist() == list(range(most + 1))
    for window in windows[:20]:
        small, large = crop(lr, window, wanted, 2), crop(target, window, wanted, 2, 2)
        assert small.shape == (2, 3, 3, 3)
        assert torch.equal(large[..., ::2, ::2], small) and torch.equal(large[..., 1::2, 1::2], small)
    assert len({float(crop(lr, window, wanted, 2)[0, 0, 0, 0]) for window in windows}) > 90


def test_whole_samples_draw_nothing_at_random() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert not draw_windows(_CLIPS, _CLIPS, 2, 4, generator).any()
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(('numbers', 'error'), [('fp16', 2**-12), ('uint8', 0.5 / 255 + 1e-7)])
def test_numbers(numbers: str, error: float) -> None:
    x = torch.rand(1000)
    kept = encode(x, numbers)
    assert kept.dtype == NUMBERS[numbers]
    torch.testing.assert_close(decode(kept), x, rtol=0, atol=error)
    assert torch.equal(encode(decode(kept), numbers), kept)
    levels = torch.arange(256) / 255
    assert torch.equal(decode(encode(levels, 'uint8')), levels)


def test_motion_that_nobody_knows_is_refused() -> None:
    moving = SampleSpec(3, {2: 8}, 5, layers=2)
    with pytest.raises(ValueError, match='from a source that knows it'):
        packed_motion(Batch(torch.zeros(4, 5, 3, 8, 8)), moving)
    assert packed_motion(Batch(torch.zeros(4, 3, 8, 8)), SampleSpec(3, {2: 8})).shape == (4, 0)
    with pytest.raises(ValueError, match='expected clips with their motion'):
        motion_of(torch.zeros(4, 0), _CLIPS, torch.zeros(4, 3), _CLIPS, 2, 0)
    with pytest.raises(ValueError, match='only clips have layers'):
        SampleSpec(3, {2: 8}, layers=2)
