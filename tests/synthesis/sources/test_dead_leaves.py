import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from vsrkd_plugin.ops.blur import blur_subsample
from vsrkd_plugin.ops.resize import bicubic_resize
from vsrkd_plugin.synthesis.sources.dead_leaves import _blur, render_image, render_images, render_levels


@pytest.fixture(scope='module')
def images() -> torch.Tensor:
    return render_images(3, range(96), 96, 1)


def _spectrum_slope(images: np.ndarray) -> float:
    """Slope of log power over log frequency, mean over `(n, s, s)`, between 0.03 and 0.3 cycles a pixel."""
    side = images.shape[-1]
    window = np.hanning(side)[:, None] * np.hanning(side)
    centred = (images - images.mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    edges = np.geomspace(0.03, 0.3, 8)
    bins = [power[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(bins), 1)[0]


@pytest.mark.parametrize(('size', 'channels'), [(96, 1), (48, 3), (31, 2), (1, 1)])
def test_shape_range_and_levels(size, channels):
    images = render_images(0, range(5), size, channels)
    assert images.shape == (5, channels, size, size)
    assert images.dtype == torch.float32
    assert images.device.type == 'cpu'
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, render_levels(0, range(5), size, channels).float() / 255)


@pytest.mark.parametrize('channels', [1, 3])
def test_image_is_the_same_in_every_batch(channels):
    together = render_images(7, range(20), 64, channels)
    apart = render_images(7, [13, 2, 13], 64, channels)
    assert torch.equal(apart, together[[13, 2, 13]])
    assert torch.equal(render_image(7, 5, 64, channels), together[5])


def test_image_does_not_depend_on_threads_or_global_state():
    threads = torch.get_num_threads()
    expected = render_levels(1, range(12), 96, 3)
    try:
        torch.set_num_threads(1)
        torch.manual_seed(5)
        np.random.seed(5)
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
        assert torch.equal(render_levels(1, range(12), 96, 3), expected)
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)
    finally:
        torch.set_num_threads(threads)


def test_seeds_and_indices_give_other_images():
    images = render_images(0, range(10), 48, 1).flatten(1)
    others = render_images(1, range(10), 48, 1).flatten(1)
    everything = torch.cat([images, others])
    assert len(torch.unique(everything, dim=0)) == 20


def test_spectrum_is_like_that_of_photographs(images):
    # 1/f^2 for ideal dead leaves; blur and reduction make it a little steeper, as a lens does.
    assert -3.0 < _spectrum_slope(images[:, 0].numpy()) < -1.8


def test_images_are_varied(images):
    deviation = images.flatten(1).std(1)
    assert deviation.min() > 0.01  # never empty
    assert 0.08 < deviation.median() < 0.3
    mean = images.flatten(1).mean(1)
    assert mean.min() < 0.35 and mean.max() > 0.65
    saturated = ((images == 0) | (images == 1)).float().mean()
    assert saturated < 0.15
    gradient = (images[..., 1:] - images[..., :-1]).abs().flatten(1)
    assert (gradient < 0.02).float().mean() > 0.3  # flat regions
    assert (gradient > 0.1).float().mean() > 0.03  # sharp edges


def test_channels_are_correlated_but_not_equal():
    colours = render_images(0, range(32), 48, 3).permute(1, 0, 2, 3).flatten(1)
    correlation = torch.corrcoef(colours)[torch.triu_indices(3, 3, 1).unbind(0)]
    assert correlation.min() > 0.5
    assert correlation.max() < 0.999


@pytest.mark.parametrize('sigma', [0.3, 0.8, 2.4])
def test_reduction_is_blur_then_bicubic(sigma):
    x = torch.rand(2, 40, 36, dtype=torch.float64)
    blurred = blur_subsample(x, 1, sigma)
    assert np.allclose(_blur(x.numpy(), sigma), blurred, atol=1e-12)
    assert np.allclose(_blur(x.numpy(), sigma, 2), bicubic_resize(blurred, 0.5), atol=1e-12)


def test_no_images():
    assert render_images(0, [], 32, 3).shape == (0, 3, 32, 32)


@pytest.mark.parametrize('arguments', [(0, [0], 0, 1), (0, [0], 32, 0), (-1, [0], 32, 1), (0, [1, -1], 32, 1)])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError):
        render_images(*arguments)


def test_rendering_is_fast():
    render_levels(0, range(2), 96, 1)
    start = time.process_time()
    render_levels(0, range(2, 34), 96, 1)
    assert (time.process_time() - start) / 32 < 0.05  # 0.004 s on one idle core: a wide margin
