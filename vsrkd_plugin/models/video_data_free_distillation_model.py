"""Data-free distillation of video super-resolution in BasicSR's training loop."""

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin.adapters.video_sr import CLIP_CHANNELS, VideoSRAdapter, on_luma, resolves_luma_alone
from vsrkd_plugin.distillation.init_from_teacher.start import INIT_CLIPS
from vsrkd_plugin.distillation.steps import ExtraLosses
from vsrkd_plugin.models.clip_validation import ClipValidation
from vsrkd_plugin.models.data_free_distillation_model import DataFreeDistillationModel
from vsrkd_plugin.models.sources import lr_sizes
from vsrkd_plugin.ops.dihedral import undo_dihedral


@MODEL_REGISTRY.register()
class VideoDataFreeDistillationModel(ClipValidation, DataFreeDistillationModel):
    """Distils a video SR network into a smaller one on clips that are made: pictures in known motion.

    Teacher and student may each be recurrent or have a sliding window. Everything else is as in
    `DataFreeDistillationModel`; `synthesis.clips` says what clips are like. A student that super-resolves Y alone (it
    has a method `luma`) learns by Y.
    """

    init_inputs = INIT_CLIPS

    def input_channels(self, teacher: nn.Module | None) -> int:
        """Clips are RGB."""
        return CLIP_CHANNELS

    def resolver(self, network: nn.Module, key: str, channels: int) -> nn.Module:
        """A network of clips: LR clip in, every frame of the SR clip out."""
        (scale, size), *_ = lr_sizes(self.opt, kept=key == 'network_t').items()
        checkpointed = key == 'network_g' and self.opt['train'].get('checkpointed', False)
        return VideoSRAdapter(network, scale, self.opt[key], lr_size=size, checkpointed=checkpointed)

    def init_training_settings(self) -> None:
        """As for images; and the losses that know the motion. Reconstruction is by what the clips are made with."""
        train, clips = self.opt['train'], self.opt['synthesis']['clips']
        if train.get('reconstruction_opt') and clips['degradation'] != 'none':
            made = {key: clips[key] for key in ('degradation', 'sigma') if key in clips}
            train['reconstruction_opt'] = {**train['reconstruction_opt'], **made}
        super().init_training_settings()
        if resolves_luma_alone(self.net_g):
            self.distillation = on_luma(self.distillation)
        self.temporal = build_loss(train['temporal_opt']).to(self.device) if train.get('temporal_opt') else None
        if self.objective and train.get('temporal_z_opt'):
            self.objective.temporal = build_loss(train['temporal_z_opt']).to(self.device)

    def next_inputs(self, scale: int) -> tuple[Tensor, Tensor | None, ExtraLosses]:
        """As for images; and `l_steady`, if `train.temporal_opt` asks for it."""
        if not self.temporal:
            return super().next_inputs(scale)
        if self.banked:
            lr, target, motion = self.source.draw_moving(self.batch, scale)
        else:
            (lr, motion), target = self.source.sample_moving(self.batch, scale), None

        def steady(output: Tensor, target: Tensor) -> dict[str, Tensor]:
            frames, teacher = (undo_dihedral(clip, motion.turn) for clip in (output, target))
            losses = {'l_steady': self.temporal(frames, *motion.steps(scale), teacher)}
            return losses | self.features(output, target)

        return lr, target, steady

    def tiles(self, images: Tensor) -> Tensor:
        """Clips as pictures: their middle frames, then a line of each over time (downwards)."""
        over_time = images[:, :, :, images.shape[3] // 2]
        line = F.interpolate(over_time.transpose(1, 2), images.shape[3:], mode='nearest')
        return torch.cat([images[:, images.shape[1] // 2], line])
