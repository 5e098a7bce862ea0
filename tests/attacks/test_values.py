"""Values that no option can have, and numbers out of the world."""

from pathlib import Path

import pytest

from .forking import attack

HUGE = {
    'manual_seed': (2**32, 10**12, 10**30),
    'train:total_iter': (10**30,),
    'datasets:train:iterations_per_epoch': (10**30,),
    'datasets:train:batch_size_per_gpu': (10**9, 10**30),
    'datasets:train:num_worker_per_gpu': (1000, 100_000, 10**9),
    'network_g:num_feat': (10**6, 10**9),
    'network_g:num_block': (10**6, 10**9),
    'network_t:num_feat': (10**6,),
    'network_t:num_block': (10**6, 10**9),
    'network_z:num_feat': (10**6,),
    'network_z:num_latent': (10**9,),
    'synthesis:hr_size': (60_000, 6 * 10**8),
    'synthesis:sources:0:num_images': (10**9, 10**12),
    'synthesis:sources:0:image_size': (10**5, 10**6),
    'synthesis:bank': ('{reuse: 4, rows: 1000000000000}', '{reuse: 4, hr_size: 600000}'),
    'train:growth:start': (10**9,),
    'val:val_freq': (10**30,),
    'logger:print_freq': (10**30,),
    'logger:save_checkpoint_freq': (10**30,),
    'logger:keep_checkpoints': (10**30,),
    'num_gpu': (10**9,),
    'scales': ('[1000]', '[1000000000]'),
}


@pytest.mark.parametrize('entry', [f'{key}={value}' for key, values in HUGE.items() for value in values])
def test_out_of_the_world(entry: str, place: Path) -> None:
    line = attack(['train', '-opt', 'good.yml', '--force_yml', entry], place).line
    key = entry.partition('=')[0].split(':')[-1].rstrip('s')
    assert key in line or 'memory' in line or 'image_size' in line, line  # what hr_size asks of made images, say


WRONG = [
    'manual_seed=-1', 'manual_seed=1.5', 'manual_seed=x', 'manual_seed=.inf', 'num_gpu=-1', 'num_gpu=many',
    'num_gpu=.nan', 'precision=fp8', 'precision=16', 'scales=[2, 2]', 'scales=[0]', 'scales=[-2]', 'scales=[2.5]',
    'scales=[two]', 'scales=1', 'name=a/b', 'name=..', 'name=.', "name=''", 'name=.hidden', 'name=1',
    'model_type=Nothing', 'model_type=SRModel2', 'train:total_iter=0', 'train:total_iter=-5', 'train:total_iter=2.5',
    'train:total_iter=.inf', 'train:total_iter=.nan', 'train:total_iter=true', 'train:warmup_iter=x',
    'train:ema_decay=1', 'train:ema_decay=-0.1', 'train:ema_decay=2', 'train:ema_decay=.nan', 'train:grad_clip=0',
    'train:grad_clip=-1', 'train:grad_clip=.inf', 'train:grad_clip=x', 'train:generator_freq=0',
    'train:generator_freq=1.5', 'train:init=nothing', 'train:growth=3', 'train:growth:start=0', 'train:growth:every=0',
    'train:growth:step=0', 'train:growth:start=99',
    'train:growth:block_start=zero', 'train:optim_g:lr=0', 'train:optim_g:lr=-1', 'train:optim_g:lr=.inf',
    'train:optim_g:lr=.nan', 'train:optim_g:lr=fast', 'train:optim_g:betas=[1, 2]', 'train:optim_g:betas=0.9',
    'train:optim_g:amsgrad=yes please', 'train:optim_g:capturable=true', 'train:optim_g:fused=perhaps',
    'train:optim_g:eps=-1', 'train:optim_g:weight_decay=-1', 'train:optim_g:type=Adamm', 'train:optim_g:type=~',
    'train:optim_g:nonsense=1', 'train:optim_g={type: Muon, lr: 1e-3, least_width: a}', 'train:optim_g=~',
    'train:scheduler:type=Nothing', 'train:scheduler:eta_min=1', 'train:scheduler:eta_min=-1',
    'train:scheduler:eta_min=x', 'train:scheduler:periods=[0]', 'train:scheduler:periods=x',
    'train:scheduler:periods=[5, -3]', 'train:distill_opt:loss_weight=-1', 'train:distill_opt:loss_weight=x',
    'train:distill_opt:loss_weight=.nan', 'train:distill_opt:loss_weight=.inf', 'train:distill_opt:type=L7',
    'train:distill_opt:criterion=l7', 'train:distill_opt=~', 'train:reconstruction_opt:loss_weight=-2',
    'train:adversarial_opt:loss_weight=x', 'train:adversarial_opt={}', 'synthesis:hr_size=0', 'synthesis:hr_size=13',
    'synthesis:hr_size=-12', 'synthesis:hr_size=1.5', 'synthesis:sources=[]', 'synthesis:sources:0:weight=0',
    'synthesis:sources:0:weight=-1', 'synthesis:sources:0:weight=.nan', 'synthesis:sources:0:type=dreams',
    'synthesis:sources:0:num_images=0', 'synthesis:sources:0:image_size=0', 'synthesis:sources:0:cache_dir=good.yml',
    'synthesis:sources:0:cache_dir=/proc/nothing', 'synthesis:bank={reuse: 0}', 'synthesis:bank={rows: 1}',
    'synthesis:bank={numbers: fp64}', 'synthesis:bank={path: nowhere.lmdb}', 'synthesis:bank={path: good.yml}',
    'synthesis:bank={path: []}', 'synthesis:degrade={}', 'synthesis:degrade={noise_range: [5, 1]}',
    'synthesis:degrade={jpeg_range: [0, 200]}', 'synthesis:degrade={blur_sigma: 1}', 'val:val_freq=0',
    'val:save_img=perhaps', 'val:metrics:psnr:type=calculate_beauty', 'val:metrics:psnr:crop_border=-3',
    'val:metrics:psnr:crop_border=500', 'val:metrics:psnr:crop_border=x', 'val:metrics:psnr:crop_border=1.5',
    'val:metrics:psnr:test_y_channel=maybe', 'val:metrics:psnr:input_order=XYZ', 'val:metrics:psnr:better=louder',
    'val:metrics:psnr:nonsense=1', 'val:metrics=[]', 'val:suffix=a/b', 'logger:print_freq=0',
    'logger:save_checkpoint_freq=-1', 'logger:keep_checkpoints=0', 'logger:use_tb_logger=maybe',
    'logger:wandb={project: mine}', 'logger:wandb=3', 'network_g:num_feat=0', 'network_g:num_feat=-4',
    'network_g:num_feat=x', 'network_g:num_block=0', 'network_g:type=~', 'network_g:type=3', 'network_g:num_in_ch=7',
    'network_g:start=nothing', 'network_t:num_feat=6', 'network_t:type=EDSR', 'network_z:num_latent=0',
    'network_z:type=VDSR', 'network_z=~', 'path:pretrain_network_t=~', 'path:pretrain_network_t=nowhere.pth',
    'path:pretrain_network_t=images', 'path:pretrain_network_t=good.yml', 'path:pretrain_network_t=zoo:nothing',
    'path:pretrain_network_t=3', 'path:pretrain_network_x=teacher.pth', 'path:param_key_t=nothing',
    'path:strict_load_t=perhaps', 'path:resume_state=nowhere.state', 'path:resume_state=good.yml',
    'path:resume_state=teacher.pth', 'datasets:val_x2:dataroot_gt=nowhere', 'datasets:val_x2:dataroot_gt=good.yml',
    'datasets:val_x2:dataroot_gt=~', 'datasets:val_x2:dataroot_gt=3', 'datasets:val_x2:scale=0',
    'datasets:val_x2:color=grey', 'datasets:val_x2:type=Nothing', 'datasets:val_x2:name=a/b',
    'datasets:val_x2:name=pictures_x3', 'datasets:train:type=BicubicImageDataset',
    'datasets:train:batch_size_per_gpu=0',
    'datasets:train:batch_size_per_gpu=~', 'datasets:train:num_worker_per_gpu=-1', 'datasets:train:prefetch_mode=gpu',
    'dist_params=3', 'compare=[t]', 'contract_t={value_range: [1, 0]}', 'contract_t={channels: 2}',
    'contract_g={size_multiple: 0}',
]  # fmt: skip


@pytest.mark.parametrize('entry', WRONG)
def test_wrong(entry: str, place: Path) -> None:
    line = attack(['train', '-opt', 'good.yml', '--force_yml', entry], place).line
    words = entry.partition('=')[0].split(':')
    assert words[-1] in line or words[-2 if len(words) > 1 else 0] in line, line
