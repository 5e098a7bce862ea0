"""Validation on clips: every frame counts, each clip is logged, and so is how steady it is."""

from pathlib import Path
from typing import Any

import cv2
import torch
from basicsr.utils import get_root_logger, tensor2img
from torch import Tensor

from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.data.whole_clips import whole_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.metrics.clips import FLICKER, clip_metrics, frame_metrics


class ClipValidation:
    """Takes the place of an SRModel's validation; to be inherited from before it."""

    @torch.no_grad()
    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """The metrics for each frame of each clip (`DegradedClipDataset`, or BasicSR's video data sets for tests).

        `crop_border` of a metric is 8 if not given. Beside the metrics of the options stands `flicker`, lower is
        better.
        """
        options = dataloader.dataset.opt
        metrics = self.opt['val'].get('metrics') or {}
        network = getattr(self, 'net_g_ema', None) or self.net_g
        training = network.training
        network.eval()
        resolver = None
        clips: dict[str, dict[str, float]] = {}
        for sample in whole_clips(dataloader.dataset):
            folder, padding = sample['folder'], options.get('padding', 'replicate')
            try:
                if resolver is None:
                    resolver = VideoSRAdapter(
                        self.get_bare_model(network), sample['scale'], self.opt['network_g'], padding=padding,
                        lr_size=min(64, *sample['lq'].shape[-2:]),
                    )  # fmt: skip
                sr = resolver(sample['lq'][None].to(self.device))[0].cpu()
            except ValueError as error:
                raise UserError(f'data set {options["name"]}, {folder}: not one for network_g: {error}') from error
            clips[folder] = clip_metrics(sr, sample['gt'], frame_metrics(sr, sample['gt'], metrics))
            if save_img:
                self._save_frames(sr, folder, options['name'], current_iter)
        network.train(training)
        self._log_clips(clips, options['name'], current_iter, tb_logger)

    def _save_frames(self, sr: Tensor, folder: str, name: str, current_iter: Any) -> None:
        root = Path(self.opt['path']['visualization'], name, folder, *([str(current_iter)] if self.is_train else []))
        root.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(sr):
            cv2.imwrite(str(root / f'{number:08d}.png'), tensor2img(frame))

    def _log_clips(self, clips: dict[str, dict[str, float]], name: str, current_iter: Any, tb_logger: Any) -> None:
        """Means as stock logs them, then what it does not know: each clip, and flicker."""
        names = list(next(iter(clips.values())))
        means = {metric: sum(clip[metric] for clip in clips.values()) / len(clips) for metric in names}
        self.metric_results = {metric: value for metric, value in means.items() if metric != FLICKER}
        if self.metric_results:
            if self.is_train:
                self._initialize_best_metric_results(name)
                for metric, value in self.metric_results.items():
                    self._update_best_metric_result(name, metric, value, current_iter)
            self._log_validation_metric_values(current_iter, name, tb_logger)
        lines = [
            f'\t {clip}: ' + ', '.join(f'{metric} {value:.4f}' for metric, value in values.items())
            for clip, values in clips.items()
        ]
        get_root_logger().info('\n'.join([f'Clips of {name}, {FLICKER} {means[FLICKER]:.4f}', *lines]))
        if tb_logger:
            tb_logger.add_scalar(f'metrics/{name}/{FLICKER}', means[FLICKER], current_iter)
            for clip, values in clips.items():
                for metric, value in values.items():
                    tb_logger.add_scalar(f'metrics/{name}/{metric}/{clip}', value, current_iter)
