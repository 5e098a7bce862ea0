"""Cuts are found; fast motion, fades and flashes are none."""

import cv2
import numpy as np
import pytest
import torch

from vsrkd_plugin.data.images import BUNDLED, list_images
from vsrkd_plugin.deploy.scene_cuts import CutDetector, shrink


@pytest.fixture(scope='module')
def photographs() -> list[np.ndarray]:
    """Small, 240x320, of [0, 1]."""
    return [cv2.resize(read(), (480, 300)).astype(np.float32) / 255 for _, read in list_images(BUNDLED, 'dataroot_gt')]


def found(frames: list[np.ndarray]) -> list[int]:
    """Numbers of the frames that begin a scene."""
    detector = CutDetector()
    answers = [detector.push(shrink(torch.from_numpy(frame).permute(2, 0, 1)[None])) for frame in frames]
    answers.append(detector.finish())
    assert answers[0] is None
    return [number for number, answer in enumerate(answers[1:]) if answer]


def pan(photograph: np.ndarray, count: int, step: int, width: int = 200) -> list[np.ndarray]:
    return [photograph[20:220, index * step : index * step + width] for index in range(count)]


def test_hard_cuts(photographs: list[np.ndarray]) -> None:
    frames = [frame for photograph in photographs for frame in pan(photograph, 5, 3)]
    assert found(frames) == list(range(0, len(frames), 5))


def test_cuts_in_fast_motion(photographs: list[np.ndarray]) -> None:
    frames = [frame for photograph in photographs for frame in pan(photograph, 6, 16)]
    assert found(frames) == list(range(0, len(frames), 6))


@pytest.mark.parametrize('step', [4, 16, 28])  # of 200 pixels
def test_fast_motion_is_none(photographs: list[np.ndarray], step: int) -> None:
    for photograph in photographs:
        assert found(pan(photograph, 10, step)) == [0]


def test_a_pan_that_begins_and_stops_at_once_is_none(photographs: list[np.ndarray]) -> None:
    for photograph in photographs:
        moving = pan(photograph, 8, 16)
        assert found([*[moving[0]] * 4, *moving, *[moving[-1]] * 4]) == [0]


@pytest.mark.parametrize('length', [6, 12, 25])
def test_fades_are_none(photographs: list[np.ndarray], length: int) -> None:
    first, second = pan(photographs[0], 1, 1)[0], pan(photographs[3], 1, 1)[0]
    share = np.linspace(0, 1, length)
    for begin, end in ((first, second), (first, np.zeros_like(first)), (first, np.ones_like(first))):
        frames = [begin] * 3 + [(1 - part) * begin + part * end for part in share] + [end] * 3
        assert found([frame.astype(np.float32) for frame in frames]) == [0]


def test_a_flash_is_none(photographs: list[np.ndarray]) -> None:
    frames = pan(photographs[2], 9, 2)
    frames[4] = np.clip(frames[4] + 0.6, 0, 1)
    assert found(frames) == [0]


def test_noise_in_the_dark_is_none() -> None:
    noise = np.random.default_rng(0).normal(0.05, 0.02, (12, 120, 160, 3)).clip(0, 1).astype(np.float32)
    assert found(list(noise)) == [0]


def test_no_frame_and_one_frame() -> None:
    detector = CutDetector()
    assert detector.finish() is None
    assert detector.push(np.zeros((36, 64), np.float32)) is None and detector.finish() is True


def test_a_state_goes_on(photographs: list[np.ndarray]) -> None:
    frames = [shrink(torch.from_numpy(frame).permute(2, 0, 1)[None]) for photograph in photographs[:3]
              for frame in pan(photograph, 4, 3)]  # fmt: skip
    whole = CutDetector()
    expected = [whole.push(frame) for frame in frames]
    for cut in range(1, len(frames)):
        first, second = CutDetector(), CutDetector()
        answers = [first.push(frame) for frame in frames[:cut]]
        second.load_state_dict(first.state_dict())
        assert answers + [second.push(frame) for frame in frames[cut:]] == expected
