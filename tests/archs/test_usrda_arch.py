"""USR-DA's networks: sizes, and the place where the encoder ends."""

import pytest
import torch

from vsrkd_plugin.archs.usrda_arch import USRDA, USRDATargetDecoder
from vsrkd_plugin.distillation.encoding import SplitNetwork


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_enlarges(scale: int) -> None:
    network = USRDA(num_in_ch=1, num_out_ch=1, num_feat=8, num_block=1, num_grow_ch=4, upscale=scale)
    assert network(torch.rand(2, 1, 7, 5)).shape == (2, 1, 7 * scale, 5 * scale)


def test_other_factors_are_refused() -> None:
    with pytest.raises(ValueError, match='upscale must be 2, 3 or 4, got 8'):
        USRDA(upscale=8)


def test_the_decoder_of_the_target_takes_the_encoders_features() -> None:
    network, decoder = USRDA(num_feat=8, num_block=1, num_grow_ch=4), USRDATargetDecoder(num_in_ch=8, num_feat=4)
    lr = torch.rand(2, 3, 6, 9)
    features = SplitNetwork(network).encode(lr)
    torch.testing.assert_close(features, network.encoder(lr))
    assert decoder(features).shape == lr.shape
