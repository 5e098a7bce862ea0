"""What a network does not say is found out by running it: the range of its values, the sizes that it takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin.adapters.complying import trying
from vsrkd_plugin.adapters.contract import UNFIT, UNIT_RANGE, NetworkContract, innermost
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, in_eval_mode
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.ops.resize import bicubic_resize

Range = tuple[float, float]
RANGES: tuple[Range, ...] = (UNIT_RANGE, (0.0, 255.0), (-1.0, 1.0), (-0.5, 0.5))  # in which networks are trained
# Mean absolute differences from bicubic of what a super-resolver makes of a smooth image, whose detail bicubic has all.
NEAR = 0.15  # a network that is farther away super-resolves nothing; GANs shift colours by some hundredths
# What is nearer is right: the distance of trained networks is a tenth of it, that of the nearest pixel 0.003, which a
# network at its random start comes to in a wide range, where it hardly adds to the image.
EXACT = 0.002
# Another range must bring it so many times nearer. Networks of small biases are rather near in any range: RLFN, which
# takes 0 to 255, is but 0.008 away in [0, 1].
CLEARLY = 5.0
_AS_NEAR = 1.02  # times bicubic's squared error; that of bilinear, which random networks add to, is a tenth larger
SMOOTH_SIDE = 64  # pixels: what all of BasicSR's networks take
_FRAMES = 7  # of a clip, at least

# Sides by which sizes tell of what they must be multiples, two for each: 64 or more, without another factor in common.
_MULTIPLES = {1: (67, 71), 2: (74, 82), 3: (69, 87), 4: (68, 76), 5: (65, 85), 6: (66, 78), 7: (77, 91), 8: (88, 104),
              10: (70, 110), 12: (84, 132), 16: (80, 112), 24: (72, 120), 32: (96, 160), 64: (64, 192)}  # fmt: skip


@dataclass(frozen=True)
class RangeFound:
    """In which range a network gives what a super-resolver must.

    Attributes:
        said: the range that its contract has.
        errors: mean absolute difference from bicubic on a smooth image by range, in units of white; infinite where the
            output is not finite. Of the said range alone if it fits exactly.
        best: the range that fits: the said one unless another fits clearly better; None if none does for sure.
    """

    said: Range
    errors: Mapping[Range, float]
    best: Range | None


@dataclass(frozen=True)
class SizesFound:
    """Which sizes a network takes: sides of at least `min_size` that are multiples of `size_multiple`."""

    min_size: int
    size_multiple: int


def smooth_image(channels: int, side: int = SMOOTH_SIDE) -> Tensor:
    """A smooth image, other waves in each colour: `(1, channels, side, side)`, from 0.08 to 0.68.

    Darker than mid-grey, which is 0 in a range around 0, where any network without biases gives 0.
    """
    place = torch.arange(side) / side * math.tau
    waves = [
        0.38 + 0.15 * (torch.sin(place + 2.1 * channel)[:, None] + torch.cos(place - 1.3 * channel)[None, :])
        for channel in range(channels)
    ]
    return torch.stack(waves)[None]


@torch.no_grad()
def best_value_range(adapter: ImageSRAdapter | VideoSRAdapter, scale: int) -> RangeFound:
    """In which range a trained network comes near bicubic on a smooth image.

    A network at a random start cannot be judged.

    Args:
        adapter: around the network, whose contract says its range; the network is as it was afterwards.
        scale: the factor that it enlarges by.

    Raises:
        RuntimeError, ValueError, … (`UNFIT`): it does not take such an image.
    """
    network = adapter.network
    parameter = next(network.parameters(), None)
    device = None if parameter is None else parameter.device
    if isinstance(adapter, VideoSRAdapter):
        lr = smooth_image(3)[:, None].repeat(1, max(adapter.window or 0, _FRAMES), 1, 1, 1).to(device)
    else:
        lr = smooth_image(adapter.in_channels).to(device)
    expected = bicubic_resize(lr, scale)
    said = NetworkContract.of(network).value_range
    errors: dict[Range, float] = {}
    for candidate in dict.fromkeys((said, *RANGES)):
        if errors.get(said, math.inf) <= EXACT:
            break  # large networks take their time
        with trying(network, value_range=candidate), in_eval_mode(network):
            error = float((adapter(lr, scale) - expected).abs().mean())
        errors[candidate] = error if math.isfinite(error) else math.inf
    least = min(errors, key=lambda candidate: errors[candidate])
    if errors[said] > EXACT and errors[least] <= min(EXACT, errors[said] / CLEARLY) and _gains(adapter, scale, least):
        return RangeFound(said, errors, least)
    return RangeFound(said, errors, said if errors[said] <= NEAR else None)


def _gains(adapter: ImageSRAdapter | VideoSRAdapter, scale: int, values: Range) -> bool:
    """Whether a network, in a range, is as near as bicubic to HR of edges; every trained one is nearer.

    One at its random start that adds a little to an enlarged image is near bicubic in any range that is wide enough.
    """
    network = adapter.network
    parameter = next(network.parameters(), None)
    is_video = isinstance(adapter, VideoSRAdapter)
    hr = edges(3 if isinstance(adapter, VideoSRAdapter) else adapter.in_channels, SMOOTH_SIDE * scale)
    hr = hr.to(None if parameter is None else parameter.device)
    lr = bicubic_resize(hr, 1 / scale).clamp(0, 1)
    frames = max(adapter.window or 0, _FRAMES) if isinstance(adapter, VideoSRAdapter) else 0
    with trying(network, value_range=values), in_eval_mode(network):
        output = adapter(lr[:, None].repeat(1, frames, 1, 1, 1) if is_video else lr, scale)
    middle = output[:, frames // 2] if is_video else output
    errors = [float((image - hr).square().mean()) for image in (middle, bicubic_resize(lr, scale))]
    return errors[0] < _AS_NEAR * errors[1]


def edges(channels: int, side: int) -> Tensor:
    """A disc and a turned square, anti-aliased, in greys on grey: `(1, channels, side, side)`, from 0.2 to 0.65."""
    fine = 4
    place = (torch.arange(side * fine) + 0.5) / (side * fine)
    y, x = place[:, None], place[None, :]
    picture = torch.full((side * fine, side * fine), 0.45)
    picture[(y - 0.35).square() + (x - 0.4).square() < 0.06] = 0.65
    picture[(y + 0.3 * x - 0.85).abs().maximum((x - 0.3 * y - 0.45).abs()) < 0.12] = 0.2
    return F.avg_pool2d(picture[None, None], fine).repeat(1, channels, 1, 1)


@torch.no_grad()
def smallest_size_and_multiple(network: nn.Module, frames: int | None = None) -> SizesFound | None:
    """The sizes that a network takes without padding, found by trying about ten; what its contract says of them has no
    part in it.

    Args:
        network: called with black images, or with clips.
        frames: of these clips; None for images.

    Returns:
        None if it takes none of the sizes tried, which are 192x192 at most.
    """
    inner, contract = innermost(network), NetworkContract.of(network)
    parameter = next(network.parameters(), None)
    device = None if parameter is None else parameter.device
    channels = [contract.channels] if frames is None else [frames, 3]
    arguments = {'scale': 1 if contract.pre_upsampling else 2} if contract.multi_scale else {}

    def takes(side: int) -> bool:
        try:  # `forward`, which the hooks of `comply` do not reach
            output = inner.forward(torch.zeros(1, *channels, side, side, device=device), **arguments)
        except UNFIT:
            return False
        height, width = output.shape[-2:] if isinstance(output, Tensor) and output.ndim > 3 else (0, 1)
        return height == width and height >= side and height % side == 0

    with in_eval_mode(network), torch.random.fork_rng(devices=[]):
        multiple = next((number for number, sides in _MULTIPLES.items() if all(map(takes, sides))), None)
        if multiple is None:
            return None
        # Sides from a certain one on are taken, all of their multiples: halve what is between.
        refused, taken = 0, min(_MULTIPLES[multiple]) // multiple
        while taken - refused > 1:
            middle = (refused + taken) // 2
            refused, taken = (refused, middle) if takes(middle * multiple) else (middle, taken)
    # A network that takes any multiple asks for no least size beside it.
    return SizesFound(taken * multiple if taken > 1 else 1, multiple)
