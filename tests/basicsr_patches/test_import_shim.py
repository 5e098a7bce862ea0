"""BasicSR imports with a torchvision that lacks the module it wants."""

import sys

import torch

from vsrkd_plugin.basicsr_patches import import_shim


def test_import_shim() -> None:
    from torchvision.transforms import functional
    from torchvision.transforms.functional_tensor import rgb_to_grayscale  # the module that torchvision took away

    x = torch.rand(1, 3, 4, 5)
    assert torch.equal(rgb_to_grayscale(x), functional.rgb_to_grayscale(x))
    module = sys.modules['torchvision.transforms.functional_tensor']
    import_shim.install_import_shim()
    assert sys.modules['torchvision.transforms.functional_tensor'] is module
    import basicsr.data.degradations  # noqa: F401 - the one that wants it
