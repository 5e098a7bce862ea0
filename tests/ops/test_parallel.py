"""Helpers for several processes, in two gloo processes against the joint batch."""

import random
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.losses.adversarial_distillation_loss import AdversarialDistillationLoss
from vsrkd_plugin.losses.distillation_loss import DistillationLoss
from vsrkd_plugin.ops.parallel import (
    average,
    average_gradients,
    broadcast_parameters,
    world_size,
)

JOINT = torch.arange(8.0).view(4, 1, 1, 2) / 8


def _gradients() -> dict[str, torch.Tensor]:
    """Each loss's gradient of one weight over the rows of this process, averaged over the processes."""
    rank = dist.get_rank() if world_size() > 1 else 0
    rows = JOINT.chunk(world_size())[rank]
    results = {}
    for criterion in ('l1', 'sum_squares'):
        for loss in (DistillationLoss(criterion=criterion), AdversarialDistillationLoss(criterion=criterion)):
            weight = torch.nn.Parameter(torch.tensor(1.5))
            value = loss(rows * weight, torch.zeros_like(rows))
            value.backward()
            average_gradients([weight, torch.nn.Parameter(torch.zeros(3))])
            results[f'{type(loss).__name__} {criterion}'] = torch.stack([weight.grad, average(value)])
    return results


def _drawn_seed(rank: int) -> int:
    """The seed of a run that names none."""
    random.seed(rank)
    opt: dict[str, Any] = {'name': 'x', 'model_type': 'SRModel', 'datasets': {}, 'num_gpu': 0}
    complete(opt, '/', is_train=True)
    return opt['manual_seed']


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, rank + 1.0)
    broadcast_parameters(layer)
    torch.save(
        {'gradients': _gradients(), 'weight': layer.weight.data, 'seed': _drawn_seed(rank)}, f'{folder}/{rank}.pt'
    )
    dist.destroy_process_group()


def test_two_processes_act_as_one(tmp_path: Path) -> None:
    alone = _gradients()
    mp.spawn(_worker, (str(tmp_path),), nprocs=2)
    seeds = {torch.load(tmp_path / f'{rank}.pt')['seed'] for rank in (0, 1)}
    assert len(seeds) == 1
    for rank in (0, 1):
        result = torch.load(tmp_path / f'{rank}.pt')
        for name, expected in alone.items():
            torch.testing.assert_close(
                result['gradients'][name], expected, msg=lambda text, name=name: f'{name}: {text}'
            )
        assert torch.equal(result['weight'], torch.ones(2, 2))
