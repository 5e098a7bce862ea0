"""What frames of a clip must have in common: along its motion, each shows what the next one shows."""

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.ops.motion import warp


@LOSS_REGISTRY.register()
class TemporalConsistencyLoss(nn.Module):
    """Mean `|warp(x_(t+1), flow_t) - x_t|` over the places that are seen in both frames.

    The motion of an invented clip is known, so nothing needs to be estimated: the flow is exact, and so is what it
    hides. (The project's own; as a measure of video it is the warping error of Lai et al., ECCV 2018.)

    Args:
        loss_weight: factor. Default 1.
        like_teacher: ask for the same change along the motion as in the teacher's clip, instead of none: what the
            teacher does not keep steady, because LR does not tell it, the student need not either. Default false.
    """

    def __init__(self, loss_weight: float = 1.0, like_teacher: bool = False) -> None:
        super().__init__()
        self.loss_weight, self.like_teacher = loss_weight, like_teacher

    def forward(self, frames: Tensor, flow: Tensor, visible: Tensor, teacher: Tensor | None = None) -> Tensor:
        """A clip and its motion to a scalar; 0 for a clip in which nothing stays visible, or of one frame.

        Args:
            frames: `(b, t, c, h, w)`.
            flow: from each frame to the next, in pixels, `(b, t - 1, 2, h, w)`.
            visible: `(b, t - 1, 1, h, w)`, bool or weights.
            teacher: the teacher's clip, as `frames`; for `like_teacher`.

        Raises:
            ValueError: shapes that do not fit; no teacher's clip where it is needed.
        """
        b, t, _, h, w = frames.shape
        if flow.shape != (b, t - 1, 2, h, w) or visible.shape != (b, t - 1, 1, h, w):
            raise ValueError(
                f'for frames {tuple(frames.shape)} expected flow {(b, t - 1, 2, h, w)} and visible '
                f'{(b, t - 1, 1, h, w)}, got {tuple(flow.shape)} and {tuple(visible.shape)}'
            )
        if self.like_teacher:
            if teacher is None:
                raise ValueError("like_teacher: the teacher's clip is needed")
            frames = frames.float() - teacher.float()  # warping is linear: the change of the difference is the same
        fetched = warp(frames[:, 1:].flatten(0, 1), flow.flatten(0, 1))
        difference = (fetched - frames[:, :-1].flatten(0, 1).float()).abs().mean(1, keepdim=True)
        weight = visible.flatten(0, 1).to(difference)
        return self.loss_weight * (difference * weight).sum() / weight.sum().clamp(min=1)
