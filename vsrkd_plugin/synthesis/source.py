"""What a source of training inputs offers."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

# Given LR images and their scale (of clips also their motion), the named losses to minimise, with gradient.
Objective = Callable[..., dict[str, Tensor]]


class Source(Protocol):
    """A source of LR images in [0, 1], `(batch, channels, h, w)`.

    Every process of a distributed training draws the randomness of the joint batch and takes its share of it: several
    processes together see what a single one with the joint batch would.
    """

    optimizers: list[torch.optim.Optimizer]

    def sample(self, batch: int, scale: int) -> Tensor:
        """The next `batch` images for `scale`; no gradient."""

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """One learning step; the named losses, detached; nothing for a source that does not learn."""

    def preview(self, scale: int, count: int = 4) -> Tensor:
        """`count` images to look at; leaves the random state as it is."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next samples; tensors, numbers and strings only."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
