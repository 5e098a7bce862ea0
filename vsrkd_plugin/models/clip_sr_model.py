"""Stock SRModel for clips."""

from basicsr.utils.registry import MODEL_REGISTRY

from vsrkd_plugin.distillation.clip_resolver import ClipResolver
from vsrkd_plugin.models.clip_validation import ClipValidation
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel


@MODEL_REGISTRY.register()
class ClipSRModel(ClipValidation, MultiScaleSRModel):
    """SRModel for networks that take clips `(b, t, c, h, w)` and give every frame, or the middle one of a window.

    Trains on `DegradedClipDataset` (a window's network learns from the middle frame's HR) with any of our optimisers,
    and validates on whole clips, on a CPU too.
    """

    def feed_data(self, data: dict) -> None:
        """Take a batch of clips."""
        super().feed_data(data)
        self.clip_gt = getattr(self, 'gt', None)

    def optimize_parameters(self, current_iter: int) -> None:
        """As SRModel; HR is the middle frame's where the network gives but that one."""
        if self.clip_gt is not None and not self.gives_clips():
            self.gt = self.clip_gt[:, self.clip_gt.shape[1] // 2]
        super().optimize_parameters(current_iter)

    def gives_clips(self) -> bool:
        """Whether the network gives every frame; found out once, from its own shapes."""
        if not hasattr(self, '_gives_clips'):
            size = min(self.lq.shape[-2:])
            scale = self.clip_gt.shape[-1] // self.lq.shape[-1]
            network = self.get_bare_model(self.net_g)
            self._gives_clips = ClipResolver(network, scale, self.opt['network_g'], lr_size=size).recurrent
        return self._gives_clips
