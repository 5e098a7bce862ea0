"""RLSP (Fuoli et al., ICCVW 2019, 'Efficient Video Super-Resolution through Recurrent Latent Space Propagation')."""

from collections.abc import Sequence

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vsrkd_plugin.ops.colour import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from vsrkd_plugin.ops.low_rank import Layer, set_weight
from vsrkd_plugin.ops.resize import bicubic_resize

# Levels to one unit inside a normalised network: of a frame, of a difference, of what is added to Y.
_FRAME, _DIFFERENCE, _ADDED = 64.0, 16.0, 64.0
_RANDOM_SHARE = 0.1  # of the initial weights of a normalised network's hidden layers; the rest is an identity


@ARCH_REGISTRY.register()
class RLSP(nn.Module):
    """A recurrent network that hands a hidden state and its own last result from frame to frame.

    For each frame a chain of convolutions reads three LR frames (last, this, next), the hidden state and the last
    result, and gives the next state and what is to be added to this frame's Y, at LR size with `upscale²` channels.
    Chroma is enlarged by bicubic. Values inside are levels of 0 … 255, unless `normalised`, as the public weights want
    them; their keys are `layer{i}.weight` and `layer{i}.bias`.

    Neighbouring frames are nearly alike, so that a network started at random hardly sees what differs in them and
    learns from each frame alone for thousands of steps. `normalised` lets it read, in units of about 1, this frame and
    how the last one, the next one and the last result differ from it; a linear map of the same inputs, so that, but for
    the first frame and the borders, it can express what the plain network can. Its hidden layers start near identities.
    Its state dict has one key more (`mixing`) and does not fit a plain network.

    Args:
        num_feat: channels of the hidden layers and of the state. Default 64.
        num_layer: layers between input and state; a last one beside the state's makes the result. Default 7.
        upscale: the factor. Default 4.
        centred: where LR pixels lie: in the middle of the HR pixels that they stand for, as bicubic reduction makes
            them (BI), or, if false, on the first of these (BD: every `upscale`-th pixel of blurred frames).
        checkpointed: while training, keep only the states between frames and compute the rest anew for the gradient:
            long clips take less memory, and a third more time.
        normalised: read differences between frames; for networks that are trained from a random start.

    Raises:
        ValueError: an argument below 1 (`num_layer`: 2).
    """

    recurrent = True
    num_in_ch = 3  # RGB; its first layer reads more
    frames_before = frames_behind = 1  # that a step reads beside its frame
    mixing: Tensor  # of normalised networks alone: what `_mixing` gives

    def __init__(
        self,
        *,
        num_feat: int = 64,
        num_layer: int = 7,
        upscale: int = 4,
        centred: bool = False,
        checkpointed: bool = False,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        if num_feat < 1 or num_layer < 2 or upscale < 1:
            raise ValueError(
                f'num_feat and upscale must be at least 1 and num_layer 2, got {num_feat}, {upscale} and {num_layer}'
            )
        self.num_feat, self.num_layer, self.upscale, self.checkpointed = num_feat, num_layer, upscale, checkpointed
        self.centred, self.normalised = centred, normalised
        self.state_channels = (num_feat, upscale**2)  # of what `frame_step` hands on
        self.active_blocks = num_layer - 2  # of `growing_blocks`, the rest is skipped
        widths = [3 * 3 + num_feat + upscale**2, *[num_feat] * num_layer]
        for index in range(num_layer):
            self.add_module(f'layer{index}', nn.Conv2d(widths[index], num_feat, 3, padding=1))
        self.add_module(f'layer{num_layer}', nn.Conv2d(num_feat, upscale**2, 3, padding=1))
        for layer in self.layers():
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            _clear_bias(layer)
        with torch.no_grad():  # starts as the enlargement by repetition
            self.layers()[-1].weight.mul_(0.01)
            if normalised:
                self.layers()[-1].weight.mul_(2)
                for layer in self.layers()[1:-1]:
                    identity = nn.init.dirac_(torch.empty_like(layer.weight))
                    layer.weight.mul_(_RANDOM_SHARE).add_(identity, alpha=1 - _RANDOM_SHARE)
        if normalised:
            self.register_buffer('mixing', _mixing())
        self.to(memory_format=torch.channels_last)

    def layers(self) -> list[Layer]:
        """The convolutions in order; the last two both read what the one before them gives."""
        return [layer for layer in self.children() if isinstance(layer, Layer)]

    def growing_blocks(self) -> list[Layer]:
        """The convolutions that are alike: all but the first and the last two."""
        return self.layers()[1:-2]

    @staticmethod
    def reset_block_to_identity(block: Layer) -> None:
        """Pass on what comes in, which ReLU has made positive; of low rank, as many channels as that."""
        set_weight(block, nn.init.dirac_(torch.empty_like(block.weight)))
        _clear_bias(block)

    def start(self, luma: Tensor) -> tuple[Tensor, Tensor]:
        """State and last result before the first frame, whose Y is given, `(b, 1, h, w)`."""
        b, _, h, w = luma.shape
        result = luma.new_zeros(b, self.upscale**2, h, w)
        return luma.new_zeros(b, self.num_feat, h, w), result + luma if self.normalised else result

    def read(self, frames: Tensor, luma: Tensor, state: Tensor, result: Tensor) -> Tensor:
        """What the first layer reads: `(b, 9 + num_feat + upscale², h, w)`; arguments as of `step`."""
        return torch.cat([frames, state, (result - luma) / _DIFFERENCE if self.normalised else result], 1)

    def add(self, luma: Tensor, added: Tensor) -> Tensor:
        """Y of a frame's SR, unshuffled, levels: LR's Y and what the last layer gives."""
        return luma + (_ADDED * added.float() if self.normalised else added.float())

    def step(self, frames: Tensor, luma: Tensor, state: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
        """One frame.

        Args:
            frames: what `inputs` makes of the last, this and the next LR frame, `(b, 9, h, w)`.
            luma: Y of this frame, levels, `(b, 1, h, w)`.
            state: `(b, num_feat, h, w)`.
            result: of the last frame, unshuffled, levels, `(b, upscale², h, w)`.

        Returns:
            The new state, and Y of this frame's SR, unshuffled; levels.
        """
        *chain, to_state, to_result = self.layers()
        x = self.read(frames, luma, state, result)
        for layer in chain[: 1 + self.active_blocks]:
            x = F.relu(layer(x))
        return F.relu(to_state(x)), self.add(luma, to_result(x))

    def inputs(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """What does not depend on the network's own past: the three frames that are read for each, and their Y.

        Args:
            clip: RGB, `(b, t, 3, h, w)` in [0, 1].

        Returns:
            `(b, t, 9, h, w)` (end frames repeated; levels of 0 … 255, or, normalised, this frame and differences from
            it in units of about 1) and Y, `(b, t, 1, h, w)`, levels.
        """
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(f'RLSP takes RGB clips (b, t, 3, h, w), got shape {tuple(clip.shape)}')
        levels = 255 * (clip if clip.dtype == torch.float64 else clip.float())
        before, behind = levels[:, [0, *range(clip.shape[1] - 1)]], levels[:, [*range(1, clip.shape[1]), -1]]
        luma = 255 * rgb_to_y(clip.flatten(0, 1))
        frames = self._mixed(torch.cat([before, levels, behind], 2))
        return frames, luma.view(*clip.shape[:2], 1, *clip.shape[3:])

    def _mixed(self, frames: Tensor) -> Tensor:
        """What is read of three frames next to each other, `(…, 9, h, w)`, levels."""
        if not self.normalised:
            return frames
        with torch.autocast(frames.device.type, enabled=False):  # differences of bf16 would be mostly rounding
            return (self.mixing.to(frames) @ frames.flatten(-2)).view(frames.shape)

    def frame_step(self, frames: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One frame of a clip, from RGB to RGB; frame after frame gives what `forward` gives of the clip.

        Args:
            frames: the last, this and the next LR frame, `(b, 3, 3, h, w)` in [0, 1]; at a clip's ends the end frame
                stands for the one that is missing.
            state: what the step before gave, or zeros of `state_channels` channels, `(b, c, h, w)`.

        Returns:
            SR, `(b, 3, upscale * h, upscale * w)`, fp32, not clipped, and the next state: the hidden one, and the last
            result (normalised: what was added to Y), so that zeros are right for the first frame.
        """
        before, luma = (255 * rgb_to_y(frames[:, index]) for index in (0, 1))
        hidden, result = state
        x = self._mixed(255 * (frames if frames.dtype == torch.float64 else frames.float()).flatten(1, 2))
        hidden, result = self.step(x, luma, hidden, result + before if self.normalised else result)
        sr = self._with_chroma(F.pixel_shuffle(result, self.upscale) / 255, frames[:, 1])
        return sr, (hidden, result - luma if self.normalised else result)

    def luma(self, x: Tensor) -> Tensor:
        """Y of the SR clip: `(b, t, 3, h, w)` in [0, 1] to `(b, t, 1, upscale * h, upscale * w)`, fp32, not clipped."""
        frames, luma = self.inputs(x)
        state, result = self.start(luma[:, 0])
        results = []
        for i in range(x.shape[1]):
            if self.checkpointed and torch.is_grad_enabled():
                state, result = checkpoint(self.step, frames[:, i], luma[:, i], state, result, use_reentrant=False)
            else:
                state, result = self.step(frames[:, i], luma[:, i], state, result)
            results.append(F.pixel_shuffle(result, self.upscale))
        return torch.stack(results, 1) / 255

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve a clip: RGB `(b, t, 3, h, w)` in [0, 1] to `(b, t, 3, upscale * h, upscale * w)`, not clipped.

        Raises:
            ValueError: not a clip of RGB frames.
        """
        rgb = self._with_chroma(self.luma(x).flatten(0, 1), x.flatten(0, 1))
        return rgb.view(*x.shape[:2], *rgb.shape[1:])

    def _with_chroma(self, luma: Tensor, lr: Tensor) -> Tensor:
        """RGB of SR's Y and of the chroma of LR frames, `(n, 3, h, w)`."""
        chroma = bicubic_resize(rgb_to_ycbcr(lr)[:, 1:], self.upscale, from_corner=not self.centred)
        return ycbcr_to_rgb(torch.cat([luma, chroma], 1))


def _clear_bias(layer: Layer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _mixing() -> Tensor:
    """What a normalised network makes of the last, this and the next frame's RGB: `(9, 9)`.

    Of each frame brightness and two differences of colours; of this frame as they are, of the others less this frame's.
    """
    # The first row is Y's weights (BT.601), scaled to a sum of 1.
    colours = torch.tensor([[0.2990, 0.5870, 0.1140], [1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]])
    this, differing = torch.diag(torch.tensor([1.0, 2.0, 2.0])) @ colours / _FRAME, colours / _DIFFERENCE
    none = torch.zeros(3, 3)
    return torch.cat(
        [
            torch.cat([differing, -differing, none], 1),
            torch.cat([none, this, none], 1),
            torch.cat([none, -differing, differing], 1),
        ]
    )
