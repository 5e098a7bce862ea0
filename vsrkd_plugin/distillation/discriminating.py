"""A discriminator tells the teacher's outputs from the student's, which learns to be taken for the teacher."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vsrkd_plugin.distillation.steps import total
from vsrkd_plugin.ops.parallel import average_gradients
from vsrkd_plugin.ops.precision import Autocast


class GANLoss(Protocol):
    """A loss of scores, such as BasicSR's `GANLoss`."""

    def __call__(self, score: Tensor, target_is_real: bool, is_disc: bool = False, /) -> Tensor:
        """Scores `(n, …)` to a scalar; the student's, which is weighted, or the discriminator's (`is_disc`)."""


class Discriminator:
    """Owns the network that discriminates, its loss and its optimiser (Goodfellow et al. 2014).

    "Real" are the teacher's outputs on the inputs that are made, "fake" the student's on the same inputs: no real image
    is needed. Each step of the student is followed by one of the discriminator on the same outputs.

    Args:
        network: SR `(n, c, h, w)` in [0, 1] → scores of any shape; in training mode, the same in every process.
        loss: of the scores.
        optimizer: of the network.
        autocast: makes the context for its convolutions; scores and losses are fp32.
        start: iterations that the student trains without it, and it does not train.
    """

    def __init__(
        self, network: nn.Module, loss: GANLoss, optimizer: torch.optim.Optimizer, *, autocast: Autocast, start: int = 0
    ) -> None:
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.autocast, self.start = autocast, start
        self.active = start == 0
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._seen: tuple[Tensor, Tensor] | None = None

    def begin(self, iteration: int) -> None:
        """Whether it takes part in an iteration, counted from 1."""
        self.active = iteration > self.start

    def student_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """How little the student's output is taken for the teacher's, with gradient to the student alone.

        Args:
            output, target: the student's and the teacher's SR, `(n, c, h, w)`; `step` learns from them.
        """
        self._seen = output.detach(), target.detach()
        with self._left_alone():
            return self.loss(self._score(output), True, False)

    def step(self) -> dict[str, Tensor]:
        """The discriminator learns to tell apart what `student_loss` was given last; `l_d_real`, `l_d_fake`, detached.

        Raises:
            ValueError: it was given nothing since the last step.
        """
        if self._seen is None:
            raise ValueError('expected outputs of the student (student_loss) before a step')
        (output, target), self._seen = self._seen, None
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._losses(output, target)
        total(losses).backward()
        average_gradients(self._parameters)
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def _losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What it learns by, of detached images."""
        real = self.loss(self._score(target), True, True)
        return {'l_d_real': real, 'l_d_fake': self.loss(self._score(output), False, True)}

    @contextmanager
    def _left_alone(self) -> Iterator[None]:
        """What is scored meanwhile gives no gradient to this network."""
        for parameter in self._parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self._parameters:
                parameter.requires_grad_(True)

    def _score(self, images: Tensor) -> Tensor:
        with self.autocast():
            score = self.network(images)
        return score.float()

    def state_dict(self) -> dict[str, Any]:
        """The network's state; the optimiser's is kept by its owner."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            RuntimeError: the state is of another network.
        """
        self.network.load_state_dict(state)
