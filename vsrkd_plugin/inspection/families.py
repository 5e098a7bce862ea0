"""Which networks are known, and what arguments each must have been built with, told from the shapes of its weights.

What shapes cannot tell (a scale factor of residuals, a range of values) is tried: a family may give several candidates.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from vsrkd_plugin.inspection.shapes import Shapes, UnlikeFamily, quotient, square_root

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """A kind of network that is recognised.

    Attributes:
        type: its registered name.
        guess: shapes → arguments it may have been built with, likelier ones first; raises `UnlikeFamily`.
        is_video: it takes clips.
    """

    type: str
    guess: Callable[[Shapes], Iterator[Arguments]]
    is_video: bool = False


def _candidates(fixed: Arguments, open_questions: Mapping[str, tuple[Any, ...]]) -> Iterator[Arguments]:
    """The arguments with every answer to what the shapes leave open."""
    for answers in product(*open_questions.values()):
        yield {**fixed, **dict(zip(open_questions, answers, strict=True))}


def _compact(shapes: Shapes) -> Iterator[Arguments]:
    last = shapes.last(r'body\.(\d+)\.')
    num_feat, num_in_ch = shapes.shape('body.0.weight')[:2]
    fixed = {
        'num_in_ch': num_in_ch,
        'num_out_ch': num_in_ch,
        'num_feat': num_feat,
        'num_conv': last // 2 - 1,
        'upscale': _shuffled(shapes, f'body.{last}.weight', num_in_ch),
    }
    acts = ('prelu',) if 'body.1.weight' in shapes else ('relu', 'leakyrelu')
    return _candidates(fixed, {'act_type': acts})


def _shuffled(shapes: Shapes, name: str, channels: int) -> int:
    """The factor of the pixel shuffle behind a convolution, which leaves `channels` of what it gives."""
    return square_root(quotient(shapes.shape(name)[0], channels, name), f'the pixel shuffle behind {name}')


def _msrresnet(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, num_in_ch = shapes.shape('conv_first.weight')[:2]
    factor = _shuffled(shapes, 'upconv1.weight', num_feat)
    yield {
        'num_in_ch': num_in_ch,
        'num_out_ch': shapes.shape('conv_last.weight')[0],
        'num_feat': num_feat,
        'num_block': shapes.count(r'body\.(\d+)\.conv1\.'),
        'upscale': 4 if 'upconv2.weight' in shapes else factor,
    }


def _upsample(shapes: Shapes, num_feat: int, name: str = 'upsample') -> int:
    """The scale of BasicSR's `Upsample`: convolutions and pixel shuffles in turn."""
    stages = shapes.count(rf'{name}\.(\d+)\.weight')
    factor = _shuffled(shapes, f'{name}.0.weight', num_feat)
    return factor**stages


def _edsr(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, num_in_ch = shapes.shape('conv_first.weight')[:2]
    fixed = {
        'num_in_ch': num_in_ch,
        'num_out_ch': shapes.shape('conv_last.weight')[0],
        'num_feat': num_feat,
        'num_block': shapes.count(r'body\.(\d+)\.conv1\.'),
        'upscale': _upsample(shapes, num_feat),
    }
    # The published large one has its residuals scaled; some are trained without the mean of DIV2K.
    scales = (0.1, 1) if num_feat > 128 else (1, 0.1)
    return _candidates(fixed, {'res_scale': scales, 'img_range': (255.0, 1.0), **_means(num_in_ch)})


def _means(num_in_ch: int) -> dict[str, tuple[Any, ...]]:
    """What may have been taken off the input; the default is the mean colour of DIV2K."""
    if num_in_ch != 3:
        return {'rgb_mean': ((0.0, 0.0, 0.0),)}
    return {'rgb_mean': ((0.4488, 0.4371, 0.4040), (0.0, 0.0, 0.0))}


def _rcan(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, num_in_ch = shapes.shape('conv_first.weight')[:2]
    squeezed = shapes.shape('body.0.residual_group.0.rcab.3.attention.1.weight')[0]
    fixed = {
        'num_in_ch': num_in_ch,
        'num_out_ch': shapes.shape('conv_last.weight')[0],
        'num_feat': num_feat,
        'num_group': shapes.count(r'body\.(\d+)\.'),
        'num_block': shapes.count(r'body\.0\.residual_group\.(\d+)\.'),
        'squeeze_factor': num_feat // squeezed,
        'upscale': _upsample(shapes, num_feat),
    }
    return _candidates(fixed, {'res_scale': (1, 0.1), 'img_range': (255.0, 1.0), **_means(num_in_ch)})


def _rrdbnet(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, read = shapes.shape('conv_first.weight')[:2]
    num_out_ch = shapes.shape('conv_last.weight')[0]
    # At x2 and x1 it reads its input unshuffled, with 4 and 16 times the channels.
    scale = {1: 4, 4: 2, 16: 1}.get(quotient(read, num_out_ch, 'the channels that conv_first reads'))
    if scale is None:
        raise UnlikeFamily(f'conv_first reads {read} channels, expected 1, 4 or 16 times {num_out_ch}')
    yield {
        'num_in_ch': num_out_ch,
        'num_out_ch': num_out_ch,
        'scale': scale,
        'num_feat': num_feat,
        'num_block': shapes.count(r'body\.(\d+)\.rdb1\.'),
        'num_grow_ch': shapes.shape('body.0.rdb1.conv1.weight')[0],
    }


def _ecbsr(shapes: Shapes) -> Iterator[Arguments]:
    num_channel, num_in_ch = shapes.shape('backbone.0.conv3x3.weight')[:2]
    blocks = shapes.count(r'backbone\.(\d+)\.')
    shuffled = shapes.shape(f'backbone.{blocks - 1}.conv3x3.weight')[0]
    scale = next((s for s in (4, 3, 2) if shuffled in (num_in_ch * s * s, 3 * s * s)), None)
    if scale is None:
        raise UnlikeFamily(f'its last convolution gives {shuffled} channels, which no pixel shuffle of x2 to x4 takes')
    fixed = {
        'num_in_ch': num_in_ch,
        'num_out_ch': shuffled // scale**2,
        'num_block': blocks - 2,
        'num_channel': num_channel,
        'scale': scale,
    }
    acts = ('prelu',) if 'backbone.0.act.weight' in shapes else ('relu', 'rrelu', 'softplus', 'linear')
    return _candidates(fixed, {'act_type': acts, 'with_idt': (False, True)})


def _swinir(shapes: Shapes) -> Iterator[Arguments]:
    embed_dim, in_chans = shapes.shape('conv_first.weight')[:2]
    layers = shapes.count(r'layers\.(\d+)\.')
    blocks = r'layers\.{}\.residual_group\.blocks\.(\d+)\.'
    block = 'layers.{}.residual_group.blocks.0.'
    bias_rows = shapes.shape(block.format(0) + 'attn.relative_position_bias_table', 2)[0]
    window = (square_root(bias_rows, 'the rows of its position biases') + 1) // 2
    hidden = shapes.shape(block.format(0) + 'mlp.fc1.weight', 2)[0]
    fixed: Arguments = {
        'img_size': _swinir_size(shapes, layers, window),
        'in_chans': in_chans,
        'embed_dim': embed_dim,
        'depths': [shapes.count(blocks.format(layer)) for layer in range(layers)],
        'num_heads': [
            shapes.shape(block.format(layer) + 'attn.relative_position_bias_table', 2)[1] for layer in range(layers)
        ],
        'window_size': window,
        'mlp_ratio': hidden / embed_dim,
        'qkv_bias': block.format(0) + 'attn.qkv.bias' in shapes,
        'ape': 'absolute_pos_embed' in shapes,
        'patch_norm': 'patch_embed.norm.weight' in shapes,
        'resi_connection': '3conv' if 'conv_after_body.0.weight' in shapes else '1conv',
        **_swinir_end(shapes, in_chans),
    }
    return _candidates(fixed, {'img_range': (1.0, 255.0)})


def _swinir_size(shapes: Shapes, layers: int, window: int) -> int:
    """The side that it was built for: masks and position embeddings are of that size."""
    for name, shape in shapes.by_name.items():
        if name.endswith('.attn_mask'):
            return square_root(shape[0], 'its number of windows') * window
    if 'absolute_pos_embed' in shapes:
        return square_root(shapes.shape('absolute_pos_embed', 3)[1], 'its number of positions')
    return 8 * window if layers else window


def _swinir_end(shapes: Shapes, in_chans: int) -> Arguments:
    if 'conv_up1.weight' in shapes:
        return {'upsampler': 'nearest+conv', 'upscale': 4}
    if 'conv_before_upsample.0.weight' in shapes:
        return {'upsampler': 'pixelshuffle', 'upscale': _upsample(shapes, 64)}
    if 'upsample.0.weight' in shapes:
        return {'upsampler': 'pixelshuffledirect', 'upscale': _shuffled(shapes, 'upsample.0.weight', in_chans)}
    return {'upsampler': '', 'upscale': 1}


def _vdsr(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, num_in_ch = shapes.shape('input.weight')[:2]
    yield {
        'num_in_ch': num_in_ch,
        'num_feat': num_feat,
        'num_block': shapes.count(r'residual_layer\.(\d+)\.conv\.weight'),
    }


def _imdn(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, num_in_ch = shapes.shape('fea_conv.weight')[:2]
    kept = shapes.shape('IMDB1.c4.weight')[0]
    yield {
        'num_in_ch': num_in_ch,
        'num_out_ch': num_in_ch,
        'num_feat': num_feat,
        'num_modules': shapes.count(r'IMDB(\d+)\.'),
        'distillation_rate': kept / num_feat,
        'upscale': _shuffled(shapes, 'upsampler.0.weight', num_in_ch),
    }


def _rlfn(shapes: Shapes) -> Iterator[Arguments]:
    num_feat, num_in_ch = shapes.shape('conv_1.weight')[:2]
    yield {
        'num_in_ch': num_in_ch,
        'num_out_ch': num_in_ch,
        'num_feat': num_feat,
        'num_block': shapes.count(r'block_(\d+)\.c1_r\.'),
        'esa_channels': shapes.shape('block_1.esa.conv1.weight')[0],
        'upscale': _shuffled(shapes, 'upsampler.0.weight', num_in_ch),
    }


def _ridnet(shapes: Shapes) -> Iterator[Arguments]:
    mid, in_channels = shapes.shape('head.weight')[:2]
    yield {
        'in_channels': in_channels,
        'mid_channels': mid,
        'out_channels': shapes.shape('tail.weight')[0],
        'num_block': shapes.count(r'body\.(\d+)\.'),
    }


def _rlsp(shapes: Shapes) -> Iterator[Arguments]:
    layers = shapes.count(r'layer(\d+)\.weight')
    num_feat = shapes.shape('layer0.weight')[0]
    fixed = {
        'num_feat': num_feat,
        'num_layer': layers - 1,
        'upscale': square_root(shapes.shape(f'layer{layers - 1}.weight')[0], 'the channels of its last layer'),
    }
    return _candidates(fixed, {'normalised': ('mixing' in shapes,), 'centred': (False, True)})


def _tdan(shapes: Shapes) -> Iterator[Arguments]:
    num_feat = shapes.shape('conv_first.weight')[0]
    yield {
        'num_frame': quotient(shapes.shape('fea_ex.0.weight')[1], 3, 'the channels that fea_ex.0 reads'),
        'num_feat': num_feat,
        'num_extract_block': shapes.count(r'residual_layer\.(\d+)\.conv1\.'),
        'num_block': shapes.count(r'recon_layer\.(\d+)\.conv1\.'),
        'deformable_groups': quotient(shapes.shape('off2d_1.weight')[0], 18, 'the channels of off2d_1'),
        'upscale': 2 ** shapes.count(r'up\.0\.(\d+)\.weight'),
    }


def _duf(shapes: Shapes) -> Iterator[Arguments]:
    layers = {3: 16, 9: 28, 21: 52}.get(shapes.count(r'dense_block1\.dense_blocks\.(\d+)\.'))
    if layers is None:
        raise UnlikeFamily('DUF has 3, 9 or 21 dense blocks')
    fixed = {'scale': square_root(quotient(shapes.shape('conv3d_f2.weight', 5)[0], 25, 'conv3d_f2'), 'conv3d_f2 / 25')}
    # The authors' weights, converted, come of batch norms with another eps.
    return _candidates({**fixed, 'num_layer': layers}, {'adapt_official_weights': (True, False)})


def _edvr(shapes: Shapes) -> Iterator[Arguments]:
    deblurs = 'conv_1x1.weight' in shapes
    first = 'predeblur.conv_first.weight' if 'predeblur.conv_first.weight' in shapes else 'conv_first.weight'
    tsa = 'fusion.temporal_attn1.weight' in shapes
    num_feat = shapes.shape('conv_l2_1.weight')[0]
    fused = shapes.shape('fusion.feat_fusion.weight' if tsa else 'fusion.weight')[1]
    offsets = next((n for n in shapes.by_name if n.endswith('conv_offset.weight')), None)
    if offsets is None:
        raise UnlikeFamily('no offsets of deformable convolutions')
    yield {
        'num_in_ch': shapes.shape(first)[1],
        'num_out_ch': 3,
        'num_feat': num_feat,
        'num_frame': quotient(fused, num_feat, 'the channels that fusion reads'),
        'deformable_groups': quotient(shapes.shape(offsets)[0], 27, offsets),
        'num_extract_block': shapes.count(r'feature_extraction\.(\d+)\.'),
        'num_reconstruct_block': shapes.count(r'reconstruction\.(\d+)\.'),
        'with_predeblur': deblurs,
        'hr_in': 'predeblur.stride_conv_hr1.weight' in shapes,
        'with_tsa': tsa,
    }


def _toflow(shapes: Shapes) -> Iterator[Arguments]:
    shapes.shape('spynet.basic_module.0.basic_module.0.weight')
    shapes.shape('conv_1.weight')
    yield from ({'adapt_official_weights': official} for official in (True, False))


def _trunk_blocks(shapes: Shapes, trunk: str) -> int:
    return shapes.count(rf'{trunk}\.main\.2\.(\d+)\.')


def _basicvsr(shapes: Shapes) -> Iterator[Arguments]:
    if shapes.has(r'edvr\.'):
        raise UnlikeFamily('it has an EDVR within, as IconVSR')
    num_feat = shapes.shape('backward_trunk.main.0.weight')[0]
    shapes.shape('fusion.weight')
    yield {'num_feat': num_feat, 'num_block': _trunk_blocks(shapes, 'backward_trunk')}


def _iconvsr(shapes: Shapes) -> Iterator[Arguments]:
    num_feat = shapes.shape('backward_trunk.main.0.weight')[0]
    frames = quotient(shapes.shape('edvr.fusion.feat_fusion.weight')[1], num_feat, 'edvr.fusion.feat_fusion.weight')
    yield {
        'num_feat': num_feat,
        'num_block': _trunk_blocks(shapes, 'backward_trunk'),
        'temporal_padding': frames // 2,
    }


def _basicvsrpp(shapes: Shapes) -> Iterator[Arguments]:
    yield {
        'mid_channels': shapes.shape('backbone.backward_1.main.0.weight')[0],
        'num_blocks': _trunk_blocks(shapes, r'backbone\.backward_1'),
        'is_low_res_input': 'feat_extract.main.0.weight' in shapes,
    }


FAMILIES = (
    Family('SRVGGNetCompact', _compact),
    Family('MSRResNet', _msrresnet),
    Family('EDSR', _edsr),
    Family('RCAN', _rcan),
    Family('RRDBNet', _rrdbnet),
    Family('ECBSR', _ecbsr),
    Family('SwinIR', _swinir),
    Family('VDSR', _vdsr),
    Family('IMDN', _imdn),
    Family('RLFN', _rlfn),
    Family('RIDNet', _ridnet),
    Family('RLSP', _rlsp, is_video=True),
    Family('TDAN', _tdan, is_video=True),
    Family('DUF', _duf, is_video=True),
    Family('EDVR', _edvr, is_video=True),
    Family('TOFlow', _toflow, is_video=True),
    Family('BasicVSR', _basicvsr, is_video=True),
    Family('IconVSR', _iconvsr, is_video=True),
    Family('BasicVSRPlusPlus', _basicvsrpp, is_video=True),
)
