"""What a network says of itself."""

from typing import Protocol

import pytest
from torch import nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import (
    AlternatingBody,
    Chained,
    Checkpointable,
    Grows,
    NetworkContract,
    RecurrentChain,
    Residual,
    ResidualBlock,
    ResidualNetwork,
    ResolvesLuma,
    SkipsBlocks,
    StartsBlocks,
    bare,
    innermost,
    input_channels,
)
from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.tdan_arch import TDAN
from vsrkd_plugin.archs.vdsr_arch import VDSR


def _vdsr() -> VDSR:
    return VDSR(num_feat=4, num_block=2)


def _edsr() -> nn.Module:
    from basicsr.archs.edsr_arch import EDSR

    return EDSR(3, 3, 4, 2, 2)


def _compact() -> nn.Module:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    return SRVGGNetCompact(3, 3, 4, 1, 2)


PROTOCOLS = (AlternatingBody, Chained, Checkpointable, Grows, RecurrentChain, ResidualNetwork, ResolvesLuma,
             SkipsBlocks, StartsBlocks)  # fmt: skip
KINDS = [
    (_vdsr, {Chained, StartsBlocks}),
    (_edsr, {ResidualNetwork, AlternatingBody}),  # `chain_of` looks at what its body is
    (_compact, {AlternatingBody}),
    (lambda: RLSP(num_feat=4), {RecurrentChain, Checkpointable, SkipsBlocks, StartsBlocks, ResolvesLuma}),
    (lambda: ProgressiveStudent(network=_vdsr()), {Grows}),
    (lambda: nn.Conv2d(3, 3, 3), set()),
]


@pytest.mark.parametrize(('build', 'expected'), KINDS)
def test_kinds_of_networks(build, expected: set[type], monkeypatch: pytest.MonkeyPatch) -> None:
    """By attributes, submodules among them: typing's own check does not see these since Python 3.12."""
    monkeypatch.setattr(type(Protocol), '__instancecheck__', lambda cls, instance: False)
    network = build()
    assert {protocol for protocol in PROTOCOLS if isinstance(network, protocol)} == expected


def test_blocks_of_edsr() -> None:
    block = _edsr().body[0]
    assert isinstance(block, ResidualBlock) and isinstance(block, Residual)
    block = _vdsr().blocks[0]
    assert not isinstance(block, ResidualBlock) and not isinstance(block, Residual)


def test_a_contract_is_what_the_network_says() -> None:
    assert NetworkContract.of(_vdsr()) == NetworkContract(
        channels=1, pre_upsampling=True, multi_scale=True, growing_body='residual_layer'
    )
    assert NetworkContract.of(_edsr()) == NetworkContract(channels=3, growing_body='body')
    assert NetworkContract.of(RLSP(num_feat=4)) == NetworkContract(channels=3, recurrent=True, luma_only=True)
    assert NetworkContract.of(TDAN(num_feat=8, num_frame=3)).window == 3
    assert NetworkContract.of(nn.Conv2d(3, 3, 3), {'num_frame': 7}).window == 7  # said by its options


def test_a_contract_is_read_through_what_stands_around_the_network() -> None:
    network = _vdsr()
    wrapped = nn.DataParallel(ProgressiveStudent(network=network))
    assert isinstance(bare(wrapped), ProgressiveStudent) and innermost(wrapped) is network
    assert NetworkContract.of(wrapped) == NetworkContract.of(network)
    options = {'type': 'ProgressiveStudent', 'network': {'type': 'VDSR', 'num_in_ch': 3}}
    assert NetworkContract.of(wrapped, options).channels == 3


class _Named(nn.Module):
    def __init__(self, in_chans: int = 4, first: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(first, 1, 1)


def test_channels_by_options_then_word_then_default_then_first_convolution() -> None:
    network = _Named()
    assert input_channels(network, {'in_chans': 5}) == 5
    assert input_channels(network) == 4
    network.in_chans = 6
    assert input_channels(network) == 6
    assert input_channels(nn.Sequential(nn.Conv2d(2, 1, 1))) == 2
    assert input_channels(nn.Identity()) == 3


class _Submodules(nn.Module):
    """Has layers whose names are those of the contract's methods."""

    def __init__(self) -> None:
        super().__init__()
        self.luma = nn.Conv2d(1, 1, 3)
        self.chain = nn.Sequential(nn.Conv2d(1, 1, 3))
        self.reset_block_to_identity = nn.Identity()


def test_a_layer_is_no_method() -> None:
    """It may bear its name: a network with a layer `luma` does not super-resolve Y alone."""
    network = _Submodules()
    assert not NetworkContract.of(network).luma_only
    assert not isinstance(network, (ResolvesLuma, Chained, StartsBlocks))
    assert isinstance(_vdsr(), Chained) and isinstance(_vdsr(), StartsBlocks)


def test_options_come_before_what_a_network_says() -> None:
    said = {'channels': 3, 'pre_upsampling': False, 'window': 5, 'growing_body': 'blocks', 'value_range': [-1, 1]}
    network = comply(_vdsr(), said, {'type': 'VDSR', 'num_in_ch': 1, 'num_frame': 7})
    contract = NetworkContract.of(network)
    assert (contract.channels, contract.pre_upsampling, contract.window) == (3, False, 5)
    assert contract.growing_body == 'blocks' and contract.value_range == (-1, 1) and contract.multi_scale
    assert NetworkContract.of(comply(network, {})).window == 7  # withdrawn
    assert not NetworkContract.of(comply(RLSP(num_feat=4), {'luma_only': False})).luma_only


def test_a_network_of_others_with_a_known_name() -> None:
    class EDVR(nn.Module):
        """Has none of what BasicSR's has."""

    assert NetworkContract.of(EDVR()).size_multiple == 1


def test_networks_of_basicsr_that_need_sizes() -> None:
    from basicsr.archs.edvr_arch import EDVR
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from basicsr.archs.tof_arch import TOFlow

    edvr = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
    assert NetworkContract.of(EDVR(**edvr, hr_in=True, with_predeblur=True)).size_multiple == 16
    assert NetworkContract.of(TOFlow()).size_multiple == 16
    rrdb = NetworkContract.of(RRDBNet(3, 3, 1, 4, 1, 4))
    assert rrdb.size_multiple == 4 and rrdb.channels == 3
