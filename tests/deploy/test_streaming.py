"""Networks that are given frames one by one give what they give of whole clips; a state goes on."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.deploy.film_making import BothWays, Middle, moving_picture
from vsrkd_plugin.adapters.video_sr import PADDINGS, VideoSRAdapter
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.deploy.recurrent_step import RecurrentStep
from vsrkd_plugin.deploy.streaming import ChunkScene, RecurrentScene, Scene, SceneStream, TimedStream, WindowScene

CPU = torch.device('cpu')
LENGTHS = (9, 2, 3, 12)  # of scenes
Make = Callable[[], Scene]


def scenes() -> list[Tensor]:
    """Clips that look unlike each other, `(1, t, 3, h, w)`."""
    found = []
    for seed, length in enumerate(LENGTHS):
        frames = torch.from_numpy(moving_picture(length, 24, 32, seed)).permute(0, 3, 1, 2)[None].float() / 255
        found.append(frames if seed % 2 else 0.3 * frames + 0.65)
    return found


def rlsp() -> nn.Module:
    torch.manual_seed(0)
    return RLSP(num_feat=6, num_layer=3, upscale=2, normalised=True).eval().requires_grad_(False)


def make_recurrent() -> Scene:
    return RecurrentScene(RecurrentStep(rlsp()), CPU)


def make_window(padding: str = 'replicate') -> Scene:
    return WindowScene(VideoSRAdapter(Middle(), 2, {'num_frame': 5}, padding=padding), CPU)


def make_chunk() -> Scene:
    return ChunkScene(VideoSRAdapter(BothWays(3), 2), CPU, chunk=4, overlap=3)


def streamed(stream: SceneStream, frames: Tensor) -> Tensor:
    results = [frame for index in range(frames.shape[1]) for frame in stream.push(frames[:, index])]
    return torch.stack(results + stream.finish(), 1)


def test_a_recurrent_network_begins_anew_at_cuts() -> None:
    network, clips = rlsp(), scenes()
    found = streamed(SceneStream(make_recurrent()), torch.cat(clips, 1))
    expected = torch.cat([network(clip) for clip in clips], 1)
    assert found.shape == expected.shape and (found - expected).abs().max() <= 1e-6
    carried = network(torch.cat(clips, 1))
    assert (carried - expected).abs().max() > 1e-3, 'cuts are of no account here: nothing is tested'


@pytest.mark.parametrize('padding', PADDINGS)
def test_windows_slide_as_over_clips(padding: str) -> None:
    adapter = VideoSRAdapter(Middle(), 2, {'num_frame': 5}, padding=padding)
    clips = [clip for clip in scenes() if clip.shape[1] >= 5]
    found = streamed(SceneStream(make_window(padding)), torch.cat(clips, 1))
    assert (found - torch.cat([adapter(clip) for clip in clips], 1)).abs().max() <= 1e-6


def test_a_scene_shorter_than_the_window_has_its_end_frames_repeated() -> None:
    clip = scenes()[2]
    found = streamed(SceneStream(make_window('reflection')), clip)
    repeated = torch.cat([clip[:, :1]] * 2 + [clip] + [clip[:, -1:]] * 2, 1)
    expected = [Middle()(repeated[:, start : start + 5]) for start in range(3)]
    assert (found - torch.stack(expected, 1)).abs().max() <= 1e-6


def test_chunks_that_overlap_by_what_the_network_sees_give_the_whole() -> None:
    clips = scenes()
    found = streamed(SceneStream(make_chunk()), torch.cat(clips, 1))
    expected = torch.cat([VideoSRAdapter(BothWays(3), 2)(clip) for clip in clips if clip.shape[1] >= 5], 1)
    long = [index for index, clip in enumerate(clips) for _ in range(clip.shape[1]) if clip.shape[1] >= 5]
    kept = [number for number, index in enumerate(i for i, clip in enumerate(clips) for _ in range(clip.shape[1]))
            if index in long]  # fmt: skip
    assert found.shape[1] == sum(LENGTHS)
    assert (found[:, kept] - expected).abs().max() <= 1e-6
    short = ChunkScene(VideoSRAdapter(BothWays(3), 2), CPU, chunk=4, overlap=1)
    assert (streamed(SceneStream(short), clips[3]) - expected[:, 9:]).abs().max() > 1e-3


@pytest.mark.parametrize('make', [make_recurrent, make_window, make_chunk])
def test_a_stream_goes_on_from_a_state(make: Make) -> None:
    clip = torch.cat(scenes(), 1)
    whole = TimedStream(SceneStream(make()))
    expected = [pair for index in range(clip.shape[1]) for pair in whole.push(clip[:, index], (index, 1))]
    expected += whole.finish()
    assert [time for _, time in expected] == [(index, 1) for index in range(clip.shape[1])]
    for stop in range(1, clip.shape[1], 4):
        first, second = TimedStream(SceneStream(make())), TimedStream(SceneStream(make()))
        found = [pair for index in range(stop) for pair in first.push(clip[:, index], (index, 1))]
        kept = io.BytesIO()
        torch.save(first.state_dict(), kept)
        kept.seek(0)
        second.load_state_dict(torch.load(kept))
        found += [pair for index in range(stop, clip.shape[1]) for pair in second.push(clip[:, index], (index, 1))]
        found += second.finish()
        assert [time for _, time in found] == [time for _, time in expected]
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(found, expected, strict=True))


@pytest.mark.parametrize('make', [make_recurrent, make_window, make_chunk])
def test_few_frames_are_kept(make: Make) -> None:
    scene = make()
    scene.begin()
    clip = torch.from_numpy(moving_picture(60, 24, 32)).permute(0, 3, 1, 2).float() / 255
    most, given = 0, 0
    for frame in clip.split(1):
        scene.add(frame)
        given += len(scene.drain(False))
        most = max(most, len(scene.frames))
    assert given + len(scene.drain(True)) == 60
    assert most <= 4 + 3 * 3
