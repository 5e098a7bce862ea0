"""The picture of README: a photograph reduced, enlarged by bicubic, by teacher and student in the package.

Run: `python benchmarks/readme_picture.py docs/upscaled.png`. The photograph is scikit-image's `chelsea` (CC0); the
networks are of Y, so chroma is bicubic in all three.
"""

import sys

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw

from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.registration import register

SCALE, TOP, LEFT, SIDE = 4, 40, 108, 200  # of the crop, in the photograph
ZOOM, BAR, GAP = 2, 26, 6  # each pixel is shown as 2x2, so that browsers do not smooth what differs


def main() -> None:
    register()
    hr = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None].float() / 255
    hr = hr[..., : hr.shape[-2] // SCALE * SCALE, : hr.shape[-1] // SCALE * SCALE]
    lr = (bicubic_resize(hr, 1 / SCALE).clamp(0, 1) * 255).round() / 255
    teacher, student = (open_model(f'zoo:{name}') for name in ('vdsr_x234', 'vdsr_s_x234'))
    with torch.no_grad():
        results = {
            'bicubic': bicubic_resize(lr, SCALE),
            f'teacher, {_weights(teacher)}': teacher.adapter(lr, SCALE),
            f'student, {_weights(student)}': student.adapter(lr, SCALE),
        }
    panels = [_panel(image, name) for name, image in results.items()]
    picture = Image.new('RGB', (sum(panel.width for panel in panels) + GAP * 2, panels[0].height), 'white')
    for index, panel in enumerate(panels):
        picture.paste(panel, (index * (panel.width + GAP), 0))
    picture.save(sys.argv[1], optimize=True)


def _weights(model: Model) -> str:
    return f'{sum(parameter.numel() for parameter in model.network.parameters()):,} weights'


def _panel(image: torch.Tensor, name: str) -> Image.Image:
    crop = image[0, :, TOP : TOP + SIDE, LEFT : LEFT + SIDE].clamp(0, 1).permute(1, 2, 0).numpy()
    shown = Image.fromarray((crop * 255).round().astype(np.uint8)).resize((SIDE * ZOOM,) * 2, Image.Resampling.NEAREST)
    panel = Image.new('RGB', (shown.width, shown.height + BAR), 'white')
    panel.paste(shown, (0, BAR))
    ImageDraw.Draw(panel).text((4, 6), name, fill='black', font_size=15)
    return panel


if __name__ == '__main__':
    main()
