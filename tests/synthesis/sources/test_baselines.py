"""Noise and real crops as sources."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vsrkd_plugin.ops.dihedral import apply_dihedral
from vsrkd_plugin.synthesis.sources.baselines import ImageSource, NoiseSource

_SIZES = {2: 6, 3: 4}


def _images() -> dict[int, list[Tensor]]:
    """Every pixel of the two large images has a value of its own, so that a crop tells where it is from."""
    values = torch.arange(2 * 9 * 8).view(2, 1, 9, 8) / 144
    return {scale: [*values, torch.ones(1, 3, 20)] for scale in _SIZES}


def _noise(**place: int) -> NoiseSource:
    return NoiseSource(channels=1, lr_sizes=_SIZES, seed=3, **place)


def _crops(**place: int) -> ImageSource:
    return ImageSource(_images(), channels=1, lr_sizes=_SIZES, seed=3, **place)


def test_noise_is_even_and_white() -> None:
    x = _noise().next(500, 2).lr
    assert x.shape == (500, 1, 6, 6) and x.min() >= 0 and x.max() < 1
    assert abs(x.mean() - 0.5) < 0.01 and abs(x.var() - 1 / 12) < 0.002
    centred = x - 0.5
    assert abs((centred[..., 1:] * centred[..., :-1]).mean()) < 0.002


def test_crops_are_turned_windows_of_the_images_and_all_are_reached() -> None:
    images, seen = _images()[2][:2], set()
    windows = {
        apply_dihedral(image[:, top : top + 6, left : left + 6], turn).numpy().tobytes(): (number, top, left, turn)
        for number, image in enumerate(images)
        for top in range(4)
        for left in range(3)
        for turn in range(8)
    }
    for crop in _crops().next(3000, 2).lr:
        seen.add(windows[crop.numpy().tobytes()])
    assert len(seen) == len(windows) == 2 * 4 * 3 * 8


@pytest.mark.parametrize('make', [_noise, _crops])
def test_processes_share_out_the_joint_batch(make: Callable) -> None:
    joint = make().next(6, 3).lr
    assert torch.equal(joint, torch.cat([make(rank=rank, world_size=2).next(3, 3).lr for rank in (0, 1)]))


@pytest.mark.parametrize('make', [_noise, _crops])
def test_goes_on_and_previews_leave_no_trace(make: Callable) -> None:
    whole, first, second = make(), make(), make()
    whole.next(4, 2)
    first.next(4, 2)
    first.preview(2, 3)
    second.load_state_dict(first.state_dict())
    assert torch.equal(whole.next(4, 2).lr, second.next(4, 2).lr)
    assert first.step(lambda lr, scale: {}, 4, 2) == {}


def test_images_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match='x2, 6x6'):
        ImageSource({2: [torch.ones(1, 5, 20)]}, channels=1, lr_sizes={2: 6}, seed=0)
