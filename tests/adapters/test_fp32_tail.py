"""The last convolution that runs is in fp32 under autocast, whatever is made last."""

import copy

import pytest
import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.fp32_tail import _InFp32, keep_tail_in_fp32
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.vdsr_arch import VDSR


class _MeanShift(nn.Conv2d):
    """Adds a colour, as EDSR's authors do: a fixed convolution of 1x1."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3)[:, :, None, None]
        self.bias.data = torch.tensor([0.45, 0.44, 0.40])
        self.requires_grad_(False)


class _Network(nn.Module):
    """Enlarges twice; `tail_first` makes its tail before its head, `shift` is put behind the tail."""

    def __init__(self, tail_first: bool = False, shift: nn.Module | None = None, transposed: bool = False) -> None:
        super().__init__()
        if tail_first:
            self.tail = self._tail(transposed)
        self.shift = shift or nn.Identity()
        self.head = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        if not tail_first:
            self.tail = self._tail(transposed)

    @staticmethod
    def _tail(transposed: bool) -> nn.Module:
        if transposed:
            return nn.ConvTranspose2d(8, 3, 4, 2, 1)
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.shift(self.tail(self.head(x)))


class _Recurrent(_Network):
    """Of clips."""

    def forward(self, clip: Tensor) -> Tensor:
        b, t = clip.shape[:2]
        return super().forward(clip.flatten(0, 1)).unflatten(0, (b, t))


class _Window(_Network):
    """Of the middle of five frames, of at least 48 pixels."""

    def forward(self, clip: Tensor) -> Tensor:
        assert clip.ndim == 5 and clip.shape[1] == 5 and clip.shape[-1] >= 48
        return super().forward(clip[:, 2])


def _kept(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, _InFp32)]


@pytest.mark.parametrize(
    ('network', 'shape', 'expected'),
    [
        (_Network(), (1, 3, 8, 8), ['tail.1']),
        (_Network(tail_first=True), (1, 3, 8, 8), ['tail.1']),
        (_Network(transposed=True), (1, 3, 8, 8), ['tail']),
        (_Network(shift=_MeanShift()), (1, 3, 8, 8), ['shift', 'tail.1']),
        (_Network(shift=nn.Conv2d(3, 3, 1), tail_first=True), (1, 3, 8, 8), ['tail.1', 'shift']),
        (_Recurrent(tail_first=True), (1, 2, 3, 8, 8), ['tail.1']),
        (_Window(tail_first=True), (1, 5, 3, 48, 48), ['tail.1']),
    ],
    ids=['plain', 'tail_first', 'transposed', 'mean_shift', 'plain_shift', 'recurrent', 'window'],
)
def test_outputs_are_not_on_the_grid_of_bf16(network: nn.Module, shape: tuple[int, ...], expected: list[str]) -> None:
    torch.manual_seed(0)
    network, x = network.eval(), torch.rand(shape)
    reference = copy.deepcopy(network)
    keys, state = list(network.state_dict()), torch.get_rng_state()
    assert keep_tail_in_fp32(network.train()) is network and network.training
    network.eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert list(network.state_dict()) == keys and sorted(_kept(network)) == sorted(expected)
    assert not any(module._forward_hooks for module in network.modules())
    torch.testing.assert_close(network(x), reference(x))
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        output, rounded = network(x), reference(x)
    # All that bf16 does is in the hidden layers: far less than at the end, where values are near 1.
    assert output.dtype == torch.float32
    on_grid = (output == output.bfloat16().float()).float().mean()
    assert on_grid < 0.1 and rounded.dtype == torch.bfloat16
    hidden = list(network.tail.modules())[-1]
    assert isinstance(hidden, _InFp32)  # what a mean shift gets is not rounded either


def test_a_network_that_cannot_be_run_keeps_what_was_made_last() -> None:
    class Unknown(nn.Sequential):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return super().forward(x * mask)

    network = keep_tail_in_fp32(Unknown(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3)))
    assert _kept(network) == ['1']


def test_copies_and_repetition() -> None:
    torch.manual_seed(0)
    network = keep_tail_in_fp32(keep_tail_in_fp32(_Network(shift=_MeanShift()).eval()))
    duplicate, x = copy.deepcopy(network), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            output = duplicate(x)
    assert output.dtype == torch.float32 and output.std() > 0.01  # the copy has its own weights


def test_of_ours() -> None:
    rlsp = keep_tail_in_fp32(RLSP(num_feat=4, num_layer=3, upscale=2))
    assert _kept(rlsp) == ['layer3']
    assert _kept(keep_tail_in_fp32(VDSR(num_feat=4, num_block=1))) == []  # adds its detail in fp32 by itself
