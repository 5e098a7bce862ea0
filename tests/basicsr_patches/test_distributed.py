"""Several processes, on a CPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vsrkd_plugin.basicsr_patches import loop


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    import torch.distributed as dist

    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('find_unused', [False, True])
def test_ddp_on_a_cpu(one_process_group: None, find_unused: bool) -> None:
    from basicsr.models.base_model import BaseModel
    from torch.nn.parallel import DistributedDataParallel

    loop.apply()
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': True, 'find_unused_parameters': find_unused})
    network = model.model_to_device(torch.nn.Conv2d(1, 2, 3))
    assert isinstance(network, DistributedDataParallel)
    assert network.device_ids is None
    assert network.find_unused_parameters is find_unused
    network(torch.rand(1, 1, 5, 5)).sum().backward()
    assert model.get_bare_model(network).weight.grad.abs().sum() > 0
    model.opt['dist'] = False
    assert isinstance(model.model_to_device(torch.nn.Conv2d(1, 2, 3)), torch.nn.Conv2d)
