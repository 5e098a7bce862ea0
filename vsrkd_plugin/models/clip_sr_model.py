"""Stock SRModel for clips."""

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter, on_luma
from vsrkd_plugin.models.clip_validation import ClipValidation
from vsrkd_plugin.models.multi_scale_sr_model import MultiScaleSRModel
from vsrkd_plugin.ops.precision import autocast, resolve_precision
from vsrkd_plugin.ops.temporal import start_as_differences


@MODEL_REGISTRY.register()
class ClipSRModel(ClipValidation, MultiScaleSRModel):
    """SRModel for networks that take clips `(b, t, c, h, w)` and give every frame, or the middle one of a window.

    Trains on `DegradedClipDataset` (a window's network learns from the middle frame's HR) by `train.pixel_opt` with any
    of our optimisers, in the number format `precision` asks for, and validates on whole clips, on a CPU too. Of a
    network that super-resolves Y alone (it has a method `luma`) the loss is of Y. With `train.alignment_opt` TDAN's
    aligned frames learn to look like the middle LR frame (its paper's alignment loss); `train.start: differences` is
    for networks of 3D convolutions, such as DUF, that begin without weights.
    """

    def init_training_settings(self) -> None:
        """As SRModel; and the start, and the loss of aligned frames."""
        if self.opt['train'].get('start') == 'differences' and not self.opt['path'].get('pretrain_network_g'):
            start_as_differences(self.get_bare_model(self.net_g))
        super().init_training_settings()
        options = self.opt['train'].get('alignment_opt')
        self.cri_align = build_loss(options).to(self.device) if options else None
        dtype = resolve_precision(self.opt.get('precision', 'auto'), self.device)
        self.precision = 'bf16' if dtype == torch.bfloat16 else 'fp32'
        self.autocast = partial(autocast, self.device, dtype)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch of clips for a step of the training."""
        super().feed_data(data)
        self.clip_gt: Tensor = self.gt  # `gt` becomes what the output is compared with

    def optimize_parameters(self, current_iter: int) -> None:
        """One step; HR is the middle frame's where the network gives but that one."""
        middle = self.lq.shape[1] // 2
        self.gt = self.clip_gt if self.gives_clips() else self.clip_gt[:, middle]
        self.optimizer_g.zero_grad()
        losses = OrderedDict()
        with self.autocast():
            if self.cri_align:
                self.output, aligned = self.net_g(self.lq, with_aligned=True)
                centre = self.lq[:, middle : middle + 1].expand_as(aligned)
                losses['l_align'] = self.cri_align(aligned.float(), centre)
            else:
                self.output = self.net_g(self.lq)
        output = self.output.float()
        if self.cri_pix:
            luma_alone = NetworkContract.of(self.net_g).luma_only
            criterion = on_luma(self.cri_pix) if luma_alone else self.cri_pix
            losses['l_pix'] = criterion(output, self.gt)
        if self.cri_perceptual:  # of images, so a clip's frames are seen one by one
            found = self.cri_perceptual(output.flatten(0, -4), self.gt.flatten(0, -4))
            losses.update(
                {key: loss for key, loss in zip(('l_percep', 'l_style'), found, strict=True) if loss is not None}
            )
        sum(losses.values()).backward()
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def gives_clips(self) -> bool:
        """Whether the network gives every frame; found out once, from its own shapes."""
        if not hasattr(self, '_gives_clips'):
            size = min(self.lq.shape[-2:])
            scale = self.clip_gt.shape[-1] // self.lq.shape[-1]
            network = self.get_bare_model(self.net_g)
            self._gives_clips = VideoSRAdapter(network, scale, self.opt['network_g'], lr_size=size).recurrent
        return self._gives_clips
