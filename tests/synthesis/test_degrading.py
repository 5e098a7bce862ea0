"""Which strengths are drawn for LR images, and the source that degrades those of another."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from vsrkd_plugin.synthesis.degrading import PARTS, RESIZE_MODES, Degradation, DegradedSource, Strengths
from vsrkd_plugin.synthesis.source import Batch, Share
from vsrkd_plugin.synthesis.sources.baselines import NoiseSource

_RANGES: dict[str, Any] = {
    'blur_sigma': (0.2, 1.5),
    'resize_range': (0.7, 1.2),
    'noise_range': (1.0, 15.0),
    'poisson_scale_range': (0.1, 1.5),
    'jpeg_range': (50.0, 95.0),
}
_FIELDS = dict(zip(PARTS, ('blur', 'resize', 'noise', 'poisson', 'jpeg'), strict=True))
_COUNT = 20_000
_CLOSE = 0.02  # more than five standard deviations of a share of so many


def _draw(count: int = _COUNT, seed: int = 1, **settings: Any) -> Strengths:
    return Degradation(**settings).draw(torch.Generator().manual_seed(seed), count)


def _on(strengths: Strengths) -> dict[str, Tensor]:
    """Part → where it is on."""
    values = {name: getattr(strengths, field) for name, field in _FIELDS.items()}
    return {name: (value[:, 0] if value.ndim == 2 else value) > 0 for name, value in values.items()}


def _share(where: Tensor) -> float:
    return float(where.float().mean())


def test_shares_are_as_asked_for() -> None:
    strengths = _draw(**_RANGES, clean_prob=0.3, apply_prob=0.6, anisotropic_prob=0.7, gray_noise_prob=0.2)
    on = _on(strengths)
    dirty = torch.stack(list(on.values())).any(0)
    assert _share(~dirty) == pytest.approx(0.3, abs=_CLOSE)
    for where in on.values():
        # Where none would be on one is: 0.4^5 of the dirty ones, shared out among five.
        assert _share(where[dirty]) == pytest.approx(0.6 + 0.4**5 / 5, abs=_CLOSE)
    blur = strengths.blur[on['blur_sigma']]
    assert _share(blur[:, 0] != blur[:, 1]) == pytest.approx(0.7, abs=_CLOSE)
    assert _share(strengths.grey) == pytest.approx(0.2, abs=_CLOSE)
    assert torch.bincount(strengths.mode, minlength=3).min() > 0.3 * _COUNT
    assert len(strengths.mode.unique()) == len(RESIZE_MODES)
    assert len(strengths.seed.unique()) == _COUNT


def test_strengths_fill_their_ranges_evenly() -> None:
    strengths = _draw(**_RANGES, clean_prob=0, apply_prob=1)
    for name, (low, high) in _RANGES.items():
        value = getattr(strengths, _FIELDS[name])
        value = value[:, :2] if name == 'blur_sigma' else value[:, None]
        assert low <= float(value.min()) < low + 0.02 * (high - low)
        assert high >= float(value.max()) > high - 0.02 * (high - low)
        assert ((value.mean(0) - (low + high) / 2).abs() < 0.02 * (high - low)).all()
    angle = strengths.blur[:, 2]
    assert 0 <= float(angle.min()) < 0.1 and 3.0 < float(angle.max()) <= 3.15
    drawn = [strengths.resize, strengths.noise, strengths.poisson, strengths.jpeg, *strengths.blur.T]
    related = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn), dtype=torch.float64)
    related[4, 5] = related[5, 4] = 0  # half of the blurs are round
    assert float(related.abs().max()) < 0.05


@pytest.mark.parametrize('part', PARTS)
def test_a_part_alone_is_on_wherever_an_image_is_not_clean(part: str) -> None:
    """However seldom parts are asked for; the others are off."""
    on = _on(_draw(**{part: _RANGES[part]}, clean_prob=0.5, apply_prob=0.1))
    assert _share(on[part]) == pytest.approx(0.5, abs=_CLOSE)
    assert not any(where.any() for name, where in on.items() if name != part)


def test_all_clean_or_none() -> None:
    assert not any(where.any() for where in _on(_draw(100, **_RANGES, clean_prob=1.0)).values())
    assert all(where.all() for where in _on(_draw(100, **_RANGES, clean_prob=0.0, apply_prob=1.0)).values())


def test_one_seed_gives_the_same_strengths() -> None:
    one, same, other = (_draw(9, seed, **_RANGES) for seed in (1, 1, 2))
    for field in fields(Strengths):
        assert torch.equal(getattr(one, field.name), getattr(same, field.name))
    assert not torch.equal(one.noise, other.noise)


def test_what_takes_part_changes_nothing_of_the_rest() -> None:
    """As many random numbers are drawn whatever is asked for."""
    every, few = _draw(50, **_RANGES, apply_prob=1.0), _draw(50, noise_range=_RANGES['noise_range'], apply_prob=1.0)
    assert torch.equal(every.noise, few.noise) and torch.equal(every.seed, few.seed)


def test_no_part_is_refused() -> None:
    with pytest.raises(ValueError, match='at least one of blur_sigma, resize_range, noise_range'):
        Degradation(clean_prob=0.5)


def _source(**settings: Any) -> DegradedSource:
    def brightened(images: Tensor, strengths: Strengths) -> Tensor:
        return images + strengths.noise.float().view(-1, 1, 1, 1)

    noise = NoiseSource(channels=1, lr_sizes={2: 4}, seed=3)
    return DegradedSource(noise, Degradation(noise_range=(1, 2), **settings), brightened, seed=4)


def test_the_source_degrades_its_share_of_images() -> None:
    lr = torch.cat([_source().next(400, 2).lr])
    assert _share(lr.amax((1, 2, 3)) <= 1) == pytest.approx(0.25, abs=0.1)
    assert (lr.amin((1, 2, 3)) >= 1).sum() + (lr.amax((1, 2, 3)) <= 1).sum() == 400  # each wholly, or not at all


def test_rows_keep_their_strengths_whoever_makes_them() -> None:
    whole = _source().next(8, 2).lr
    assert torch.equal(whole[3:6], _source().rows(Share(3, 6, 8), 2).lr)


def test_generators_learn_from_clean_images() -> None:
    class Learning(NoiseSource):
        def learn(self, objective: Any, share: Share, scale: int) -> dict[str, Tensor]:
            return objective(self.rows(share, scale).lr, scale)

    source = DegradedSource(
        Learning(channels=1, lr_sizes={2: 4}, seed=3), Degradation(clean_prob=0, noise_range=(1, 2)),
        lambda images, _: images + 100, seed=4,
    )  # fmt: skip
    assert float(source.step(lambda lr, *_: {'l': lr.max()}, 4, 2)['l']) <= 1
    batch = source.next(4, 2)
    assert isinstance(batch, Batch) and batch.target is None and float(batch.lr.min()) >= 100
