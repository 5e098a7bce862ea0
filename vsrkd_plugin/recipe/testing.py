"""The options by which stock BasicSR tests a model file: nobody has to write them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vsrkd_plugin.data.images import BUNDLED
from vsrkd_plugin.deploy.model import Model


def options_of_test(model: Model, roots: Sequence[str] = (BUNDLED,)) -> dict[str, Any]:
    """PSNR and SSIM on Y of a model, at each of its scales, on folders of HR images or of clips.

    LR is made as the papers have it: by MATLAB bicubic; that of clips by Gaussian blur and every scale-th pixel (BD),
    for a network that keeps pixels centred by bicubic too.

    Args:
        model: the model, opened.
        roots: folders, or `skimage` (the photographs of scikit-image's wheel; of clips, these in motion).
    """
    header = model.header
    name = re.sub(r'[^\w.-]+', '_', Path(model.path.rpartition(':')[2]).stem).strip('._') or 'model'
    sets: dict[str, Any] = {}
    for number, root in enumerate(roots):
        for scale in header.scales:
            common = {'name': f'{Path(root).name}_x{scale}', 'dataroot_gt': root, 'scale': scale}
            if model.is_video:
                made = {'degradation': 'bicubic'} if header.network.get('centred') else {'degradation': 'blur'}
                sets[f'test_{number}_x{scale}'] = {**common, 'type': 'DegradedClipDataset', **made}
            else:
                colour = 'y' if header.channels == 1 else 'rgb'
                sets[f'test_{number}_x{scale}'] = {**common, 'type': 'BicubicImageDataset', 'color': colour}
    return {
        'name': f'test_{name}',
        'model_type': 'VideoDataFreeDistillationModel' if model.is_video else 'MultiScaleSRModel',
        'num_gpu': 'auto',
        'manual_seed': 0,
        'datasets': sets,
        'network_g': dict(header.network),
        **({'contract_g': dict(header.contract)} if header.contract else {}),
        'path': {'pretrain_network_g': model.path},
        'val': {
            'save_img': False,
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'test_y_channel': True},
                'ssim': {'type': 'calculate_ssim', 'test_y_channel': True},
            },
        },
    }
