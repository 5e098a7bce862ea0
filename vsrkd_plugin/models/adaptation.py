"""Builds the adaptation that options ask for, around an SR network that is built already."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.config.plan import NetworkPlan
from vsrkd_plugin.config.schema import ADAPTATION_JUDGES, AdaptationTrainOptions, DomainAdaptationOptions
from vsrkd_plugin.distillation.discriminating import Discriminator
from vsrkd_plugin.distillation.domain_adaptation import (
    AdaptationLosses,
    AdaptationTask,
    Discriminators,
    FeatureDiscriminator,
)
from vsrkd_plugin.distillation.encoding import SplitNetwork
from vsrkd_plugin.models.task import perceptual_of
from vsrkd_plugin.models.teacher import build_teacher
from vsrkd_plugin.ops.parallel import broadcast_parameters
from vsrkd_plugin.ops.precision import Autocast, autocast, place, resolve_precision
from vsrkd_plugin.optim.factory import make_optimizer
from vsrkd_plugin.run.checkpoints import load_weights

_FIELDS = {'network_df': 'features', 'network_dt': 'style', 'network_dsr': 'sr'}  # of `Discriminators`


def build_adaptation(options: DomainAdaptationOptions, network: nn.Module, device: torch.device) -> AdaptationTask:
    """Networks, losses and optimisers of an adaptation.

    Args:
        options: of a `DomainAdaptationModel`.
        network: E and G_SR, on `device`, with the weights that they start from.
        device: where all of it works.

    Raises:
        UserError: weights that cannot be read or do not fit.
        ValueError: the network cannot be cut where the options say.
    """
    train = options.train
    within = partial(autocast, device, resolve_precision(options.precision, device))
    decoder = _build(options, 'lr', device) if options.network_lr else None
    optimizers = {'g': make_optimizer(train.optim_g, _trained(network))}
    if decoder is not None:
        optimizers['lr'] = make_optimizer(train.optim_lr or train.optim_g, _trained(decoder))
    return AdaptationTask(
        SplitNetwork(keep_tail_in_fp32(network), options.decoder_start),
        decoder,
        _losses(train, device),
        _discriminators(options, device, within),
        optimizers,
        within,
        options.scale,
        teacher=_teacher(options, device, within),
        grad_clip=train.grad_clip,
        ema_decay=train.ema_decay,
    )


def _trained(network: nn.Module) -> list[nn.Parameter]:
    network.train()
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _build(options: DomainAdaptationOptions, label: str, device: torch.device) -> nn.Module:
    """A network that is trained, the same in every process."""
    network = place(build_network(dict(getattr(options, f'network_{label}'))), device)
    weights, param_key, strict = options.path.weights(label)
    if weights is not None:
        load_weights(network, weights, param_key, strict)
    broadcast_parameters(network)
    return network


def _losses(train: AdaptationTrainOptions, device: torch.device) -> AdaptationLosses:
    def build(given: dict[str, Any] | None) -> Any:
        return build_loss(dict(given)).to(device) if given else None

    perceptual = build(train.perceptual_opt)
    return AdaptationLosses(
        pixel=build(train.pixel_opt),
        perceptual=partial(perceptual_of, perceptual) if perceptual is not None else None,
        cycle=build(train.cycle_opt),
        restoration=build(train.restore_opt),
        identity=build(train.identity_opt),
    )


def _discriminators(options: DomainAdaptationOptions, device: torch.device, within: Autocast) -> Discriminators:
    found: dict[str, Any] = {}
    for key, loss in ADAPTATION_JUDGES.items():
        given = getattr(options.train, loss)
        if given and options.train.optim_d:
            network = _build(options, key.removeprefix('network_'), device)
            optimizer = make_optimizer(options.train.optim_d, _trained(network))
            kind = FeatureDiscriminator if key == 'network_df' else Discriminator
            criterion = build_loss(dict(given)).to(device)
            found[_FIELDS[key]] = kind(network, criterion, optimizer, autocast=within)
    return Discriminators(**found)


def _teacher(
    options: DomainAdaptationOptions, device: torch.device, within: Autocast
) -> Callable[[Tensor], Tensor] | None:
    """SR by the teacher, LR `(n, c, h, w)` to `(n, c, scale * h, scale * w)`; None without one."""
    if not options.network_t:
        return None
    said = options.contract_t.said if options.contract_t else {}
    plan = NetworkPlan(options.network_t, *options.path.weights('t'), said)
    teacher = build_teacher(plan, device)
    adapter = ImageSRAdapter(teacher, input_channels(teacher, plan.options))

    def ask(lr: Tensor) -> Tensor:
        with within():
            return adapter(lr, options.scale).float()

    return ask
