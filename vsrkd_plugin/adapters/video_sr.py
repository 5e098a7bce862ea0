"""Any video SR network made to look alike: an LR clip in, every frame of the SR clip out."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import UNFIT, Checkpointable, NetworkContract, innermost
from vsrkd_plugin.adapters.image_sr import in_eval_mode
from vsrkd_plugin.errors import first_line
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.ops.resize import bicubic_resize

CLIP_CHANNELS = 3  # RGB
PADDINGS = ('replicate', 'reflection', 'reflection_circle', 'circle')
_WINDOWS = (5, 7, 3, 9)  # tried in turn where nothing tells the length of a network's window


class VideoSRAdapter(nn.Module):
    """Calls a video SR network as it wants to be called; from then on the network keeps to its contract (`comply`).

    Recurrent networks take a clip `(b, t, c, h, w)` and give it enlarged; those with a sliding window take an odd
    number of frames and give the one in the middle, so that here every frame of a clip gets a window of its own. Which
    it is, and the window's length, is found out by calling it once.

    Args:
        network: the network, bare.
        scale: the factor it enlarges by; networks whose input is at HR size already (TOFlow) get LR by bicubic.
        options: what it was built with; `num_frame` among them is the window's length.
        padding: what lies before the first and behind the last frame of a clip: one of `PADDINGS`, as in BasicSR.
        lr_size: side of the frames it is tried with.
        windows_at_once: windows in one call, for the sake of memory.
        checkpointed: while training keep what goes in and out of each call alone, and compute the rest anew for the
            gradient. Recurrent networks do so frame by frame, if they have such an option (`RLSP`).

    Raises:
        ValueError: it takes no clips of any length tried, or gives another size; a padding that is not known; it is to
            be checkpointed, but is recurrent and cannot be.
    """

    def __init__(
        self,
        network: nn.Module,
        scale: int,
        options: Mapping[str, Any] | None = None,
        *,
        padding: str = 'replicate',
        lr_size: int = 16,
        windows_at_once: int = 16,
        checkpointed: bool = False,
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f'padding must be one of {", ".join(PADDINGS)}, got {padding!r}')
        self.network, self.scale, self.padding, self.windows_at_once = comply(network), scale, padding, windows_at_once
        told = NetworkContract.of(network, options).window
        self.window: int | None = None  # None: recurrent
        self.pre_upsampling = False
        self._probe([told] if told else _WINDOWS, lr_size)
        self.checkpointed = checkpointed and not self.recurrent
        if checkpointed and self.recurrent:
            inner = innermost(network)
            if not isinstance(inner, Checkpointable):
                raise ValueError(f'{type(inner).__name__} is recurrent and has no option `checkpointed`')
            inner.checkpointed = True

    @property
    def recurrent(self) -> bool:
        """Whether the network takes clips of any length."""
        return self.window is None

    def forward(self, clip: Tensor, scale: int | None = None, base: Tensor | None = None) -> Tensor:
        """Super-resolve a clip. Called as a `ImageSRAdapter` is.

        Args:
            clip: `(b, t, c, h, w)` in [0, 1].
            scale: the network's own, if given.
            base: `bicubic_resize(clip, scale)`, if it is there already.

        Returns:
            `(b, t, c, scale * h, scale * w)`, fp32, not clipped.

        Raises:
            ValueError: the clip is shorter than the network's window; another scale.
        """
        if scale not in (None, self.scale):
            raise ValueError(f'the network enlarges by {self.scale}, not by {scale}')
        b, t, c, h, w = clip.shape
        x = clip
        if self.pre_upsampling:
            x = bicubic_resize(clip, self.scale) if base is None else base
        if self.window is None:
            return self.network(x).float()
        if t < self.window:
            raise ValueError(f'a clip of {t} frames is shorter than the window of {self.window} of the network')
        windows = x[:, frame_windows(t, self.window, self.padding)].flatten(0, 1)
        frames = torch.cat([self._call(part).float() for part in windows.split(self.windows_at_once)])
        return frames.view(b, t, c, self.scale * h, self.scale * w)

    def of_window(self, window: Tensor) -> Tensor:
        """The frame in the middle of windows, enlarged; of a network with a sliding window.

        Args:
            window: `(b, window, c, h, w)` in [0, 1].

        Returns:
            `(b, c, scale * h, scale * w)`, fp32, not clipped.
        """
        return self._call(bicubic_resize(window, self.scale) if self.pre_upsampling else window).float()

    def _call(self, windows: Tensor) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(self.network, windows, use_reentrant=False)
        return self.network(windows)

    @torch.no_grad()
    def _probe(self, lengths: Any, lr_size: int) -> None:
        parameter = next(self.network.parameters(), None)
        device = None if parameter is None else parameter.device
        failures = []
        with in_eval_mode(self.network):
            for length in lengths:
                try:
                    shape = self._output_shape(torch.zeros(1, length, CLIP_CHANNELS, lr_size, lr_size, device=device))
                except UNFIT as error:
                    failures.append(f'{length} frames: {first_line(error)}')
                    continue
                side = self.scale * lr_size
                if shape in ((1, 3, side, side), (1, 3, lr_size, lr_size)):
                    if length % 2 == 0:
                        raise ValueError(f'a window has a frame in its middle: its length must be odd, got {length}')
                    self.window, self.pre_upsampling = length, shape[-1] == lr_size and self.scale > 1
                    return
                if shape == (1, length, 3, side, side):
                    return
                raise ValueError(
                    f'turns {length} frames of {lr_size}x{lr_size} into {shape}; expected (1, 3, {side}, {side}) or '
                    f'(1, {length}, 3, {side}, {side})'
                )
        raise ValueError(f'takes no clips of {lr_size}x{lr_size}: {"; ".join(failures)}')

    def _output_shape(self, x: Tensor) -> tuple[int, ...]:
        output = self.network(x)
        if not isinstance(output, Tensor):
            raise ValueError(f'gives {type(output).__name__}, expected a tensor')
        return tuple(output.shape)


def on_luma(criterion: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of Y alone, for RGB frames `(…, 3, h, w)`.

    For networks that super-resolve Y alone: errors of the chroma that they merely enlarge cannot be learned away, but
    would decide the signs of L1's gradient.
    """

    def of_luma(prediction: Tensor, target: Tensor) -> Tensor:
        return criterion(*(rgb_to_y(frames.flatten(0, -4)) for frames in (prediction, target)))

    return of_luma


def frame_windows(frames: int, length: int, padding: str = 'replicate') -> Tensor:
    """Indices of the window around each frame: `(frames, length)`.

    Args:
        frames: of the clip.
        length: of a window, odd, at most `frames`.
        padding: `replicate` the end frames; `reflection` about them; `reflection_circle`: frames of the window's other
            side, in reverse; `circle`: the same in order.
    """
    last, pad = frames - 1, length // 2
    centre = torch.arange(frames)[:, None]
    index = centre + torch.arange(length) - pad
    before, behind = {
        'replicate': (torch.zeros_like(index), torch.full_like(index, last)),
        'reflection': (-index, 2 * last - index),
        'reflection_circle': (centre + pad - index, centre - pad - (index - last)),
        'circle': (length + index, index - length),
    }[padding]
    return torch.where(index < 0, before, torch.where(index > last, behind, index))
