"""What the sources make, with the teacher's and the student's answers, as a picture."""

from pathlib import Path
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def synthesis_picture(model: Any, iteration: int, tb_logger: Any, count: int = 8, side: int = 96) -> None:
    """Show inputs of each scale in a row; below it the outputs of teacher and student, and four times their difference.

    Written to TensorBoard (`synthesis/x<scale>`) and to `visualization/synthesised/`.

    Args:
        model: a DataFreeDistillationModel in training.
        iteration: names the picture.
        tb_logger: BasicSR's SummaryWriter, or None.
        count: inputs of each scale.
        side: pixels of a tile.
    """
    student = model.pair.student.network
    training = student.training
    student.eval()
    for scale in model.scales:
        lr, stored = model.preview_pairs(scale, count)
        output, target = model.pair.outputs(lr, scale, stored)
        difference = 0.5 + 4 * (output - target)
        rows = [_row(model.tiles(images), side) for images in (lr, target, output, difference)]
        picture = torch.cat(rows, 1).clamp(0, 1).cpu()
        if tb_logger:
            tb_logger.add_image(f'synthesis/x{scale} (input, teacher, student, 4x difference)', picture, iteration)
        folder = Path(model.opt['path']['visualization'], 'synthesised')
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1]
        cv2.imwrite(str(folder / f'x{scale}_{iteration}.png'), pixels)
    student.train(training)


def _row(images: Tensor, side: int) -> Tensor:
    """`(n, c, h, w)` to one `(3, side, n * side)` row with thin gaps."""
    tiles = F.pad(F.interpolate(images.float(), size=(side - 2, side - 2), mode='nearest'), (1, 1, 1, 1), value=1.0)
    return torch.cat(list(tiles.expand(-1, 3, -1, -1)), 2)
