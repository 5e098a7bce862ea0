"""Validation on clips: every frame counts, each clip is logged, and so is how steady it is."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, tensor2img
from torch import Tensor

from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.basicsr_patches.terminal import VALIDATION_BAR
from vsrkd_plugin.data.whole_clips import count_clips, whole_clips
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.metrics.clips import FLICKER, clip_means, frame_metrics
from vsrkd_plugin.metrics.means import Means, finite_means
from vsrkd_plugin.run.progress import progress
from vsrkd_plugin.run.whole_files import write_png

LR_SIDE = 64  # of the frames that a network is tried with to find its window: large enough for all of BasicSR's
_STUDENT = 'network_g'


class ClipValidation(SRModel):
    """The part of a model that validates on clips; to be inherited from before the models that train."""

    @torch.no_grad()
    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """The metrics for each frame of each clip (`DegradedClipDataset`, or BasicSR's video data sets for tests).

        `crop_border` of a metric is 8 if not given. Beside the metrics of the options stands `flicker`, lower is
        better. Frames and clips whose value is not finite do not count, and are named.
        """
        options = dataloader.dataset.opt
        metrics = self.opt['val'].get('metrics') or {}
        network = getattr(self, 'net_g_ema', None) or self.net_g
        training = network.training
        network.eval()
        adapter = None
        clips: dict[str, Means] = {}
        silent = not self.opt['val'].get('pbar', VALIDATION_BAR)
        dataset = dataloader.dataset
        for sample in progress(whole_clips(dataset), 'validating', 'clip', total=count_clips(dataset), silent=silent):
            folder = sample['folder']
            try:
                if adapter is None:
                    scale, side = sample['scale'], min(sample['lq'].shape[-2:])
                    adapter = validation_adapter(self.get_bare_model(network), self.opt, options, scale, side)
                sr = adapter(sample['lq'][None].to(self.device))[0].cpu()
            except ValueError as error:
                raise UserError(f'data set {options["name"]}, {folder}: not one for network_g: {error}') from error
            by_frame = frame_metrics(sr, sample['gt'], metrics)
            clips[folder] = clip_means({_STUDENT: sr}, sample['gt'], {_STUDENT: by_frame})
            if save_img:
                self._save_frames(sr, folder, options['name'], current_iter)
        network.train(training)
        self._log_clips(clips, options['name'], current_iter, tb_logger)

    def _save_frames(self, sr: Tensor, folder: str, name: str, current_iter: Any) -> None:
        root = Path(self.opt['path']['visualization'], name, folder, *([str(current_iter)] if self.is_train else []))
        for number, frame in enumerate(sr):
            write_png(tensor2img(frame), root / f'{number:08d}.png')

    def _log_clips(self, clips: dict[str, Means], name: str, current_iter: Any, tb_logger: Any) -> None:
        """Means as stock logs them, then what it does not know: each clip, and flicker."""
        by_clip = {clip: found.by_method[_STUDENT] for clip, found in clips.items()}
        columns = {metric: [values[metric] for values in by_clip.values()] for metric in next(iter(by_clip.values()))}
        flicker = finite_means({_STUDENT: {FLICKER: columns.pop(FLICKER)}}, list(clips), 'clips')
        means = finite_means({_STUDENT: columns}, list(clips), 'clips')
        self.metric_results = means.by_method[_STUDENT]
        # By this name what is written to metrics.jsonl finds it.
        self.left_out = [f'{clip}: {text}' for clip, found in clips.items() for text in found.left_out]
        self.left_out += means.left_out
        if self.metric_results:
            if self.is_train:
                self._initialize_best_metric_results(name)
                for metric, value in self.metric_results.items():
                    self._update_best_metric_result(name, metric, value, current_iter)
            self._log_validation_metric_values(current_iter, name, tb_logger)
        steady = flicker.by_method[_STUDENT][FLICKER]
        lines = [
            f'\t {clip}: ' + ', '.join(f'{metric} {value:.4f}' for metric, value in values.items())
            for clip, values in by_clip.items()
        ]
        get_root_logger().info('\n'.join([f'Clips of {name}, {FLICKER} {steady:.4f}', *lines]))
        if tb_logger:
            scalars = {f'metrics/{name}/{FLICKER}': steady} | {
                f'metrics/{name}/{metric}/{clip}': value
                for clip, values in by_clip.items()
                for metric, value in values.items()
            }
            for key, value in scalars.items():
                if math.isfinite(value):
                    tb_logger.add_scalar(key, value, current_iter)


def validation_adapter(
    network: torch.nn.Module, opt: Mapping[str, Any], dataset_opt: Mapping[str, Any], scale: int, side: int
) -> VideoSRAdapter:
    """The network as validation calls it.

    Args:
        network: bare.
        opt: the options, with `network_g`.
        dataset_opt: those of the data set (`padding`).
        scale: of the clips.
        side: the shorter side of their LR frames, pixels.

    Raises:
        ValueError: the network takes no such clips.
    """
    padding = dataset_opt.get('padding', 'replicate')
    return VideoSRAdapter(network, scale, opt['network_g'], padding=padding, lr_size=min(LR_SIDE, side))
