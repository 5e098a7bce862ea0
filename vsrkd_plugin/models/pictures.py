"""What the sources make, with the teacher's and the student's outputs, as a picture."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vsrkd_plugin.distillation.task import DistillationTask
from vsrkd_plugin.run.whole_files import write_png


@torch.no_grad()
def synthesis_picture(
    task: DistillationTask, folder: str | Path, iteration: int, tb_logger: Any, count: int = 8, side: int = 96
) -> None:
    """Show inputs of each scale in a row; below it the outputs of teacher and student, and four times their difference.

    Written to TensorBoard (`synthesis/x<scale>`) and to `synthesised/` in `folder`.

    Args:
        task: a distillation in training.
        folder: the experiment's pictures.
        iteration: names the picture.
        tb_logger: BasicSR's SummaryWriter, or None.
        count: inputs of each scale.
        side: pixels of a tile.
    """
    training = task.student.training
    task.student.eval()
    folder = Path(folder, 'synthesised')
    for scale in task.scales:
        inputs = task.inputs.preview(scale, count)
        output, target = task.networks.outputs(inputs.lr, scale, inputs.target)
        difference = 0.5 + 4 * (output - target)
        rows = [_row(_tiles(images), side) for images in (inputs.lr, target, output, difference)]
        picture = torch.cat(rows, 1).clamp(0, 1).cpu()
        if tb_logger:
            tb_logger.add_image(f'synthesis/x{scale} (input, teacher, student, 4x difference)', picture, iteration)
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1]
        write_png(pixels, folder / f'x{scale}_{iteration}.png')
    task.student.train(training)


def _tiles(images: Tensor) -> Tensor:
    """Images as they are; of clips `(n, t, c, h, w)` the middle frames, then a line of each over time (downwards)."""
    if images.ndim == 4:
        return images
    over_time = images[:, :, :, images.shape[3] // 2]
    line = F.interpolate(over_time.transpose(1, 2), images.shape[3:], mode='nearest')
    return torch.cat([images[:, images.shape[1] // 2], line])


def _row(images: Tensor, side: int) -> Tensor:
    """`(n, c, h, w)` to one `(3, side, n * side)` row with thin gaps."""
    tiles = F.pad(F.interpolate(images.float(), size=(side - 2, side - 2), mode='nearest'), (1, 1, 1, 1), value=1.0)
    return torch.cat(list(tiles.expand(-1, 3, -1, -1)), 2)
