"""A GPU gives what the CPU gives; where there is none, the CPU against itself. `pytest -m gpu`: the GPU's alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from small_models import random_model

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.config.shipped import options_folder
from vsrkd_plugin.deploy.upscaling import Upscaler
from vsrkd_plugin.distillation.init_from_teacher.start import start_from_teacher
from vsrkd_plugin.models.task import build_task
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.registration import register

register()
CUDA = pytest.param('cuda', marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')])
devices = pytest.mark.parametrize('device', ['cpu', CUDA])
SMALL = ['network_t:num_feat=8', 'network_g:num_feat=8', 'network_g:rank=4', 'network_t:num_block=3',
         'network_g:num_block=3', 'train:growth=~', 'synthesis:hr_size=24', 'synthesis:bank=~']  # fmt: skip


@contextmanager
def exact() -> Iterator[None]:
    """Within: convolutions of fp32 are of fp32 on a GPU, too."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@devices
@pytest.mark.parametrize('rank', [None, 4])
def test_a_picture_is_enlarged_alike(device: str, rank: int | None) -> None:
    options = {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 8, 'num_block': 3, 'rank': rank}
    lr = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    with exact():
        whole = Upscaler(random_model(options, (2,), 1), precision='fp32')(lr)
        there = Upscaler(random_model(options, (2,), 1), tile=24, device=device, precision='fp32')(lr)
    assert there.device.type == device
    torch.testing.assert_close(there.cpu(), whole, atol=1e-4, rtol=0)


@devices
def test_a_start_from_the_teacher_is_alike(device: str) -> None:
    torch.manual_seed(0)
    teacher = VDSR(num_feat=8, num_block=3)
    lr = {2: torch.rand(24, 1, 16, 16)}
    x, outputs = torch.rand(2, 1, 24, 24), []
    for where in ('cpu', device):
        torch.manual_seed(1)
        student = place(VDSR(num_feat=6, num_block=3, rank=4), torch.device(where))
        with exact():
            start_from_teacher(
                place(teacher, torch.device(where)), student, {scale: batch.to(where) for scale, batch in lr.items()}
            )
            with torch.no_grad():
                outputs.append(student(x.to(where), 2).cpu())
    assert (outputs[0] - x.repeat_interleave(2, -1).repeat_interleave(2, -2)).abs().max() > 0.01
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-3, rtol=0)


@devices
def test_steps_do_not_wait_and_learn(device: str) -> None:
    """After the first ones, which fill what later ones read."""
    opt = load_options(str(options_folder() / 'dfkd_vdsr.yml'), SMALL)
    opt['synthesis']['sources'] = [{'type': 'procedural', 'num_images': 8}]
    for key in ('adversarial_opt', 'reconstruction_opt', 'optim_z', 'scheduler_z'):
        del opt['train'][key]
    del opt['network_z']
    plan = DistillationPlan.from_options({**opt, 'num_gpu': int(device == 'cuda')})
    on = torch.device(device)
    torch.manual_seed(0)
    teacher, student = place(VDSR(num_feat=8, num_block=3), on), place(VDSR(num_feat=8, num_block=3, rank=4), on)
    with unnoticed():
        task = build_task(plan, student, on, teacher=teacher.eval().requires_grad_(False))
    losses = [task.step(iteration)['l_kd'] for iteration in range(1, 21)]
    if device == 'cuda':
        torch.cuda.set_sync_debug_mode('error')
    try:
        losses += [task.step(iteration)['l_kd'] for iteration in range(21, 200)]
    finally:
        if device == 'cuda':
            torch.cuda.set_sync_debug_mode('default')
    values = torch.stack(losses)
    assert values[-50:].mean() < 0.9 * values[:20].mean()
