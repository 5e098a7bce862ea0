"""Networks are found out of their weights alone: every family, and what is none of them."""

import inspect
import re

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.families import FAMILIES
from vsrkd_plugin.inspection.recognising import named_candidate, recognise
from vsrkd_plugin.ops.low_rank import LowRankConv
from vsrkd_plugin.registration import register

register()

SWINIR = {'type': 'SwinIR', 'in_chans': 3, 'embed_dim': 24, 'depths': [2, 1], 'num_heads': [3, 2], 'window_size': 4,
          'mlp_ratio': 2}  # fmt: skip
NETWORKS = [
    {'type': 'SRVGGNetCompact', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 24, 'num_conv': 3, 'upscale': 3},
    {'type': 'SRVGGNetCompact', 'num_feat': 16, 'num_conv': 5, 'upscale': 2, 'act_type': 'leakyrelu'},
    {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 3, 'upscale': 3},
    {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 2, 'upscale': 4},
    {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 3, 'upscale': 3},
    {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1, 'upscale': 4, 'img_range': 1.0},
    {'type': 'RCAN', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_group': 2, 'num_block': 3,
     'squeeze_factor': 4, 'upscale': 2},
    {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8},
    {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 4, 'num_feat': 16, 'num_block': 1, 'num_grow_ch': 4},
    {'type': 'ECBSR', 'num_in_ch': 1, 'num_out_ch': 1, 'num_block': 2, 'num_channel': 8, 'with_idt': False,
     'act_type': 'prelu', 'scale': 4},
    {**SWINIR, 'img_size': 12, 'upsampler': 'pixelshuffledirect', 'upscale': 3},
    {**SWINIR, 'img_size': 16, 'upsampler': 'pixelshuffle', 'upscale': 4, 'resi_connection': '3conv'},
    {**SWINIR, 'img_size': 16, 'upsampler': 'nearest+conv', 'upscale': 4, 'ape': True, 'qkv_bias': False},
    {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 8, 'num_block': 2},
    {'type': 'IMDN', 'num_feat': 16, 'num_modules': 3, 'upscale': 2},
    {'type': 'RLFN', 'num_feat': 12, 'num_block': 2, 'esa_channels': 4, 'upscale': 3},
    {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 32, 'out_channels': 3, 'num_block': 2},
    {'type': 'RLSP', 'num_feat': 8, 'num_layer': 3, 'upscale': 2, 'normalised': True},
    {'type': 'TDAN', 'num_frame': 3, 'num_feat': 8, 'num_extract_block': 1, 'num_block': 2, 'deformable_groups': 2},
    {'type': 'DUF', 'scale': 2, 'num_layer': 16},
    {'type': 'EDVR', 'num_feat': 8, 'num_frame': 5, 'deformable_groups': 2, 'num_extract_block': 1,
     'num_reconstruct_block': 2},
    {'type': 'EDVR', 'num_feat': 8, 'num_frame': 3, 'deformable_groups': 2, 'num_extract_block': 2,
     'num_reconstruct_block': 1, 'with_tsa': False, 'with_predeblur': True, 'hr_in': True},
    {'type': 'TOFlow'},
    {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 2},
    {'type': 'IconVSR', 'num_feat': 8, 'num_block': 1, 'temporal_padding': 1},
    {'type': 'BasicVSRPlusPlus', 'mid_channels': 16, 'num_blocks': 2},
]  # fmt: skip


def weights_of(options: dict) -> dict[str, torch.Tensor]:
    return build_network(dict(options)).state_dict()


def with_defaults(options: dict) -> dict:
    cls = ARCH_REGISTRY.get(options['type'])
    given = {key: value for key, value in options.items() if key != 'type'}
    bound = inspect.signature(cls).bind(**given)
    bound.apply_defaults()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in bound.arguments.items()}


@pytest.mark.parametrize('options', NETWORKS, ids=lambda o: f'{o["type"]}-{o.get("upsampler", "")}')
def test_a_network_is_found_out_of_its_weights(options: dict) -> None:
    """One of the candidates has every argument that it was built with, as far as arguments matter."""
    found = recognise('x.pth', weights_of(options))
    asked = with_defaults(options)
    ignored = {'spynet_path', 'edvr_path', 'cpu_cache_length', 'keyframe_stride', 'center_frame_idx', 'start', 'kwargs',
               'precision', 'checkpointed', 'max_residue_magnitude'}  # fmt: skip
    ignored |= {'upscale'} if options['type'] == 'VDSR' else set()
    candidates = [with_defaults(candidate.options) for candidate in found]
    assert {candidate.options['type'] for candidate in found} == {options['type']}
    assert any(all(c[key] == asked[key] for key in asked.keys() - ignored) for c in candidates), candidates


@pytest.mark.parametrize(
    'options',
    [
        {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 8, 'num_block': 2, 'rank': 5},
        *({'type': 'LowRankNetwork', 'rank': 4, 'network': inner} for inner in NETWORKS
          if inner['type'] in ('SRVGGNetCompact', 'EDSR', 'IMDN', 'RLSP', 'RRDBNet')),
    ],
    ids=str,
)  # fmt: skip
def test_a_network_of_low_rank_is_found_out(options: dict) -> None:
    torch.manual_seed(0)
    network = build_network(dict(options)).eval()
    weights = {f'module.{name}': value for name, value in network.state_dict().items()}
    found = recognise('a.pth', weights)
    built = [candidate.build() for candidate in found]
    assert {candidate.options['type'] for candidate in found} == {options['type']}
    assert all(candidate.options['rank'] == options['rank'] for candidate in found)
    assert all(type(each) is type(network) for each in built)
    for each in built:
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in each.state_dict().items())


def test_pairs_in_other_places_are_told() -> None:
    network = build_network({'type': 'VDSR', 'num_feat': 8, 'num_block': 2, 'rank': 5})
    whole = build_network({'type': 'VDSR', 'num_feat': 8, 'num_block': 2})
    weights = network.state_dict()
    for half in (0, 1):
        del weights[f'residual_layer.1.conv.{half}.weight']
    weights['residual_layer.1.conv.weight'] = whole.state_dict()['residual_layer.1.conv.weight']
    with pytest.raises(UserError, match=r'a\.pth: has pairs of convolutions of rank 5 in other places'):
        recognise('a.pth', weights)
    inner = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 2}
    network = build_network(dict(inner))
    network.body[2] = LowRankConv(8, 8, 8)  # as large as what it stands for
    with pytest.raises(UserError, match=r'a\.pth: has pairs of convolutions of rank 8 in other places'):
        recognise('a.pth', network.state_dict())


def test_every_family_is_tried() -> None:
    assert {family.type for family in FAMILIES} <= {options['type'] for options in NETWORKS}


def test_what_was_built_gives_what_the_original_gives() -> None:
    torch.manual_seed(0)
    original = build_network({'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1,
                              'num_grow_ch': 8, 'scale': 2}).eval()  # fmt: skip
    x = torch.rand(1, 3, 8, 8)
    (found,) = recognise('x.pth', original.state_dict())
    with torch.no_grad():
        assert torch.equal(found.build()(x), original(x))


@pytest.mark.parametrize('prefix', ['module.', 'generator.', 'netG.module.', '_orig_mod.', 'model.'])
def test_prefixes_of_trainings_are_taken_off(prefix: str) -> None:
    weights = weights_of(NETWORKS[0])
    (found,) = recognise('x.pth', {prefix + name: value for name, value in weights.items()})
    assert found.weights.keys() == weights.keys()


def test_of_a_gan_s_checkpoint_the_generator_is_meant() -> None:
    weights = weights_of(NETWORKS[0])
    both = {f'generator.{name}': value for name, value in weights.items()} | {
        'discriminator.w': torch.zeros(2, 2, 3, 3)
    }
    (found,) = recognise('x.pth', both)
    assert found.options['type'] == 'SRVGGNetCompact'


CONV = torch.zeros(4, 4, 3, 3)


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ({'lora_up.weight': CONV}, 'is a LoRA'),
        ({'model.diffusion_model.input_blocks.0.0.weight': CONV}, 'is a diffusion model'),
        ({'conv1.weight': CONV, 'fc.weight': torch.zeros(1000, 512)}, 'as a classifier does'),
        ({'module.conv1.weight': CONV, 'module.fc.weight': torch.zeros(10, 5)}, 'as a classifier does'),
        ({'word_embeddings.weight': torch.zeros(9, 4), 'c.weight': CONV}, 'is a text model'),
        ({'linear.weight': torch.zeros(3, 3)}, 'holds no convolution'),
    ],
)
def test_what_is_no_super_resolution_network_is_told_so(weights: dict, message: str) -> None:
    with pytest.raises(UserError, match=f'x.pth: .*{message}'):
        recognise('x.pth', weights)


def test_an_unknown_network_is_told_what_comes_near() -> None:
    weights = weights_of(NETWORKS[2])
    weights['extra.weight'] = CONV
    with pytest.raises(UserError, match=r'looked at SRVGGNetCompact, .*nearest: MSRResNet: has extra\.weight beside'):
        recognise('x.pth', weights)


def test_not_finite_weights_are_named() -> None:
    weights = {name: value.clone() for name, value in weights_of(NETWORKS[0]).items()}
    weights['body.2.weight'][0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=r'body\.2\.weight holds 3 values that are not finite'):
        recognise('x.pth', weights)


class Foreign(nn.Module):
    """Somebody's own."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.tail = nn.Conv2d(3, 12, 3, padding=1)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.tail(x), 2)


@pytest.fixture
def registered() -> str:
    if 'ForeignForTests' not in ARCH_REGISTRY:
        ARCH_REGISTRY._obj_map['ForeignForTests'] = Foreign
    return 'ForeignForTests'


def test_a_named_network_is_built(registered: str) -> None:
    original = Foreign()
    found = named_candidate('x.pth', {f'module.{k}': v for k, v in original.state_dict().items()}, {'type': registered})
    assert torch.equal(found.build().tail.weight, original.tail.weight)


def test_a_named_network_that_does_not_fit_is_told(registered: str) -> None:
    with pytest.raises(UserError, match=re.escape(f'does not fit --network {registered}: lacks tail.weight')):
        named_candidate('x.pth', {'head.weight': CONV}, {'type': registered})
    with pytest.raises(UserError, match='cannot be built'):
        named_candidate('x.pth', {'head.weight': CONV}, {'type': registered, 'no_such': 1})


spandrel = pytest.mark.skipif(
    __import__('importlib.util').util.find_spec('spandrel') is None, reason='spandrel is not installed'
)


@spandrel
def test_families_of_spandrel_are_built_by_name() -> None:
    from spandrel.architectures.SPAN import SPAN

    torch.manual_seed(0)
    original = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2).eval()
    (found,) = recognise('x.pth', original.state_dict())
    assert found.source == 'spandrel' and found.options['family'] == 'SPAN'
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(found.build()(x), original(x), atol=1e-5)


@spandrel
def test_a_family_is_a_name_and_no_path() -> None:
    with pytest.raises(ValueError, match='knows no family'):
        build_network({'type': 'SpandrelNetwork', 'family': 'os.path'})


@spandrel
def test_a_family_of_several_classes_is_built_of_the_right_one() -> None:
    from spandrel.architectures.PLKSR import RealPLKSR

    original = RealPLKSR(dim=16, n_blocks=2, upscaling_factor=2)
    (found,) = recognise('x.pth', original.state_dict())
    assert found.options['model'] == 'RealPLKSR' and type(found.build()) is RealPLKSR


@pytest.mark.parametrize('name', ['body.conv.weight', 'body.x', 'input.weight', 'IMDB.c4.weight', 'body.' + '9' * 5000])
def test_names_of_a_stranger_s_network_are_told_of_and_not_stumbled_over(name: str) -> None:
    with pytest.raises(UserError, match='of no known family'):
        recognise('x.pth', {name: CONV})


def test_no_network_is_built_of_more_layers_than_a_file_holds() -> None:
    weights = {**weights_of(NETWORKS[0]), 'body.300000000.weight': torch.zeros(9, 24, 3, 3)}
    with pytest.raises(UserError, match='of no known family'):
        recognise('x.pth', weights)


def test_a_network_named_without_its_type_is_told() -> None:
    with pytest.raises(UserError, match='--network: expected TYPE or'):
        named_candidate('x.pth', {'head.weight': CONV}, {'num_feat': 3})


def test_a_named_video_network_is_one() -> None:
    options = {'type': 'RLSP', 'num_feat': 8, 'num_layer': 3, 'upscale': 2}
    assert named_candidate('x.pth', build_network(dict(options)).state_dict(), options).is_video


def test_quantised_weights_are_refused() -> None:
    weights = {name: (value * 100).to(torch.int8) for name, value in weights_of(NETWORKS[0]).items()}
    with pytest.raises(UserError, match=r'body\.0\.weight holds int8: quantised weights'):
        recognise('x.pth', weights)
