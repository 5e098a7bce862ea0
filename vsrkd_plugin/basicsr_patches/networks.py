"""Patches of stock BasicSR 1.4.2's networks; each says what goes wrong without it."""

import functools
import sys
import warnings
from unittest import mock

_applied = False


def apply() -> None:
    """Mend stock networks in this process; a second call does nothing."""
    global _applied
    if _applied:
        return
    _applied = True
    _mend_deformable_convolution()
    _mend_basicvsrpp()
    _mend_registry()


def _mend_deformable_convolution() -> None:
    """Symptom: EDVR and BasicVSR++ fail on a CPU in bf16 with "not implemented for 'BFloat16'"."""
    import torchvision

    from vsrkd_plugin.ops.deform import deform_conv2d

    torchvision.ops.deform_conv2d = deform_conv2d


def _mend_basicvsrpp() -> None:
    """Symptom: on a machine without CUDA BasicVSR++ is built without its alignment, so no checkpoint of it loads, and
    what it gives is another network's; clips of more than 100 frames end in `.cuda()`.

    It asks torch for CUDA because mmcv's deformable convolution needed it; BasicSR's own uses torchvision's, which runs
    on a CPU as well.
    """
    from basicsr.archs.basicvsrpp_arch import BasicVSRPlusPlus

    stock = BasicVSRPlusPlus.__init__

    @functools.wraps(stock)
    def build(self: BasicVSRPlusPlus, *args: object, **kwargs: object) -> None:
        import torch

        on_cpu = not torch.cuda.is_available()
        with mock.patch('torch.cuda.is_available', return_value=True), warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Deformable alignment module is not added')
            stock(self, *args, **kwargs)
        if on_cpu:
            self.cpu_cache_length = sys.maxsize

    BasicVSRPlusPlus.__init__ = build


def _mend_registry() -> None:
    """Symptom: at every look-up of one of BasicSR's own networks a line 'Name SRVGGNetCompact is not found, use name:
    SRVGGNetCompact_basicsr!', which sounds like an error and is none."""
    from basicsr.utils.registry import Registry

    stock = Registry.get

    @functools.wraps(stock)
    def get(self: Registry, name: str, suffix: str = 'basicsr') -> object:
        both = f'{name}_{suffix}'
        return stock(self, both if name not in self and both in self else name, suffix)

    Registry.get = get
