"""A recurrent network as one step: a frame, its neighbours and the state in, the SR frame and the next state out."""

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import needs_hooks
from vsrkd_plugin.adapters.contract import FrameByFrame, NetworkContract, innermost


class RecurrentStep(nn.Module):
    """One frame of a recurrent network that goes through time in one direction; shares its weights.

    Called frame after frame, with the state that the call before gave, it gives what the network gives of the whole
    clip; so a film needs no more memory than its frames, and an exported file has the state as input and output.

    Args:
        network: one that `can_step`, bare or wrapped.

    Raises:
        ValueError: the network cannot be called so.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not can_step(network):
            raise ValueError(f'{type(innermost(network)).__name__} cannot be called for one frame at a time')
        inner = innermost(network)
        assert isinstance(inner, FrameByFrame)
        self.network = inner
        self.frames_before, self.frames_behind = inner.frames_before, inner.frames_behind
        self.state_channels = tuple(inner.state_channels)

    @property
    def window(self) -> int:
        """Frames that one call reads."""
        return self.frames_before + 1 + self.frames_behind

    def initial_state(self, frame: Tensor) -> tuple[Tensor, ...]:
        """The state before the first frame of a clip, zeros of LR's size.

        Args:
            frame: one whose batch, height, width, device and type it is to have: `(b, …, h, w)`.
        """
        sides = frame.shape[0], *frame.shape[-2:]
        return tuple(frame.new_zeros(sides[0], channels, *sides[1:]) for channels in self.state_channels)

    def forward(self, frames: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One frame.

        Args:
            frames: the frame with its neighbours, `(b, window, 3, h, w)` in [0, 1], in order of time; what a clip has
                not is its end frame, repeated.
            state: what the last call gave, or `initial_state`: `(b, c, h, w)` for each `c` of `state_channels`.

        Returns:
            SR, `(b, 3, scale * h, scale * w)`, fp32, not clipped; then the next state, as many tensors as came in.
        """
        sr, following = self.network.frame_step(frames, state)
        return (sr, *following)


def can_step(network: nn.Module) -> bool:
    """Whether a network can be called for one frame at a time: it has a `frame_step`, and takes [0, 1] and any size.

    Of those here `RLSP` can. Networks that read a clip in both directions (BasicVSR, IconVSR, BasicVSR++) cannot, and
    those with a sliding window (DUF, TDAN, EDVR, TOFlow) have no state.
    """
    inner = innermost(network)
    return isinstance(inner, FrameByFrame) and not needs_hooks(NetworkContract.of(inner))


@torch.inference_mode()
def run_steps(step: RecurrentStep, clip: Tensor) -> Tensor:
    """A whole clip, step by step: `(b, t, 3, h, w)` in [0, 1] to `(b, t, 3, scale * h, scale * w)`.

    What a film does frame by frame as it comes; for tests of a step, and as its definition.
    """
    state, results = step.initial_state(clip[:, 0]), []
    around = torch.arange(-step.frames_before, step.frames_behind + 1)
    for time in range(clip.shape[1]):
        result, *following = step(clip[:, (time + around).clamp(0, clip.shape[1] - 1)], *state)
        state = tuple(following)
        results.append(result)
    return torch.stack(results, 1)
