"""How like its teacher a student is on HR pictures: agreement, PSNR, sharpness, NIQE; on clean LR and on degraded LR.

Run: `python benchmarks/agreement.py TEACHER.pth STUDENT.pth datasets/Set5 [--every 6]`. Both networks are found out of
their files. Seconds on Set5; T91 and BSD200 by every sixth take a few minutes.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.data.degradations import degrade
from vsrkd_plugin.inspection.teacher import adapter_of, build, inspect_teacher
from vsrkd_plugin.metrics.sharpness import sharpness
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.registration import register
from vsrkd_plugin.reports.evaluation import to_image
from vsrkd_plugin.reports.likeness import niqe

CONDITIONS = {'clean': {}, 'noise 10, JPEG 60': {'noise_sigma': 10, 'jpeg_quality': 60}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('teacher', help='checkpoint, or zoo:NAME')
    parser.add_argument('student', help='checkpoint')
    parser.add_argument('sets', nargs='+', help='folders of HR pictures')
    parser.add_argument('--every', type=int, default=1, help='take every so manieth picture')
    args = parser.parse_args()
    register()
    torch.set_grad_enabled(False)
    found = {role: inspect_teacher(path) for role, path in (('teacher', args.teacher), ('student', args.student))}
    networks = {role: adapter_of(build(inspection), inspection) for role, inspection in found.items()}
    scale = found['teacher'].scale
    dataset = BicubicImageDataset({'name': 'sets', 'phase': 'val', 'dataroot_gt': args.sets, 'scale': scale})
    for name, settings in CONDITIONS.items():
        rows = []
        for index in range(0, len(dataset), args.every):
            lr, hr = (image[None] for image in dataset.pair(index, scale))
            lr = degrade((lr.clamp(0, 1) * 255).round() / 255, **settings)
            results = {role: network(lr, scale).clamp(0, 1) for role, network in networks.items()}
            rows.append(measured(results, hr, scale))
        means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
        means['sharpness'] = means['sharpness student'] / means['sharpness teacher']
        print(f'{name} ({len(rows)}): ' + ', '.join(f'{key} {value:.3f}' for key, value in means.items()), flush=True)


def measured(results: dict[str, Tensor], hr: Tensor, border: int) -> dict[str, float]:
    """Of one picture: PSNR in dB on Y, 8 bits, border cut; sharpness in levels of 255; NIQE."""
    images = {'hr': hr, **results}
    luma = {
        role: (rgb_to_y((image * 255).round() / 255) * 255)[..., border:-border, border:-border]
        for role, image in images.items()
    }

    def psnr(one: str, other: str) -> float:
        return float(10 * torch.log10(255**2 / (luma[one] - luma[other]).square().mean().clamp(min=1e-6)))

    return {
        'agreement': psnr('student', 'teacher'),
        'teacher': psnr('teacher', 'hr'),
        'student': psnr('student', 'hr'),
        'sharpness teacher': float(sharpness(luma['teacher'])),
        'sharpness student': float(sharpness(luma['student'])),
        'NIQE teacher': niqe(to_image(results['teacher']), border),
        'NIQE student': niqe(to_image(results['student']), border),
    }


if __name__ == '__main__':
    main()
