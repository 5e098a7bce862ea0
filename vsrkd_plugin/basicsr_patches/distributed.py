"""Several processes, on CPUs too; each patch says what goes wrong without it."""

from typing import Any


def mend_distributed() -> None:
    """Symptom: without a GPU, DistributedDataParallel is given `device_ids=[torch.cuda.current_device()]` and dies."""
    import torch
    from basicsr.models.base_model import BaseModel
    from torch.nn.parallel import DistributedDataParallel

    stock = BaseModel.model_to_device

    def model_to_device(self: Any, net: torch.nn.Module) -> torch.nn.Module:
        if self.opt['dist'] and self.device.type == 'cpu':
            find_unused = self.opt.get('find_unused_parameters', False)
            return DistributedDataParallel(net.to(self.device), find_unused_parameters=find_unused)
        return stock(self, net)

    BaseModel.model_to_device = model_to_device


def init_distributed(launcher: str) -> None:
    """Start torch.distributed as `torchrun` or slurm laid it out: NCCL on GPUs, gloo on CPUs.

    Symptom: stock `init_dist` is NCCL only and computes `rank % device_count()`, a division by zero without a GPU.
    """
    import torch
    import torch.distributed as dist
    from basicsr.utils.dist_util import init_dist

    if launcher == 'none' or dist.is_initialized():
        return
    if torch.cuda.is_available():
        init_dist(launcher)
    elif launcher == 'pytorch':
        dist.init_process_group('gloo')
    else:
        from vsrkd_plugin.errors import UserError

        raise UserError('--launcher slurm needs GPUs; on CPUs start the processes with torchrun')


def close_distributed() -> None:
    """Leave torch.distributed, all processes together, before the first of them ends.

    Symptom: stock leaves the group to the interpreter's end, where gloo may abort a process whose peer is gone.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
