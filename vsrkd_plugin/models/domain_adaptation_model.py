"""Unsupervised domain adaptation of an SR network in BasicSR's training loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils.registry import MODEL_REGISTRY

from vsrkd_plugin.config.plan import Options
from vsrkd_plugin.config.schema import DomainAdaptationOptions, options_model
from vsrkd_plugin.distillation.domain_adaptation import AdaptationTask, DomainBatch
from vsrkd_plugin.models.adaptation import build_adaptation
from vsrkd_plugin.models.task_model import TaskModel


@MODEL_REGISTRY.register()
class DomainAdaptationModel(TaskModel):
    """Adapts `network_g` to LR images of a camera of which there are no pairs (Wang et al., ICCV 2021, 'USR-DA').

    Trains on `UnpairedLRDataset`. `network_g` is the encoder E and the decoder G_SR in one, and the only network that
    is saved; `network_lr` is G_t, `network_df`, `network_dt` and `network_dsr` are the discriminators of features, of
    LR images and of SR images; `network_t`, where there is one, gives the targets in place of HR. Each loss takes part
    where it is given. See `options/usrda_x4.yml`.
    """

    task: AdaptationTask

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['is_train']:
            options = options_model(opt)
            assert isinstance(options, DomainAdaptationOptions)
            self.options = options
        super().__init__(opt)

    @property
    def wanted_precision(self) -> str:
        """The option `precision`."""
        return self.options.precision

    def build_task(self, resumes: bool) -> AdaptationTask:
        """The adaptation that the options ask for."""
        return build_adaptation(self.options, self.net_g, self.device)

    def named_optimizers(self) -> Mapping[str, Sequence[torch.optim.Optimizer]]:
        """The SR network's, G_t's, the discriminators'."""
        judges = self.task.discriminators.named().values()
        ours = {f'lr_{name}': [optimizer] for name, optimizer in self.task.optimizers.items()}
        return {**ours, 'lr_d': [judge.optimizer for judge in judges]}

    def scheduler_of(self, name: str) -> Options:
        """The same for all."""
        return self.options.train.scheduler

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; of a training one, the target's LR too."""
        super().feed_data(data)
        if 'lq_t' in data:
            self.target_lr = data['lq_t'].to(self.device, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of every network."""
        self.count(self.task.step(DomainBatch(self.lq, self.gt, self.target_lr)), current_iter)
