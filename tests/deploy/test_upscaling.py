"""Pictures through networks: tiles give what the whole gives, at any factor, colours and greys alike."""

from typing import Any

import numpy as np
import pytest
import torch
from basicsr.utils.matlab_functions import imresize
from small_models import Nearest, PoolsAll, model_of, random_model
from torch import Tensor, nn

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.tiling import EQUAL
from vsrkd_plugin.deploy.upscaling import Upscaler, choose_device
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.colour import rgb_to_ycbcr
from vsrkd_plugin.ops.resize import bicubic_matrix, bicubic_part, bicubic_resize
from vsrkd_plugin.synthesis.sources.dead_leaves import render_images

COMPACT = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 4, 'upscale': 4}
LOCAL: dict[str, tuple[dict[str, Any], tuple[int, ...], int]] = {
    'VDSR': ({'type': 'VDSR', 'num_feat': 8, 'num_block': 6}, (2, 3), 1),
    'VDSR of RGB': ({'type': 'VDSR', 'num_in_ch': 3, 'num_feat': 8, 'num_block': 6}, (4,), 3),
    'SRVGGNetCompact': (COMPACT, (4,), 3),
    'EDSR': ({'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 3, 'upscale': 2}, (2,), 3),
    'MSRResNet': (
        {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 3, 'upscale': 3}, (3,), 3
    ),
    'RRDBNet x2, which takes even sizes': (
        {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 8, 'num_block': 1,
         'num_grow_ch': 4}, (2,), 3,
    ),
    'SwinIR, which takes multiples of 8': (
        {'type': 'SwinIR', 'img_size': 48, 'upscale': 2, 'in_chans': 3, 'window_size': 8, 'depths': [2],
         'embed_dim': 12, 'num_heads': [2], 'upsampler': 'pixelshuffledirect'}, (2,), 3,
    ),
}  # fmt: skip


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    side = max(height, width)
    return render_images(3, range(1), side, channels)[..., :height, :width]


def upscaler(model: Model, scale: float | None = None, **settings: Any) -> Upscaler:
    return Upscaler(model, scale, precision='fp32', **settings)


@pytest.mark.parametrize('name', LOCAL)
def test_tiles_give_what_the_whole_picture_gives(name: str) -> None:
    options, scales, channels = LOCAL[name]
    lr = picture(77, 101, channels)
    for scale in scales:
        whole = upscaler(random_model(options, scales, channels), scale, tile=1000)(lr)
        tiling = upscaler(random_model(options, scales, channels), scale, tile=24)
        tiles = tiling(lr)
        assert len(tiling.plan(77, 101, channels)) >= 4 and tiling.locality().exact
        assert whole.shape == (1, channels, 77 * scale, 101 * scale)
        assert float((tiles - whole).abs().max()) <= EQUAL


def test_less_overlap_shows() -> None:
    """The overlap is not so wide that any would do."""
    tiling = upscaler(random_model(COMPACT, (4,)), tile=24)
    found = tiling.locality()
    object.__setattr__(found, 'reach', found.reach - 3)
    lr = picture(77, 101)
    assert float((tiling(lr) - upscaler(random_model(COMPACT, (4,)), tile=1000)(lr)).abs().max()) > EQUAL


@pytest.mark.parametrize(
    'options',
    [
        {'type': 'RLFN', 'num_feat': 8, 'num_block': 2, 'esa_channels': 4, 'upscale': 2},
        {'type': 'IMDN', 'num_feat': 16, 'num_modules': 2, 'upscale': 2},
        {'type': 'RCAN', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 32, 'num_group': 1, 'num_block': 3, 'upscale': 2},
    ],
    ids=lambda options: options['type'],
)
def test_networks_that_see_the_whole_picture_are_told_of(options: dict[str, Any]) -> None:
    told: list[str] = []
    tiling = upscaler(random_model(options, (2,)), tile=32, say=told.append)
    # At their random start channels are hardly weighed.
    for name, parameter in tiling.model.network.named_parameters():
        if 'attention' in name or 'esa' in name or 'cca' in name:
            parameter.data *= 8
    output = tiling(picture(80, 90))
    assert output.shape == (1, 3, 160, 180)
    assert not tiling.locality().exact and len(told) == 1 and 'see the whole picture' in told[0]


@pytest.mark.parametrize('scale', [2, 3, 1, 1.5, 2.7])
def test_a_factor_below_the_network_s(scale: float) -> None:
    told: list[str] = []
    lr = picture(40, 61)
    output = upscaler(random_model(COMPACT, (4,)), scale, say=told.append)(lr)
    native = upscaler(random_model(COMPACT, (4,)))(lr)
    assert told == [f'x{scale:g} is not of the network: its x4 is resized after it by bicubic']
    height, width = round(40 * scale), round(61 * scale)
    assert output.shape == (1, 3, height, width)
    expected = imresize(upscaler(random_model(COMPACT, (4,))).adapter(lr, 4)[0], scale / 4)[:, :height, :width]
    assert float((output[0] - expected.clamp(0, 1)).abs().max()) < 1e-5
    assert native.shape[-1] == 4 * 61


def test_a_factor_above_the_network_s() -> None:
    lr = picture(24, 31)
    model = random_model(COMPACT, (4,))
    output = upscaler(model, 6)(lr)
    assert float((output - bicubic_resize(model.adapter(lr, 4), 1.5).clamp(0, 1)).abs().max()) < 1e-5


@pytest.mark.parametrize('scale', [2, 1.5, 5, 2.7])
def test_tiles_are_resized_as_the_whole_is(scale: float) -> None:
    lr = picture(77, 101)
    whole = upscaler(random_model(COMPACT, (4,)), scale, tile=1000)(lr)
    tiles = upscaler(random_model(COMPACT, (4,)), scale, tile=24)(lr)
    assert tiles.shape == whole.shape and float((tiles - whole).abs().max()) <= EQUAL


def test_the_smallest_factor_that_is_enough_is_taken() -> None:
    model = random_model({'type': 'VDSR', 'num_feat': 4, 'num_block': 1}, (2, 3, 4), 1)
    assert [upscaler(model, scale).native for scale in (None, 1.5, 2, 2.5, 4, 7)] == [4, 2, 2, 3, 4, 4]


@pytest.mark.parametrize('channels', [1, 3])
def test_a_grey_picture_is_a_colour_picture_that_is_grey(channels: int) -> None:
    model = random_model({'type': 'VDSR', 'num_in_ch': channels, 'num_feat': 8, 'num_block': 3}, (2,), channels)
    model.network.output.weight.data *= 0.2
    grey = 0.25 + 0.5 * picture(20, 25, 1)  # nothing is clipped
    colours = upscaler(model)(grey.expand(-1, 3, -1, -1))
    weights = torch.tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1) / 219
    assert float((upscaler(model)(grey) - (colours * weights).sum(1, keepdim=True)).abs().max()) < 2e-6
    assert upscaler(model)(grey).shape == (1, 1, 40, 50)


def test_of_colours_a_network_of_y_changes_y_alone() -> None:
    model = random_model({'type': 'VDSR', 'num_feat': 8, 'num_block': 3}, (3,), 1)
    model.network.output.weight.data *= 0.2
    lr = 0.25 + 0.5 * picture(20, 25)  # nothing is clipped
    chroma = rgb_to_ycbcr(upscaler(model)(lr))[:, 1:]
    assert float((chroma - bicubic_resize(rgb_to_ycbcr(lr)[:, 1:], 3)).abs().max()) < 1e-6


@pytest.mark.parametrize('channels', [2, 4])
def test_alpha_is_enlarged_by_bicubic_and_changes_no_colour(channels: int) -> None:
    model = random_model(COMPACT, (4,))
    lr, alpha = picture(20, 25, 1 if channels == 2 else 3), (picture(20, 25, 1) > 0.4).float()
    output = upscaler(model)(torch.cat([lr, alpha], 1))
    assert torch.equal(output[:, :-1], upscaler(model)(lr))
    assert float((output[:, -1:] - bicubic_resize(alpha, 4).clamp(0, 1)).abs().max()) < 1e-6


def test_several_images_are_enlarged_as_one_is() -> None:
    model = random_model(COMPACT, (4,))
    lr = torch.cat([picture(20, 25), picture(20, 25).flip(-1)])
    assert torch.equal(upscaler(model)(lr)[1:], upscaler(model)(lr[1:]))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_strips_are_the_picture_in_whole_numbers(dtype: type, channels: int) -> None:
    given = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (50, 41, channels)).astype(dtype)
    done: list[int] = []
    scaling = upscaler(model_of(Nearest(3), (3,)), tile=16)
    plan = scaling.plan(50, 41, channels)
    strips = list(scaling.strips(given, plan, np.dtype(dtype), lambda: done.append(1)))
    made = np.concatenate(strips)
    assert len(strips) == len(plan.rows) > 1 and len(done) == len(plan)
    expected = given.repeat(3, 0).repeat(3, 1)
    colours = channels - (channels in (2, 4))
    assert made.dtype == dtype
    # Grey is the sum of three weighted channels: fp32 tells 16 bits apart, just.
    assert np.abs(made[..., :colours].astype(int) - expected[..., :colours]).max() <= (dtype is np.uint16)


def test_8_bits_of_16() -> None:
    given = np.arange(0, 65536, 64, np.uint16).reshape(32, 32, 1)
    scaling = upscaler(model_of(Nearest(2)))
    (made,) = scaling.strips(given, scaling.plan(32, 32, 1), np.dtype(np.uint8))
    assert made.dtype == np.uint8 and np.abs(made[::2, ::2] - given / 257).max() <= 0.51


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3), (5, 40)])
def test_small_pictures_are_mirrored_up_to_what_a_network_takes(size: tuple[int, int]) -> None:
    """RLFN takes 15x15 at least, SwinIR multiples of 8."""
    for options in ({'type': 'RLFN', 'num_feat': 8, 'num_block': 1, 'esa_channels': 4, 'upscale': 2},
                    LOCAL['SwinIR, which takes multiples of 8'][0], COMPACT):  # fmt: skip
        scale = options.get('upscale')
        output = upscaler(random_model(options, (scale,)))(picture(*size))
        assert output.shape == (1, 3, size[0] * scale, size[1] * scale) and bool(output.isfinite().all())


class TakesNone(nn.Module):
    """Enlarges nothing below 40 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 40:
            raise RuntimeError('Kernel size cannot be greater than input size')
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_picture_that_a_network_does_not_take_is_told() -> None:
    network = TakesNone()
    network.pre_upsampling = True  # so that it is not tried before
    model = model_of(network)
    model.adapter.pre_upsampling = False
    with pytest.raises(UserError, match='TakesNone does not take 20x30 pixels'):
        upscaler(model, tile=100)(picture(30, 20))


@pytest.mark.parametrize('error', [MemoryError(), RuntimeError('CUDA out of memory. Tried …')])
def test_running_out_of_memory_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of that picture, so that a folder goes on."""
    network = TakesNone()
    network.pre_upsampling = True  # so that it is not tried before
    ready = upscaler(model_of(network), tile=100)

    def fail(lr: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(ready, '_enlarge', fail)
    with pytest.raises(UserError, match='out of memory at 20x30 pixels; expected a smaller --tile, or --memory'):
        ready(picture(30, 20))


def test_auto_takes_the_whole_picture_where_it_fits() -> None:
    scaling = upscaler(random_model(COMPACT, (4,)))
    assert len(scaling.plan(200, 200)) == 1


def test_auto_takes_the_largest_tiles_that_fit() -> None:
    from vsrkd_plugin.deploy.memory import used_memory

    plans = {}
    for extra in (40, 160):
        scaling = upscaler(random_model(COMPACT, (4,)), memory_limit=used_memory() + (extra << 20))
        plans[extra] = scaling.plan(1200, 1600)
        high, wide = plans[extra].largest
        needed = scaling._bytes_of(high * wide, 3)
        assert 0.6 * scaling._budget < needed <= scaling._budget
    assert 2 * len(plans[160]) < len(plans[40])


def test_what_writing_takes_is_left() -> None:
    from vsrkd_plugin.deploy.memory import used_memory

    scaling = upscaler(random_model(COMPACT, (4,)), memory_limit=used_memory() + (100 << 20))
    free, reserved = scaling.plan(1200, 1600), scaling.plan(1200, 1600, reserved=50 << 20)
    rows = scaling.plan(1200, 1600, bytes_a_row=200_000)
    assert len(free) < len(reserved) and rows.largest[0] < free.largest[0]


def test_too_little_memory_is_told() -> None:
    with pytest.raises(UserError, match=r'1600x1200 pixels need .* at least, .* \(--memory\)'):
        upscaler(random_model(COMPACT, (4,)), memory_limit=1 << 20).plan(1200, 1600)


@pytest.mark.parametrize(('scale', 'tile'), [(0.5, 'auto'), (100, 'auto'), (2, 0)])
def test_settings_are_checked(scale: float, tile: Any) -> None:
    with pytest.raises(UserError, match='expected'):
        Upscaler(model_of(Nearest()), scale, tile)


def test_a_network_s_own_choice_of_precision_is_overridden() -> None:
    network = VDSR(num_feat=4, num_block=1, precision='bf16')
    upscaler(model_of(network, (2,), 1))
    assert network.precision == 'fp32'


def test_bf16_differs_a_little() -> None:
    lr = picture(40, 40)
    half = Upscaler(random_model(COMPACT, (4,)), precision='bf16')(lr)
    difference = float((half - upscaler(random_model(COMPACT, (4,)))(lr)).abs().max())
    assert 0 < difference < 0.03 and half.dtype == torch.float32


def test_an_unknown_device_is_told() -> None:
    with pytest.raises(UserError, match='--device nonsense'):
        choose_device('nonsense')


def test_what_sees_all_differs_less_in_larger_tiles() -> None:
    lr = picture(96, 96)
    whole = upscaler(model_of(PoolsAll()), tile=1000)(lr)
    errors = [float((upscaler(model_of(PoolsAll()), tile=tile)(lr) - whole).abs().mean()) for tile in (8, 64)]
    assert errors[1] < errors[0]


def test_parts_of_a_resizing_are_those_of_the_whole() -> None:
    for scale in (0.25, 0.4, 1.5, 3):
        whole = bicubic_matrix(40, scale)
        part = bicubic_part(40, scale, range(2, len(whole) - 1), range(0, 40))
        assert np.abs(part - whole[2:-1]).max() < 1e-12
        middle = len(whole) // 2
        inner = bicubic_part(40, scale, range(middle, middle + 1), range(10, 36))
        assert np.abs(inner[0] - whole[middle, 10:36]).max() < 1e-12
    with pytest.raises(ValueError, match='others than'):
        bicubic_part(40, 2, range(0, 10), range(3, 20))
