"""The field's two ways from HR to LR, named."""

import pytest
import torch

from vsrkd_plugin.ops.blur import blur_subsample
from vsrkd_plugin.ops.degradation import DEGRADATIONS, degrade
from vsrkd_plugin.ops.resize import bicubic_resize


def test_each_name_means_its_operator() -> None:
    x = torch.rand(2, 3, 4, 24, 32)
    assert torch.equal(degrade(x, 4, 'bicubic'), bicubic_resize(x, 1 / 4))
    assert torch.equal(degrade(x, 4, 'blur', sigma=1.1), blur_subsample(x, 4, 1.1))
    assert torch.equal(degrade(x, 4, 'blur'), blur_subsample(x, 4, 1.5)), 'the sigma of Vid4 BD'


@pytest.mark.parametrize('name', DEGRADATIONS)
def test_differentiable_on_clips(name: str) -> None:
    x = torch.rand(1, 2, 1, 8, 6, dtype=torch.float64, requires_grad=True)
    assert degrade(x, 2, name).shape == (1, 2, 1, 4, 3)
    assert torch.autograd.gradcheck(lambda t: degrade(t, 2, name), x)


def test_another_name() -> None:
    with pytest.raises(ValueError, match="one of bicubic, blur, got 'jpeg'"):
        degrade(torch.rand(1, 8, 8), 2, 'jpeg')
