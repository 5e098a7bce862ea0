"""The paper's source: generators that learn to make inputs on which student and teacher disagree."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vsrkd_plugin.ops.parallel import average_gradients, broadcast_parameters
from vsrkd_plugin.ops.precision import Autocast
from vsrkd_plugin.synthesis.source import Batch, Objective, SeededSource, Share


class LearnedSource(SeededSource):
    """One generator for each scale, trained against the student (section 3.1 of the paper).

    Args:
        generators: scale → network from noise `(n, num_latent)` to LR images in [0, 1]; it has `num_latent`.
        make_optimizer: parameters → optimiser, called for each generator.
        seed: of the noise.
        autocast: makes the context for the generators' layers.
        grad_clip: largest norm of a generator's gradient; None for no limit.
        rank, world_size: this process's place in a distributed training.
    """

    def __init__(
        self,
        generators: Mapping[int, nn.Module],
        make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        *,
        seed: int,
        autocast: Autocast,
        grad_clip: float | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(seed, rank, world_size)
        self.generators = dict(generators)
        self.autocast, self.grad_clip = autocast, grad_clip
        self._by_scale: dict[int, torch.optim.Optimizer] = {}
        for scale, generator in self.generators.items():
            broadcast_parameters(generator)
            self._by_scale[scale] = make_optimizer(list(generator.parameters()))
        self.optimizers = list(self._by_scale.values())

    def _noise(self, share: Share, scale: int) -> Tensor:
        generator = self.generators[scale]
        joint = torch.randn(share.total, cast(int, generator.num_latent), generator=self._rng)
        return share.of(joint).to(next(generator.parameters()).device, non_blocking=True)

    @torch.no_grad()
    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch."""
        noise = self._noise(share, scale)
        if not len(share):
            return Batch(noise)  # not every layer of a generator takes an empty batch
        with self.autocast():
            return Batch(self.generators[scale](noise))

    def learn(self, objective: Objective, share: Share, scale: int) -> dict[str, Tensor]:
        """One optimiser step of the generator of `scale`; the named losses, detached."""
        generator, optimizer = self.generators[scale], self._by_scale[scale]
        parameters = list(generator.parameters())
        with self.autocast():
            images = generator(self._noise(share, scale))
        losses = objective(images, scale)
        # Asked for the generator's gradients alone: none is computed for the student's weights.
        total = sum(losses.values(), torch.zeros((), device=images.device))
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(total, parameters, allow_unused=True), strict=True
        ):
            parameter.grad = gradient
        average_gradients(parameters)
        if self.grad_clip:
            nn.utils.clip_grad_norm_(parameters, self.grad_clip)
        optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Generators and random state; the optimisers' states are kept with the training state."""
        return {
            **super().state_dict(),
            'generators': {scale: generator.state_dict() for scale, generator in self.generators.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        super().load_state_dict(state)
        for scale, weights in state['generators'].items():
            self.generators[scale].load_state_dict(weights)
