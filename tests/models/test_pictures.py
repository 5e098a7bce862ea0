"""The picture of a training's inputs: what each row shows."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_training import build, tiny_options, tiny_video_options

from vsrkd_plugin.models.pictures import synthesis_picture

SIDE, COUNT = 24, 3


def _rows(file: Path, tiles: int) -> np.ndarray:
    """A picture's tiles in [0, 1], RGB `(row, tile, SIDE - 2, SIDE - 2, 3)`, without the gaps between them."""
    picture = cv2.imread(str(file))[:, :, ::-1].astype(np.float64) / 255
    assert picture.shape == (4 * SIDE, tiles * SIDE, 3)
    return picture.reshape(4, SIDE, tiles, SIDE, 3).swapaxes(1, 2)[:, :, 1:-1, 1:-1]


class _Writer:
    """TensorBoard's."""

    def __init__(self) -> None:
        self.images: dict[str, torch.Tensor] = {}

    def add_image(self, name: str, image: torch.Tensor, _iteration: int) -> None:
        self.images[name] = image


@pytest.mark.parametrize('video', [False, True], ids=['images', 'clips'])
def test_rows_are_inputs_teacher_student_and_their_difference(
    tmp_path: Path, make_images: Callable[..., Path], video: bool
) -> None:
    images = make_images(tmp_path / 'images', ((40, 44),))
    options = tiny_video_options(tmp_path) if video else tiny_options(tmp_path, images)
    options['train']['init'] = 'random'  # so that the student is far from the teacher
    model = build(options, tmp_path)
    with torch.no_grad():
        for parameter in model.net_g.parameters():
            parameter.mul_(1.5)
    writer = _Writer()
    synthesis_picture(model.task, tmp_path / 'pictures', 7, writer, COUNT, SIDE)

    files = sorted((tmp_path / 'pictures' / 'synthesised').iterdir())
    assert [file.name for file in files] == [f'x{scale}_7.png' for scale in options['scales']]
    tiles = 2 * COUNT if video else COUNT  # of clips a line over time too
    for scale, file in zip(options['scales'], files, strict=True):
        inputs, teacher, student, difference = _rows(file, tiles)
        expected = np.clip(0.5 + 4 * (student - teacher), 0, 1)
        # Both were cut to 0 … 1 and rounded to 8 bits before they are compared here.
        inside = (np.minimum(student, teacher) > 0) & (np.maximum(student, teacher) < 1)
        assert inside.mean() > 0.3
        assert np.abs(difference - expected)[inside].max() <= (4 + 0.5 + 0.01) / 255
        assert difference[inside].std() > 0.01  # by no means grey all over
        assert inputs.std() > 0.02
        (shown,) = (image for name, image in writer.images.items() if name.startswith(f'synthesis/x{scale} '))
        pixels = cv2.imread(str(file))[:, :, ::-1].transpose(2, 0, 1)
        assert np.array_equal((shown * 255).round().byte().numpy(), pixels)
    assert model.net_g.training
