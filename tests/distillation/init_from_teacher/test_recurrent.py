"""The start of a recurrent student: exact at full width, and better the more is refitted."""

import pytest
import torch

from vsrkd_plugin.adapters.contract import RecurrentChain
from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.distillation.init_from_teacher.recurrent import inherit_recurrent
from vsrkd_plugin.synthesis.clips.moving import PICTURE, MovingSource
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource


@pytest.fixture(scope='module')
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Clips to fit on, and others."""
    pictures = ProceduralSource(channels=3, lr_sizes={PICTURE: 32}, seed=0, num_images=16, image_size=48)
    source = MovingSource(pictures, frames=5, lr_sizes={2: 16}, degradation='blur')
    return source.next(12, 2).lr, source.next(8, 2).lr


def network(num_feat: int, seed: int = 0, normalised: bool = False) -> RLSP:
    """A random network with a state that matters and a result that is no mere repetition."""
    torch.manual_seed(seed)
    rlsp = RLSP(num_feat=num_feat, num_layer=4, upscale=2, normalised=normalised)
    with torch.no_grad():
        for layer in rlsp.layers():
            layer.bias.normal_(std=2)
        rlsp.layers()[-1].weight.mul_(20)
        rlsp.layers()[-2].weight.mul_(0.5)
    return rlsp


@torch.no_grad()
def distance(teacher: RLSP, student: RLSP, clip: torch.Tensor) -> float:
    return float((teacher.luma(clip) - student.luma(clip)).abs().mean())


@pytest.mark.parametrize('normalised', [False, True])
def test_a_student_of_the_same_width_becomes_its_teacher(clips: tuple, normalised: bool) -> None:
    teacher, student = network(8, normalised=normalised), network(8, 1, normalised)
    before = distance(teacher, student, clips[1])
    kept = inherit_recurrent(teacher, student, clips[0], ridge=1e-9)
    assert all(channels.tolist() == list(range(8)) for channels in kept) and len(kept) == 4
    assert distance(teacher, student, clips[1]) < 0.01 * before


def test_a_narrow_student_comes_near_and_its_own_state_brings_it_nearer(clips: tuple) -> None:
    teacher, random = network(12), network(6, seed=1)
    found = [distance(teacher, random, clips[1])]
    for passes in (1, 3):
        student = network(6, seed=1)
        inherit_recurrent(teacher, student, clips[0], passes=passes)
        found.append(distance(teacher, student, clips[1]))
    assert found[1] < 0.5 * found[0]
    assert found[2] < found[1]


@pytest.mark.parametrize('num_layer', [2, 3])
def test_a_shallower_student_starts_from_fewer_layers(clips: tuple, num_layer: int) -> None:
    teacher = network(8)
    torch.manual_seed(1)
    student = RLSP(num_feat=8, num_layer=num_layer, upscale=2)
    before = distance(teacher, student, clips[1])
    kept = inherit_recurrent(teacher, student, clips[0])
    assert len(kept) == num_layer
    assert distance(teacher, student, clips[1]) < 0.5 * before


def test_a_student_that_grows_is_fitted_where_it_is_grown(clips: tuple) -> None:
    teacher = network(8)
    student = ProgressiveStudent(network=network(8, seed=1), active=1)
    inherit_recurrent(teacher, student.network, clips[0], active=1)
    start = distance(teacher, student.network, clips[1])
    torch.manual_seed(1)
    shallow = RLSP(num_feat=8, num_layer=3, upscale=2)
    inherit_recurrent(teacher, shallow, clips[0])
    assert start == pytest.approx(distance(teacher, shallow, clips[1]), rel=1e-3)
    student.active = 2  # an identity more
    assert distance(teacher, student.network, clips[1]) == pytest.approx(start, rel=1e-3)


def test_what_does_not_fit_is_told(clips: tuple) -> None:
    assert isinstance(network(4), RecurrentChain) and not isinstance(torch.nn.Conv2d(1, 1, 1), RecurrentChain)
    with pytest.raises(ValueError, match='9 channels cannot start from a teacher of 8'):
        inherit_recurrent(network(8), network(9), clips[0])
    with pytest.raises(ValueError, match='3 blocks and x2 cannot start from a teacher of 2'):
        inherit_recurrent(network(8), RLSP(num_feat=4, num_layer=5, upscale=2), clips[0])
    with pytest.raises(ValueError, match='both be normalised, or neither'):
        inherit_recurrent(network(8, normalised=True), network(8), clips[0])
