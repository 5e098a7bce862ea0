"""A network cut in two, against the network itself."""

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from torch import Tensor, nn

from vsrkd_plugin.distillation.encoding import SplitNetwork


def _edsr() -> EDSR:
    torch.manual_seed(0)
    return EDSR(3, 3, num_feat=4, num_block=2, upscale=2)


def test_features_are_what_the_module_is_given() -> None:
    network, lr = _edsr(), torch.rand(1, 3, 6, 5)
    split = SplitNetwork(network, 'upsample')
    features, sr = split(lr)
    torch.testing.assert_close(sr, network(lr))
    torch.testing.assert_close(features, split.encode(lr))
    torch.testing.assert_close(network.conv_last(network.upsample(features)) / 255 + network.mean, sr)


def test_the_decoder_is_not_run_to_encode() -> None:
    network, ran = _edsr(), []
    network.conv_last.register_forward_hook(lambda *_: ran.append(1))
    SplitNetwork(network, 'body.1').encode(torch.rand(1, 3, 6, 5))
    assert not ran
    network(torch.rand(1, 3, 6, 5))  # and called as ever, it is whole
    assert ran == [1]


def test_a_gradient_of_the_features_reaches_the_encoder_alone() -> None:
    network = _edsr()
    SplitNetwork(network, 'upsample').encode(torch.rand(1, 3, 6, 5)).mean().backward()
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached and not any(name.startswith(('upsample', 'conv_last')) for name in reached)


@pytest.mark.parametrize(
    ('start', 'message'),
    [(None, 'EDSR does not say the module'), ('tail', "EDSR has no module 'tail'; it has conv_first, body")],
)
def test_no_such_place(start: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitNetwork(_edsr(), start)


class _Skips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)


def test_a_module_that_is_not_called_is_told() -> None:
    split = SplitNetwork(_Skips(), 'unused')
    for call in (split, split.encode):
        with pytest.raises(RuntimeError, match='unused took no part'):
            call(torch.rand(1, 3, 4, 4))
