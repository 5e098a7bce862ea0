"""One interface, several processes: two with a batch of 4 see and learn what one with a batch of 8 does."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vsrkd_plugin.archs.latent_generator_arch import LatentGenerator
from vsrkd_plugin.data.degradations import degrade_each
from vsrkd_plugin.synthesis.bank.file import BankFile
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter, fill
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.degrading import Degradation, DegradedSource
from vsrkd_plugin.synthesis.source import Batch, Share, SharedSource, Source
from vsrkd_plugin.synthesis.sources.baselines import ImageSource, NoiseSource
from vsrkd_plugin.synthesis.sources.learned import LearnedSource
from vsrkd_plugin.synthesis.sources.mixture import MixtureSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

_SIZES = {2: 12, 3: 8}
Make = Callable[..., SharedSource]  # rank, world_size → the source of that process


def _noise(**place: int) -> SharedSource:
    return NoiseSource(channels=3, lr_sizes=_SIZES, seed=3, **place)


def _images(**place: int) -> SharedSource:
    images = {scale: [torch.rand(3, 20, 15, generator=torch.Generator().manual_seed(scale))] for scale in _SIZES}
    return ImageSource(images, channels=3, lr_sizes=_SIZES, seed=4, **place)


def _procedural(sizes: dict[int, int] = _SIZES, **place: int) -> SharedSource:
    return ProceduralSource(channels=3, lr_sizes=sizes, seed=5, num_images=80, image_size=32, **place)


def _learned(sizes: dict[int, int] = _SIZES, **place: int) -> SharedSource:
    torch.manual_seed(6)
    generators = {
        scale: LatentGenerator(num_latent=4, num_feat=4, num_out_ch=3, lr_size=size) for scale, size in sizes.items()
    }
    optimizer = torch.optim.SGD
    return LearnedSource(generators, lambda p: optimizer(p, 0.1), seed=7, autocast=nullcontext, **place)


def _mixture(weights: tuple[float, ...] = (7, 1), **place: int) -> SharedSource:
    return MixtureSource([_procedural(**place), _learned(**place)], weights)


def _of_thirds(**place: int) -> SharedSource:
    return _mixture((2, 1), **place)


def _moving(**place: int) -> SharedSource:
    sizes = {PICTURE: 20}
    pictures = MixtureSource([_procedural(sizes, **place), _learned(sizes, **place)], [7, 1])
    return MovingSource(pictures, frames=3, lr_sizes=_SIZES, seed=8, **place)


def _nested(**place: int) -> SharedSource:
    return MixtureSource([_mixture(**place), _noise(**place)], [1, 1])


def _moving_mixture(**place: int) -> SharedSource:
    return MixtureSource([_moving(**place), _moving(**place)], [7, 1])


def _degraded(source: Make = _procedural, **place: int) -> SharedSource:
    parts = {'blur_sigma': (0.2, 1.5), 'resize_range': (0.7, 1.2), 'noise_range': (0.0, 15.0)}
    more = {'poisson_scale_range': (0.1, 1.5), 'jpeg_range': (40.0, 95.0)}
    return DegradedSource(source(**place), Degradation(**parts, **more), degrade_each, seed=10)


def _partly_degraded(**place: int) -> SharedSource:
    return MixtureSource([_degraded(**place), _images(**place)], [2, 1])


def _learned_and_degraded(**place: int) -> SharedSource:
    return _degraded(_learned, **place)


_MAKERS = [
    _noise,
    _images,
    _procedural,
    _degraded,
    _partly_degraded,
    _learned,
    _mixture,
    _of_thirds,
    _moving,
    _nested,
    _moving_mixture,
]


@pytest.fixture(scope='module')
def banks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two stored banks of clips."""
    paths = []
    for number in range(2):
        path = tmp_path_factory.mktemp('banks') / f'{number}.lmdb'
        source = MovingSource(_procedural({PICTURE: 20}), frames=3, lr_sizes=_SIZES, seed=number)
        writer = BankWriter(path, SampleSpec(3, _SIZES, 3, 'bicubic', source.layers), teacher='T', capacity=6)
        fill(writer, source, lambda lr, scale: lr.repeat_interleave(scale, 3).repeat_interleave(scale, 4), 6, 3)
        writer.close()
        paths.append(path)
    return paths


def _bank_file(banks: list[Path], **place: int) -> SharedSource:
    return BankFile(banks, SampleSpec(3, {2: 6, 3: 4}, 2, 'bicubic'), seed=9, **place)


@pytest.fixture(params=[*_MAKERS, _bank_file], ids=lambda make: make.__name__.strip('_'))
def make(request: pytest.FixtureRequest) -> Make:
    if request.param is not _bank_file:
        return request.param
    banks = request.getfixturevalue('banks')
    return lambda **place: _bank_file(banks, **place)


def _values(batch: Batch) -> list[Tensor]:
    """Everything that has a row for each input."""
    found = [part for part in (batch.lr, batch.target) if part is not None]
    if batch.motion is not None:
        found += [batch.motion.pack(), batch.motion.scene.pack(), batch.motion.corner]
    return found


def _assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        # A convolution rounds otherwise in a batch of another size.
        torch.testing.assert_close(left, right, rtol=0, atol=2e-6)


def test_two_processes_give_what_one_gives(make: Make) -> None:
    one, both = make(), [make(rank=rank, world_size=2) for rank in range(2)]
    for step in range(10):
        scale = (2, 2, 3)[step % 3]
        parts = [_values(source.next(4, scale)) for source in both]
        _assert_same(_values(one.next(8, scale)), [torch.cat(rows) for rows in zip(*parts, strict=True)])
        if step == 4:  # those of a state go on alike; a state is written by the first process and read by both
            state = both[0].state_dict()
            one, both = make(), [make(rank=rank, world_size=2) for rank in range(2)]
            for source in (one, *both):
                source.load_state_dict(state)


def test_a_state_goes_on_where_it_was_taken(make: Make) -> None:
    whole, again = make(), make()
    for _ in range(3):
        whole.next(4, 2)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(3):
        for one, other in zip(_values(whole.next(4, 2)), _values(again.next(4, 2)), strict=True):
            assert torch.equal(one, other)


def test_previews_are_alike_in_every_process_and_leave_no_trace(make: Make) -> None:
    one, other = make(), make()
    both = [make(rank=rank, world_size=2) for rank in range(2)]
    one.next(8, 2)
    other.next(8, 2)
    for source in both:
        source.next(4, 2)
    first = _values(one.preview(2, 5))
    assert len(first[0]) == 5
    for source in (one, *both):
        _assert_same(_values(source.preview(2, 5)), first)
    _assert_same(_values(one.next(8, 2)), _values(other.next(8, 2)))


def test_an_empty_share_draws_the_randomness_of_all(make: Make) -> None:
    idle, other = make(), make()
    assert len(idle.rows(Share(3, 3, 5), 2).lr) == 0
    other.rows(Share(0, 5, 5), 2)
    _assert_same(_values(idle.next(4, 2)), _values(other.next(4, 2)))


@pytest.mark.parametrize(
    'make', [_learned, _mixture, _moving, _learned_and_degraded], ids=lambda make: make.__name__.strip('_')
)
def test_two_processes_learn_from_the_joint_batch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of the processes' shares, averaged, are those of the joint batch."""
    gradients: list[list[Tensor]] = []
    monkeypatch.setattr(
        'vsrkd_plugin.synthesis.sources.learned.average_gradients',
        lambda parameters: gradients.append([p.grad.clone() for p in parameters if p.grad is not None]),
    )

    def objective(lr: Tensor, scale: int, motion: object = None) -> dict[str, Tensor]:
        return {'l': ((lr - 0.3) ** 2).mean()}

    one, both = make(), [make(rank=rank, world_size=2) for rank in range(2)]
    losses = [source.step(objective, batch, 2)['l'] for source, batch in ((one, 8), *((s, 4) for s in both))]
    assert losses[0] == pytest.approx(float(losses[1] + losses[2]) / 2, rel=1e-5)
    for joint, *shares in zip(*gradients, strict=True):
        torch.testing.assert_close(joint, sum(shares) / 2, rtol=1e-4, atol=1e-7)
    assert any(joint.abs().max() > 1e-6 for joint in gradients[0])


def test_share() -> None:
    share = Share(4, 8, 8)
    assert len(share) == 4 and share.of(list(range(8))) == [4, 5, 6, 7]
    assert share.part(0, 7) == Share(4, 7, 7) and share.part(7, 1) == Share(0, 1, 1)
    assert share.part(0, 3) == Share(3, 3, 3) and len(Share(0, 4, 8).part(7, 1)) == 0
    assert share.times(3) == Share(12, 24, 24)


def test_wrong_places_and_batches_are_refused() -> None:
    for rank, world_size in ((1, 1), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match='rank must lie in'):
            _noise(rank=rank, world_size=world_size)
    for call in (_noise().next, lambda batch, scale: _learned().step(lambda *_: {}, batch, scale)):
        with pytest.raises(ValueError, match='batch must be at least 1'):
            call(0, 2)


def test_every_method_of_the_interface_must_be_there() -> None:
    class Half(Source):
        def next(self, batch: int, scale: int) -> Batch:
            return Batch(torch.zeros(batch))

    with pytest.raises(TypeError, match='abstract'):
        Half()
