"""What an inspection tells of teachers whose nature is known, since they are made for it."""

from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection import teacher as inspecting
from vsrkd_plugin.inspection.clips import _FRAMES, _moving_photograph
from vsrkd_plugin.inspection.describing import in_words
from vsrkd_plugin.inspection.recognising import Candidate
from vsrkd_plugin.inspection.restoring import CONDITIONS, Gain, photographs, restoration
from vsrkd_plugin.inspection.teacher import inspect_module, inspect_teacher
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.zoo import resolve_weights

register()
TEACHERS = Path(__file__).parents[3] / 'shared/data/teachers'
needs_teachers = pytest.mark.skipif(not TEACHERS.is_dir(), reason='the teachers of shared/data are not here')


class Bicubic(nn.Module):
    """Enlarges by bicubic, x2, RGB, in a range of its own, and maybe more."""

    def __init__(self, low: float = 0.0, high: float = 1.0, sharpen: float = 0.0, smooth: bool = False) -> None:
        super().__init__()
        self.low, self.high, self.sharpen, self.smooth = low, high, sharpen, smooth
        self.weight = nn.Parameter(torch.ones(3, 3, 1, 1))
        # A bias that is small in its own range, and would not be in another.
        self.bias = 0.001 * (high - low)

    def forward(self, x: Tensor) -> Tensor:
        if self.smooth:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), 3, 1)
        y = bicubic_resize(x, 2) + self.bias
        if self.sharpen:
            blurred = F.avg_pool2d(F.pad(y, (1, 1, 1, 1), mode='reflect'), 3, 1)
            y = y + self.sharpen * (y - blurred)
        return y.clamp(self.low, self.high)


def test_a_network_that_is_bicubic_gains_nothing_and_is_warned_of() -> None:
    found = inspect_module(Bicubic())
    assert found.scales == (2,) and found.channels == 3
    assert all(abs(gain.gain) < 0.7 for gain in found.gains)
    assert not found.is_sharpened
    assert found.degrade is None
    assert 'no better than bicubic, nor sharper' in in_words(found)


def test_a_network_that_sharpens_is_told_apart() -> None:
    found = inspect_module(Bicubic(sharpen=3.0))
    assert found.is_sharpened
    assert 'trained with a GAN, or alike' in in_words(found)


def test_a_network_that_smooths_is_for_noisy_images() -> None:
    found = inspect_module(Bicubic(smooth=True))
    assert any(name.startswith('noise') for name in found.answers)
    assert 'noise_range' in (found.degrade or {})


def test_one_that_is_not_for_noise_proposes_none() -> None:
    assert inspect_module(Bicubic(sharpen=1.0)).degrade is None


def test_the_range_is_found_out() -> None:
    found = inspect_module(Bicubic(0.0, 255.0))
    assert found.value_range == (0.0, 255.0)
    assert found.contract['value_range'] == [0.0, 255.0]


def test_a_range_that_is_said_is_kept() -> None:
    found = inspect_module(Bicubic(0.0, 255.0), contract={'value_range': [0, 255]})
    assert found.value_range == (0.0, 255.0)


def test_gains_are_measured_as_papers_do() -> None:
    """Bicubic itself gains nothing, whatever the condition, and is as steady as itself."""
    hr = photographs(24, 2, 2)
    for gain in restoration(lambda lr: bicubic_resize(lr, 2), hr, 2, 3, CONDITIONS):
        assert gain.gain == pytest.approx(0, abs=1e-3)
        assert gain.steadiness == pytest.approx(0, abs=1e-3)
    noisy, clean = (
        restoration(lambda lr: bicubic_resize(lr, 2), hr, 2, 3, {name: CONDITIONS[name]})[0]
        for name in ('noise 25', 'clean')
    )
    assert noisy.bicubic < clean.bicubic - 1


def test_hr_itself_has_a_gain_without_bounds() -> None:
    hr = photographs(24, 2, 1)
    (gain,) = restoration(lambda lr: hr, hr, 2, 3, {'clean': {}})
    assert gain.network == 100.0 and isinstance(gain, Gain)


def test_photographs_may_be_larger_than_there_are() -> None:
    assert photographs(600, 2, 1).shape == (1, 3, 1200, 1200)


def saved(tmp_path: Path, options: dict) -> str:
    torch.manual_seed(0)
    path = tmp_path / 'teacher.pth'
    torch.save({'params': build_network(dict(options)).state_dict()}, path)
    return str(path)


def test_random_weights_are_warned_of(tmp_path: Path) -> None:
    path = saved(tmp_path, {'type': 'MSRResNet', 'num_feat': 16, 'num_block': 2, 'upscale': 2})
    found = inspect_teacher(path)
    assert any('no better than bicubic, nor sharper' in warning for warning in found.warnings)


def test_a_denoiser_is_refused_and_may_be_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 32, 'out_channels': 3, 'num_block': 1})
    with pytest.raises(UserError, match=r'scale 1\): it restores'):
        inspect_teacher(path)
    assert inspect_teacher(path, allow_restoration=True).scales == (1,)


def test_windows_are_found_out(tmp_path: Path) -> None:
    options = {'type': 'SwinIR', 'img_size': 16, 'in_chans': 3, 'embed_dim': 12, 'depths': [2], 'num_heads': [2],
               'window_size': 8, 'mlp_ratio': 2, 'upsampler': 'pixelshuffledirect', 'upscale': 2}  # fmt: skip
    found = inspect_teacher(saved(tmp_path, options))
    assert found.size_multiple == 8
    assert 'multiples of 8' in in_words(found)


def test_weights_that_overflow_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path, {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 2})
    weights = torch.load(path)['params']
    torch.save({'params': {name: value * 1e30 for name, value in weights.items()}}, path)
    with pytest.raises(UserError, match='not finite'):
        inspect_teacher(path)


def test_a_module_must_enlarge_as_asked() -> None:
    with pytest.raises(UserError, match='Bicubic enlarges by 2, not by 4'):
        inspect_module(Bicubic(), scale=4)


def test_an_inspection_leaves_a_module_as_it_is() -> None:
    network = Bicubic(0.0, 255.0).train()
    before = dict(vars(network))
    inspect_module(network)
    assert network.training and vars(network).keys() == before.keys()
    assert not network._forward_pre_hooks and network.weight.requires_grad


def test_a_video_network_is_for_the_lr_that_it_was_trained_for() -> None:
    found = inspect_teacher('zoo:rlsp_x4')
    assert found.is_video and found.window is None and found.scales == (4,)
    assert found.clip_degradation == 'blur'
    assert found.by_condition['blur'].gain > 1 > found.by_condition['bicubic'].gain


def test_the_package_s_teacher_is_found_out() -> None:
    found = inspect_teacher('zoo:vdsr_x234')
    assert resolve_weights(found.path).is_file()
    assert found.options == {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 64, 'num_block': 18}
    assert found.scales == (2, 3, 4) and found.channels == 1 and found.params == 664_704
    assert found.by_condition['clean'].gain > 1 and not found.is_sharpened and found.degrade is None


@needs_teachers
@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('realesr-animevideov3', ('SRVGGNetCompact', (4,), 3, (0.0, 1.0), 621_424, True, True)),
        ('imdn_x4', ('IMDN', (4,), 3, (0.0, 1.0), 715_176, False, False)),
        ('rlfn_x4', ('RLFN', (4,), 3, (0.0, 255.0), 543_740, False, False)),
    ],
)
def test_public_teachers_are_found_out(name: str, expected: tuple) -> None:
    found = inspect_teacher(str(TEACHERS / f'{name}.pth'))
    assert expected == (found.options['type'], found.scales, found.channels, found.value_range, found.params,
                        found.is_sharpened, found.degrade is not None)  # fmt: skip
    assert found.macs_per_megapixel == pytest.approx(found.params / 16 * 1e6, rel=0.15)


def test_json_has_all_of_it() -> None:
    found = inspect_module(Bicubic()).as_json()
    assert {'options', 'scales', 'channels', 'value_range', 'gains', 'params', 'is_sharpened'} <= found.keys()
    assert found['gains']['clean'].keys() >= {'network', 'bicubic', 'gain'}
    assert 'candidate' not in found


def test_a_family_that_its_author_ranges_otherwise(tmp_path: Path) -> None:
    """The arguments that shapes leave open are tried: img_range of EDSR."""
    options = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 1, 'upscale': 2,
               'img_range': 1.0, 'rgb_mean': (0.0, 0.0, 0.0)}  # fmt: skip
    torch.manual_seed(1)
    network = build_network(dict(options))
    assert 'EDSR' in {key.removesuffix('_basicsr') for key, _ in ARCH_REGISTRY}
    with torch.no_grad():  # a network that copies its input, in whatever range: a bias tells them apart
        for parameter in network.parameters():
            parameter.zero_()
        for colour in range(3):
            network.conv_first.weight[colour, colour, 1, 1] = 1
            for sub in range(4):
                network.upsample[0].weight[4 * colour + sub, colour, 1, 1] = 1
            network.conv_last.weight[colour, colour, 1, 1] = 1
        network.conv_last.bias.fill_(0.02)
        network.body[0].conv2.bias.fill_(0.01)
    path = tmp_path / 'edsr.pth'
    torch.save({'params': network.state_dict()}, path)
    found = inspect_teacher(str(path))
    assert found.options['img_range'] in (1.0, 255.0)
    assert found.by_condition['clean'].network > 20


@pytest.mark.parametrize('scale', [1, 2, 3, 4, 8])
def test_a_photograph_in_motion_is_whole_at_every_scale(scale: int) -> None:
    assert _moving_photograph(scale).shape == (_FRAMES, 3, 64 * scale, 64 * scale)


def save(path: Path, network: nn.Module) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def test_a_video_network_of_two_times_is_measured(tmp_path: Path) -> None:
    network = build_network({'type': 'RLSP', 'num_feat': 8, 'num_layer': 3, 'upscale': 2})
    found = inspect_teacher(save(tmp_path / 't.pth', network))
    assert found.is_video and found.scales == (2,) and len(found.gains) == 2


class Unshuffling(nn.Module):
    """Reads 4x4 pixels as channels, which no attribute tells; x2."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(48, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.layer(F.pixel_unshuffle(x, 4)), 8)


class OfThreeFrames(nn.Module):
    """A video network of a window of three frames; x2."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(9, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError('expected three frames')
        return F.pixel_shuffle(self.layer(x.flatten(1, 2)), 2)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (Unshuffling, OfThreeFrames):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, cls.__name__, cls)


def test_a_network_that_unshuffles_its_input_takes_rgb(own: None, tmp_path: Path) -> None:
    found = inspect_teacher(save(tmp_path / 't.pth', Unshuffling()), {'type': 'Unshuffling'})
    assert found.channels == 3 and found.scales == (2,)
    assert found.contract == {'channels': 3, 'size_multiple': 4}


def test_a_video_network_of_one_s_own_is_found_to_be_one(own: None, tmp_path: Path) -> None:
    found = inspect_teacher(save(tmp_path / 't.pth', OfThreeFrames()), {'type': 'OfThreeFrames'})
    assert found.is_video and found.scales == (2,) and found.window == 3


def test_one_way_to_build_a_network_that_fails_does_not_refuse_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = (Candidate({'type': name}, {}, network=Bicubic()) for name in ('good', 'bad'))
    for part in (bad.network.weight, good.network.weight):
        part.requires_grad_(False)
    bad.network.forward = lambda x: x[..., :3]
    monkeypatch.setattr(inspecting, 'read_weights', lambda path: {})
    monkeypatch.setattr(inspecting, 'recognise', lambda path, weights: [bad, good])
    assert inspect_teacher('t.pth').options['type'] == 'good'
    monkeypatch.setattr(inspecting, 'recognise', lambda path, weights: [bad, bad])
    with pytest.raises(UserError, match='the bad that it fits'):
        inspect_teacher('t.pth')


class AtHRSize(nn.Module):
    """As SRCNN: its input is enlarged before, which it does not say."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * self.layer(x)


def test_a_network_that_works_at_hr_size_serves_every_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'AtHRSize', AtHRSize)
    file = save(tmp_path / 't.pth', AtHRSize())
    with pytest.raises(UserError, match=r"--contract '\{pre_upsampling: true\}' says"):
        inspect_teacher(file, {'type': 'AtHRSize'})
    found = inspect_teacher(file, {'type': 'AtHRSize'}, {'pre_upsampling': True})
    assert found.scales == (2, 3, 4) and found.channels == 1


def test_the_range_of_a_network_that_sharpens_is_found_out_by_a_photograph() -> None:
    """On a smooth image such a network is near bicubic in no range."""

    class Sharpens(Bicubic):
        def forward(self, x: Tensor) -> Tensor:
            span = self.high - self.low
            contrast = super().forward(x) - 0.35 * span
            return (0.37 * span + 1.15 * contrast).clamp(self.low, self.high)

    found = inspect_module(Sharpens(0.0, 255.0))
    assert found.value_range == (0.0, 255.0)


def test_a_network_in_half_precision_is_tried_in_full_and_left_as_it_is() -> None:
    torch.manual_seed(0)
    network = build_network({'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 2}).half().train()
    found = inspect_module(network)
    assert found.scales == (2,) and next(network.parameters()).dtype == torch.float16 and network.training
