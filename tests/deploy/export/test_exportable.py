"""What is exported is what the model does, hooks and all, and the model stays as it is."""

import copy

import pytest
import torch
from deploy.export.tiny_models import COMPACT, RLSP, VDSR, Picky, model, pictures

from vsrkd_plugin.adapters.complying import complies
from vsrkd_plugin.deploy.export.exportable import chosen_scale, of_image_model, of_recurrent_model
from vsrkd_plugin.deploy.recurrent_step import run_steps
from vsrkd_plugin.errors import UserError


@pytest.mark.parametrize('size', [(3, 5), (12, 16), (13, 27), (40, 17)])
def test_range_and_padding_are_in_the_module(size: tuple[int, int]) -> None:
    picky = model({'type': 'Picky'}, network=Picky())
    exportable = of_image_model(picky, 2)
    x = pictures(2, 3, *size)
    expected = picky.adapter(x, 2)
    torch.testing.assert_close(exportable.module(x), expected, rtol=0, atol=1e-6)
    assert exportable.pads and exportable.fitting(13) == 16 and exportable.fitting(3) == 12
    with pytest.raises(RuntimeError):  # it is the padding that makes odd sizes work
        exportable.copied(pads=False)(pictures(2, 3, 13, 27))


def test_the_model_keeps_its_hooks() -> None:
    picky = model({'type': 'Picky'}, network=Picky())
    before = copy.deepcopy(picky.network.state_dict())
    exportable = of_image_model(picky, 2)
    for parameter in exportable.module.parameters():
        parameter.data.zero_()
    assert complies(picky.network) and picky.adapter(pictures(1, 3, 13, 27), 2).shape[-2:] == (26, 54)
    assert all(torch.equal(value, before[name]) for name, value in picky.network.state_dict().items())


@pytest.mark.parametrize('scale', [2, 3])
def test_bicubic_is_in_the_module_and_rgb_where_it_is_asked_for(scale: int) -> None:
    luma = model(VDSR, (2, 3))
    x = pictures(1, 3, 9, 14)
    rgb = of_image_model(luma, scale, rgb=True)
    torch.testing.assert_close(rgb.module(x), luma.adapter(x, scale), rtol=0, atol=1e-6)
    assert rgb.header.channels == 3 and rgb.header.scales == (scale,)
    torch.testing.assert_close(of_image_model(luma, scale).module(x[:, :1]), luma.adapter(x[:, :1], scale))


def test_a_step_s_samples_are_frames_in_turn_with_the_state_that_the_step_left() -> None:
    exportable = of_recurrent_model(model(RLSP))
    samples = list(exportable.samples(6, 10, 12))
    assert all(not state.any() for state in (*samples[0][1:], *samples[4][1:]))  # a clip has four frames
    windows = torch.stack([frames[0] for frames, *_ in samples[:4]])
    assert torch.equal(windows[0, 0], windows[0, 1]) and torch.equal(windows[1, 2], windows[2, 1])
    step = exportable.module
    whole = run_steps(step, windows[None, :, 1])  # type: ignore[arg-type]
    torch.testing.assert_close(step(*samples[3])[0], whole[:, 3], rtol=0, atol=1e-5)


def test_a_scale_must_be_one_of_the_model_s() -> None:
    several = model(VDSR, (2, 3))
    assert chosen_scale(several, 3) == 3 and chosen_scale(model(COMPACT), None) == 2
    with pytest.raises(UserError, match=r'tiny\.pth: enlarges by 2, 3; a file has one scale: name it'):
        chosen_scale(several, None)
    with pytest.raises(UserError, match=r'tiny\.pth: enlarges by 2, 3, not by 4'):
        chosen_scale(several, 4)


def test_a_network_that_has_no_step_is_told() -> None:
    with pytest.raises(UserError, match='cannot be called for one frame at a time'):
        of_recurrent_model(model(COMPACT))
