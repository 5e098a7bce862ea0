"""Adaptation without pairs, measured: a network for bicubic LR, and a camera that blurs, adds noise and compresses.

    python benchmarks/domain_adaptation.py DATA WORK [--scale 4] [--iterations 2000] [--seed 0] [--rows NAME …]
    python benchmarks/domain_adaptation.py DATA WORK --grid [--jpeg 70] …

DATA holds the folders BSD200, B100 and T91. The target is BSD200, every other image, its LR made by an anisotropic
Gaussian blur of HR (sigma 1.2 and 2.2, any angle), bicubic, noise of sigma 6, JPEG of quality 70; B100 is degraded
alike as test. The source is T91, or made images. No row but `oracle` and `true…` is told anything of it: the rows
`estimate…` are told what `vsrkd inspect --inputs` makes of the target's LR. Everything is seeded; what is there already
in WORK is used again. Each row is a `basicsr train`; WORK/NAME.yml is what it ran.

With `--grid` other cameras take the pictures, whose blur and noise nothing was tuned on, and made images are degraded
as estimated, and as it truly was.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from vsrkd_plugin.commands.inspect import estimated as inspect_inputs
from vsrkd_plugin.data.degradations import degrade, degrade_each
from vsrkd_plugin.inspection.inputs import CLEAN_SHARE, sampled_sigma
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.checkpoints import load_weights
from vsrkd_plugin.synthesis.degrading import Strengths

FEAT, NIQE_EVERY = 32, 5
STRONGER = 10.0  # than the paper's: weights of what compares domains, in the row `paper_strong`
PAPER: dict[str, dict[str, Any]] = {
    'align_opt': {'type': 'AlignmentLoss', 'loss_weight': 0.01},
    'restore_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
    'style_opt': {'type': 'GANLoss', 'gan_type': 'lsgan', 'loss_weight': 0.01},
    'identity_opt': {'type': 'L1Loss', 'loss_weight': 0.01},
    'cycle_opt': {'type': 'L1Loss', 'loss_weight': 1.0},
}


@dataclass(frozen=True)
class Camera:
    """How LR comes about: two sigmas of a blur of HR at any angle, of noise, and JPEG's quality (None: no JPEG)."""

    sigmas: tuple[float, float] = (1.2, 2.2)
    noise: float = 6.0
    jpeg: int | None = 70

    def take(self, hr: torch.Tensor, scale: int, seed: int) -> torch.Tensor:
        """LR of an HR image `(c, h, w)`, in 8 bits."""
        rng = np.random.default_rng(seed)
        blur = torch.tensor([[*self.sigmas, float(rng.uniform(0, np.pi))]], dtype=torch.float64)
        strengths = Strengths.none(1, seed)
        blurred = degrade_each(hr[None], Strengths(**{**vars(strengths), 'blur': blur}))
        lr = bicubic_resize(blurred, 1 / scale).clamp(0, 1)
        return degrade(lr, noise_sigma=self.noise, jpeg_quality=self.jpeg, seed=seed)[0]

    def told(self, scale: int) -> dict[str, Any]:
        """`degrade` options that make LR of bicubic LR as this camera makes it."""
        lr_sigmas = [sampled_sigma(sigma / scale) for sigma in self.sigmas]
        told = {'clean_prob': 0, 'apply_prob': 1, 'blur_sigma': lr_sigmas, 'gray_noise_prob': 0}
        told |= {'anisotropic_prob': float(self.sigmas[0] != self.sigmas[1]), 'noise_range': [self.noise] * 2}
        return told | ({'jpeg_range': [float(self.jpeg)] * 2} if self.jpeg else {})


GRID = [Camera((blur, blur), noise, None) for blur, noise in ((0.8, 2), (0.8, 12), (1.5, 6), (2.2, 2), (2.2, 12))]


def write_pairs(images: list[Path], folder: Path, scale: int, seed: int, camera: Camera) -> None:
    """`folder/gt` and `folder/lq`, once."""
    if (folder / 'done').exists():
        return
    for name in ('gt', 'lq'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(images):
        picture = cv2.imread(str(file))
        assert picture is not None, file
        height, width = (side // scale * scale for side in picture.shape[:2])
        hr = torch.from_numpy(picture[:height, :width, ::-1].copy()).permute(2, 0, 1).float() / 255
        lr = (camera.take(hr, scale, seed + number) * 255).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1]
        cv2.imwrite(str(folder / 'gt' / f'{file.stem}.png'), picture[:height, :width])
        cv2.imwrite(str(folder / 'lq' / f'{file.stem}.png'), lr)
    (folder / 'done').touch()


def write_source(folder: Path, source: Path, least: int) -> None:
    """The images that are as large as a patch, as links."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in images_of(source):
        picture = cv2.imread(str(file))
        if picture is not None and min(picture.shape[:2]) >= least and not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)


def images_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ('.png', '.jpg', '.bmp'))


Make = Callable[[str], dict[str, Any]]


class Rows:
    """The options of each row."""

    def __init__(self, work: Path, args: argparse.Namespace, camera: Camera) -> None:
        self.work, self.camera = work, camera
        self.scale, self.iterations, self.seed, self.batch = args.scale, args.iterations, args.seed, args.batch
        self.patch, scale = args.lr_patch * args.scale, args.scale
        edsr = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': FEAT, 'num_block': 8, 'upscale': scale, 'img_range': 1.0}
        self.edsr = {'type': 'EDSR', **edsr}
        self.trained = work / 'experiments' / f'bicubic_x{scale}' / 'models' / 'net_g_latest.pth'

    def _common(self, name: str, iterations: int) -> dict[str, Any]:
        psnr = {'psnr': {'type': 'calculate_psnr', 'test_y_channel': True}}
        pairs = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
        pairs |= {f'dataroot_{kind}': str(self.work / f'glance_x{self.scale}' / kind) for kind in ('gt', 'lq')}
        return {
            'name': name,
            'scale': self.scale,
            'num_gpu': 'auto',
            'manual_seed': self.seed,
            'network_g': self.edsr,
            'datasets': {'val': {'name': 'glance', **pairs}},
            'path': {},
            'val': {'val_freq': max(iterations // 4, 1), 'metrics': psnr},
            'logger': {'print_freq': 100, 'save_checkpoint_freq': 1000, 'keep_checkpoints': 1, 'use_tb_logger': False},
        }

    def _training(self, iterations: int, lr: float) -> dict[str, Any]:
        return {
            'optim_g': {'type': 'Adam', 'lr': lr, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'eta_min': 1e-6, 'periods': [iterations]},
            'pixel_opt': {'type': 'L1Loss'},
            'ema_decay': 0.995,
            'total_iter': iterations,
        }

    def bicubic(self, name: str) -> dict[str, Any]:
        """The network that is to be adapted: trained for bicubic LR on T91."""
        opt, iterations = self._common(name, 3 * self.iterations), 3 * self.iterations
        train = {'type': 'BicubicImageDataset', 'dataroot_gt': str(self.work / 'T91'), 'gt_size': self.patch}
        opt['datasets']['train'] = {'name': 'T91', **train, 'batch_size_per_gpu': self.batch, 'enlarge': 100}
        return {**opt, 'model_type': 'MultiScaleSRModel', 'train': self._training(iterations, 5e-4)}

    def oracle(self, name: str) -> dict[str, Any]:
        """Trained on pairs of the target."""
        opt, target = self._common(name, self.iterations), self.work / f'target_x{self.scale}'
        roots = {'dataroot_gt': str(target / 'gt'), 'dataroot_lq': str(target / 'lq')}
        train = {'type': 'PairedImageDataset', **roots, 'gt_size': self.patch, 'io_backend': {'type': 'disk'}}
        train.update(use_hflip=True, use_rot=True, batch_size_per_gpu=self.batch, dataset_enlarge_ratio=100)
        opt['datasets']['train'] = {'name': 'pairs', **train}
        opt['path'] = {'pretrain_network_g': str(self.trained)}
        return {**opt, 'model_type': 'MultiScaleSRModel', 'train': self._training(self.iterations, 3e-4)}

    def adapted(
        self,
        name: str,
        *,
        source: str = 'procedural',
        degrade: dict[str, Any] | None = None,
        without: tuple[str, ...] = (),
        teacher: bool = False,
        stronger: float = 1.0,
    ) -> dict[str, Any]:
        """By the paper's losses, but `without` some; what compares domains `stronger` than in the paper."""
        opt = self._common(name, self.iterations)
        root = source if source == 'procedural' else str(self.work / source)
        train = {
            'type': 'UnpairedLRDataset',
            'dataroot_gt': root,
            'gt_size': self.patch,
            'batch_size_per_gpu': self.batch,
        }
        train['dataroot_lq'] = str(self.work / f'target_x{self.scale}' / 'lq')
        opt['datasets']['train'] = {'name': 'unpaired', **train, **({'degrade': degrade} if degrade else {})}
        opt['path'] = {'pretrain_network_g': str(self.trained)}
        if teacher:
            opt['network_t'], opt['path']['pretrain_network_t'] = self.edsr, str(self.trained)
        losses = {key: value for key, value in PAPER.items() if key not in without}
        for key in ('align_opt', 'style_opt', 'identity_opt'):
            if key in losses:
                losses[key] = {**losses[key], 'loss_weight': stronger * losses[key]['loss_weight']}
        opt['decoder_start'] = 'upsample'
        if losses.keys() - {'align_opt'}:
            decoder = {'num_in_ch': FEAT, 'num_feat': FEAT, 'num_block': 1, 'num_grow_ch': 16}
            opt['network_lr'] = {'type': 'USRDATargetDecoder', **decoder}
        discriminator = {'type': 'UNetDiscriminatorSN', 'num_feat': 16}
        if 'align_opt' in losses:
            opt['network_df'] = {**discriminator, 'num_in_ch': FEAT}
        if 'style_opt' in losses:
            opt['network_dt'] = {**discriminator, 'num_in_ch': 3}
        training = {**self._training(self.iterations, 3e-4), **losses}
        if {'align_opt', 'style_opt'} & losses.keys():
            training['optim_d'] = {'type': 'Adam', 'lr': 1e-4, 'betas': [0.9, 0.99]}
        return {**opt, 'model_type': 'DomainAdaptationModel', 'train': training}

    def named(self, estimate: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Every row by its name."""
        true, none = self.camera.told(self.scale), tuple(PAPER)
        true_clean, clean = ({**told, 'clean_prob': CLEAN_SHARE} for told in (true, estimate))
        half = {**estimate, 'clean_prob': 0.5}

        def without(loss: str) -> Make:
            return lambda name: self.adapted(name, source='T91', without=(loss,))

        rows: dict[str, Make] = {
            'bicubic': self.bicubic,
            'oracle': self.oracle,
            'true': lambda name: self.adapted(name, degrade=true, without=none),
            'true_clean': lambda name: self.adapted(name, degrade=true_clean, without=none),
            'true_t91': lambda name: self.adapted(name, source='T91', degrade=true, without=none),
            'true_teacher': lambda name: self.adapted(name, degrade=true, without=none, teacher=True),
            'paper': lambda name: self.adapted(name, source='T91'),
            'paper_strong': lambda name: self.adapted(name, source='T91', stronger=STRONGER),
            'source_free': self.adapted,
            'source_free_teacher': lambda name: self.adapted(name, teacher=True),
            'clean_made': lambda name: self.adapted(name, without=none),
            **{f'paper_without_{loss.removesuffix("_opt")}': without(loss) for loss in PAPER},
        }
        rows['estimate'] = lambda name: self.adapted(name, degrade=estimate, without=none)
        rows['estimate_clean'] = lambda name: self.adapted(name, degrade=clean, without=none)
        rows['estimate_half_clean'] = lambda name: self.adapted(name, degrade=half, without=none)
        rows['estimate_half_clean_t91'] = lambda name: self.adapted(name, source='T91', degrade=half, without=none)
        rows['estimate_clean_t91'] = lambda name: self.adapted(name, source='T91', degrade=clean, without=none)
        rows['estimate_clean_teacher'] = lambda name: self.adapted(name, degrade=clean, without=none, teacher=True)
        rows['estimate_clean_paper'] = lambda name: self.adapted(name, degrade=clean)
        seed = f'_seed{self.seed}' if self.seed else ''
        return {name: make(f'{name}_x{self.scale}{"" if name == "bicubic" else seed}') for name, make in rows.items()}


def run(opt: dict[str, Any], rows: Rows) -> dict[str, float]:
    """Train what is not trained yet, and measure it."""
    work = rows.work
    file, folder = work / f'{opt["name"]}.yml', work / 'experiments' / opt['name']
    weights, kept = folder / 'models' / 'net_g_latest.pth', folder / 'measured.json'
    text = yaml.safe_dump(opt, sort_keys=False)
    if weights.exists() and file.exists() and file.read_text() != text:
        raise SystemExit(f'{file}: was trained with other options; name another WORK')
    if not weights.exists():
        file.write_text(text)
        command = [sys.executable, '-m', 'vsrkd_plugin', 'train', '-opt', str(file), '--root', str(work)]
        command.append('--auto_resume')
        with open(work / f'{opt["name"]}.log', 'w') as log:
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    if not kept.exists():
        kept.write_text(json.dumps(measure(weights, rows)))
    return json.loads(kept.read_text())


@torch.no_grad()
def measure(weights: Path, rows: Rows) -> dict[str, float]:
    """PSNR and SSIM of Y on B100, degraded and by bicubic; NIQE of every `NIQE_EVERY`th degraded one. 8 bits."""
    from basicsr.archs import build_network
    from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
    from basicsr.utils import tensor2img

    network = build_network(dict(rows.edsr)).eval()
    load_weights(network, str(weights))
    found: dict[str, list[float]] = {}
    test = rows.work / f'test_x{rows.scale}'
    for number, file in enumerate(images_of(test / 'gt')):
        hr, lr = (as_tensor(test / kind / file.name) for kind in ('gt', 'lq'))
        clean = (bicubic_resize(hr, 1 / rows.scale).clamp(0, 1) * 255).round() / 255
        for name, x in (('degraded', lr), ('clean', clean)):
            sr, gt = (tensor2img(image, rgb2bgr=True) for image in (network(x), hr))
            found.setdefault(f'psnr {name}', []).append(calculate_psnr(sr, gt, rows.scale, test_y_channel=True))
            found.setdefault(f'ssim {name}', []).append(calculate_ssim(sr, gt, rows.scale, test_y_channel=True))
            if name == 'degraded' and number % NIQE_EVERY == 0:
                found.setdefault('niqe', []).append(float(calculate_niqe(sr, rows.scale)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def as_tensor(file: Path) -> torch.Tensor:
    picture = cv2.imread(str(file))
    assert picture is not None, file
    return torch.from_numpy(picture[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def estimated(rows: Rows) -> dict[str, Any]:
    """The `degrade` options of what `vsrkd inspect --inputs` makes of the target's LR; kept."""
    kept = rows.work / f'estimate_x{rows.scale}.json'
    if not kept.exists():
        found = inspect_inputs(str(rows.work / f'target_x{rows.scale}' / 'lq'), print)
        kept.write_text(json.dumps(found.as_json()))
    found = json.loads(kept.read_text())
    print(f'estimated: {found}', flush=True)
    return {**(found['degrade'] or {}), 'clean_prob': 0}  # rows `…_clean` leave `CLEAN_SHARE` as bicubic makes it


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('data', type=Path)
    parser.add_argument('work', type=Path)
    parser.add_argument('--scale', type=int, default=4)
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--batch', type=int, default=8, help='patches of a step')
    parser.add_argument('--lr-patch', type=int, default=24, help='side of their LR')
    parser.add_argument('--rows', nargs='*', help='names; all if not given')
    parser.add_argument('--grid', action='store_true', help='other cameras: `true` and `estimate` of each')
    parser.add_argument('--jpeg', type=int, help='of the other cameras; none if not given')
    args = parser.parse_args()
    register()
    data, work = args.data.resolve(), args.work.resolve()
    trained = Rows(work, args, Camera())
    cameras = [replace(camera, jpeg=args.jpeg) for camera in GRID] if args.grid else [Camera()]
    for camera in cameras:
        place = f'blur{camera.sigmas[0]:g}_noise{camera.noise:g}_jpeg{camera.jpeg or 0}'
        rows = Rows(work / place if args.grid else work, args, camera)
        rows.trained = trained.trained
        rows.work.mkdir(parents=True, exist_ok=True)
        every = 2 if args.grid else 1
        write_pairs(images_of(data / 'BSD200')[::2], rows.work / f'target_x{args.scale}', args.scale, 10_000, camera)
        write_pairs(images_of(data / 'B100')[::every], rows.work / f'test_x{args.scale}', args.scale, 20_000, camera)
        write_pairs(images_of(data / 'B100')[:2], rows.work / f'glance_x{args.scale}', args.scale, 20_000, camera)
        write_source(rows.work / 'T91', data / 'T91', rows.patch)
        options = rows.named(estimated(rows))
        if not rows.trained.exists() and (args.grid or (args.rows and args.rows[0] != 'bicubic')):
            run(trained.named({'clean_prob': 0})['bicubic'], trained)
        if args.grid:
            show(place, 'not adapted', measure(rows.trained, rows))
        for name in args.rows or (('true', 'estimate') if args.grid else options):
            show(place if args.grid else '', options[name]['name'], run(options[name], rows))


def show(place: str, name: str, found: dict[str, float]) -> None:
    print(f'{place} {name}: '.lstrip() + ', '.join(f'{key} {value:.3f}' for key, value in found.items()), flush=True)


if __name__ == '__main__':
    main()
