"""Adaptation of an SR network to LR images of another kind, without pairs (Wang et al., ICCV 2021, 'USR-DA')."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.distillation.discriminating import Discriminator
from vsrkd_plugin.distillation.encoding import SplitNetwork
from vsrkd_plugin.distillation.steps import Loss, total
from vsrkd_plugin.ops.averaging import update_ema
from vsrkd_plugin.ops.parallel import average_gradients
from vsrkd_plugin.ops.precision import Autocast
from vsrkd_plugin.ops.resize import bicubic_resize


class LossOfScores(Protocol):
    """A loss of the scores of two domains, such as `AlignmentLoss`."""

    def __call__(self, source: Tensor, target: Tensor, /) -> Tensor:
        """The encoder's."""

    def discriminate(self, source: Tensor, target: Tensor) -> Tensor:
        """The discriminator's."""


class FeatureDiscriminator(Discriminator):
    """D_f, which tells features of the source from those of the target; arguments as of `Discriminator`."""

    loss: LossOfScores  # type: ignore[assignment]  # called with the scores of both

    def student_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The encoder's alignment loss, with gradient to the encoder alone.

        Args:
            output, target: features of the source and of the target, `(n, c, h, w)`; `step` learns from them.
        """
        self._seen = output.detach(), target.detach()
        with self._left_alone():
            return self.loss(self._score(output), self._score(target))

    def _losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {'l_d': self.loss.discriminate(self._score(output), self._score(target))}


@dataclass(frozen=True)
class AdaptationLosses:
    """What an adaptation minimises, by the paper's terms; what is None takes no part.

    With x_s, y_s LR and HR of the source, x_t LR of the target, E the encoder, G_SR and G_t the decoders, and
    x_st = G_t(E(x_s)), the source's image as the target would show it:

    Attributes:
        pixel: of G_SR(E(x_s)) and y_s.
        perceptual: of the same, and of the cycle.
        cycle: of G_SR(E(x_st)) and y_s.
        restoration: of G_t(E(x_t)) and x_t.
        identity: of E(x_st) and E(x_s).
    """

    pixel: Loss | None = None
    perceptual: Loss | None = None
    cycle: Loss | None = None
    restoration: Loss | None = None
    identity: Loss | None = None


@dataclass(frozen=True)
class Discriminators:
    """Each with the loss that it teaches by; what is None takes no part.

    Attributes:
        features: D_f, of E(x_s) and E(x_t).
        style: D_t, of x_st and x_t.
        sr: of G_SR(E(x_s)), and of the cycle, and y_s.
    """

    features: FeatureDiscriminator | None = None
    style: Discriminator | None = None
    sr: Discriminator | None = None

    def named(self) -> dict[str, Discriminator]:
        """Those that are there."""
        found = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: discriminator for name, discriminator in found.items() if discriminator is not None}


@dataclass(frozen=True)
class DomainBatch:
    """Images without relation.

    Attributes:
        lr, hr: of the source, `(n, c, h, w)` and `(n, c, scale * h, scale * w)` in [0, 1].
        target_lr: of the target, `(n, c, h, w)`.
    """

    lr: Tensor
    hr: Tensor
    target_lr: Tensor


@dataclass
class AdaptationTask:
    """Owns what an adaptation needs; a training loop only calls `step`.

    What is exported is the SR network alone, E and G_SR (`exported`).

    Args:
        split: the SR network, seen as E and G_SR.
        target_decoder: G_t; None where no loss needs it.
        losses: those that compare.
        discriminators: those that learn with it.
        optimizers: of the SR network (`g`), and of G_t (`t`).
        autocast: makes the context for convolutions; losses are fp32.
        teacher: SR of LR by bicubic, which stands for HR, if given: `(n, c, h, w)` → `(n, c, scale * h, scale * w)`.
        scale: of the networks.
        grad_clip: largest norm of the gradient of E, G_SR and G_t together; None for no limit.
        ema_decay: of the moving average of the SR network's weights; 0 for none.
    """

    split: SplitNetwork
    target_decoder: nn.Module | None
    losses: AdaptationLosses
    discriminators: Discriminators
    optimizers: Mapping[str, torch.optim.Optimizer]
    autocast: Autocast
    scale: int
    teacher: Callable[[Tensor], Tensor] | None = None
    grad_clip: float | None = None
    ema_decay: float = 0.0
    averaged: nn.Module | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        trained = [self.network, *([self.target_decoder] if self.target_decoder is not None else [])]
        self._parameters = [p for network in trained for p in network.parameters() if p.requires_grad]
        if self.ema_decay:
            self.averaged = freeze(copy.deepcopy(self.network))

    @property
    def network(self) -> nn.Module:
        """E and G_SR."""
        return self.split.network

    @property
    def exported(self) -> nn.Module:
        """What an adaptation is for: the SR network, or its moving average."""
        return self.network if self.averaged is None else self.averaged

    def step(self, batch: DomainBatch) -> dict[str, Tensor]:
        """One step of the networks, then of the discriminators; the named losses, detached, on the device."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        losses = self.compute_losses(batch)
        total(losses).backward()
        average_gradients(self._parameters)
        if self.grad_clip:
            nn.utils.clip_grad_norm_(self._parameters, self.grad_clip)
        for optimizer in self.optimizers.values():
            optimizer.step()
        found = {name: loss.detach() for name, loss in losses.items()}
        for name, discriminator in self.discriminators.named().items():
            found.update({f'{key}_{name}': loss for key, loss in discriminator.step().items()})
        if self.averaged is not None:
            update_ema(self.averaged, self.network, self.ema_decay)
        return found

    def compute_losses(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Each loss that takes part, weighted, with its gradient: their sum is what is minimised."""
        wanted, judges = self.losses, self.discriminators
        hr = self.target_of(batch)
        found: dict[str, Tensor] = {}
        with self.autocast():
            source, sr = self.split(batch.lr)
            needs_target = judges.features is not None or (wanted.restoration and self.target_decoder is not None)
            target = self.split.encode(batch.target_lr) if needs_target else None
        outputs = [sr.float()]
        if wanted.pixel:
            found['l_pix'] = wanted.pixel(outputs[0], hr)
        if judges.features is not None and target is not None:
            found['l_align'] = judges.features.student_loss(source.float(), target.float())
        if self.target_decoder is not None:
            with self.autocast():
                shown = self.target_decoder(source)
            if wanted.restoration and target is not None:
                with self.autocast():
                    restored = self.target_decoder(target)
                found['l_res'] = wanted.restoration(restored.float(), batch.target_lr)
            if judges.style is not None:
                found['l_style'] = judges.style.student_loss(shown.float(), batch.target_lr)
            if wanted.identity or wanted.cycle:
                with self.autocast():
                    again, cycled = self.split(shown) if wanted.cycle else (self.split.encode(shown), None)
                if wanted.identity:
                    found['l_idt'] = wanted.identity(again.float(), source.float())
                if wanted.cycle and cycled is not None:
                    outputs.append(cycled.float())
                    found['l_cyc'] = wanted.cycle(outputs[1], hr)
        if wanted.perceptual:
            found['l_percep'] = sum((wanted.perceptual(output, hr) for output in outputs), hr.new_zeros(()))
        if judges.sr is not None:
            found['l_g_gan'] = judges.sr.student_loss(torch.cat(outputs), torch.cat([hr] * len(outputs)))
        return found

    @torch.no_grad()
    def target_of(self, batch: DomainBatch) -> Tensor:
        """HR of the source; the teacher's answer to its bicubic LR, where there is a teacher."""
        return batch.hr if self.teacher is None else self.teacher(bicubic_resize(batch.hr, 1 / self.scale))

    def state_dict(self) -> dict[str, Any]:
        """What decides all that follows, beside the optimisers' states."""
        state: dict[str, Any] = {'network_g': self.network.state_dict()}
        if self.target_decoder is not None:
            state['network_lr'] = self.target_decoder.state_dict()
        if self.averaged is not None:
            state['ema'] = self.averaged.state_dict()
        state['discriminators'] = {name: d.state_dict() for name, d in self.discriminators.named().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            KeyError, RuntimeError: the state is of another adaptation.
        """
        self.network.load_state_dict(state['network_g'])
        if self.target_decoder is not None:
            self.target_decoder.load_state_dict(state['network_lr'])
        if self.averaged is not None:
            self.averaged.load_state_dict(state['ema'])
        for name, discriminator in self.discriminators.named().items():
            discriminator.load_state_dict(state['discriminators'][name])
