"""Several sources that share out each batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.synthesis.source import Objective, Source


def share_out(batch: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `batch` (largest remainders)."""
    exact = [batch * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])  # ties: the earlier source
    for i in by_remainder[: batch - sum(counts)]:
        counts[i] += 1
    return counts


class MixtureSource:
    """Draws every batch from several sources, by weight.

    Args:
        sources: at least one.
        weights: one positive number each.

    Raises:
        ValueError: no source, or weights that do not fit.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        if not sources or len(sources) != len(weights) or min(weights) <= 0:
            raise ValueError('a mixture takes one positive weight for each of its sources')
        self.sources, self.weights = list(sources), list(weights)
        self.optimizers = [optimizer for source in sources for optimizer in source.optimizers]

    def sample(self, batch: int, scale: int) -> Tensor:
        """The next images, in the order of the sources."""
        counts = share_out(batch, self.weights)
        parts = [source.sample(count, scale) for source, count in zip(self.sources, counts, strict=True) if count]
        return torch.cat(parts)

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """A learning step of every source that learns."""
        losses: dict[str, Tensor] = {}
        for source in self.sources:
            losses.update(source.step(objective, batch, scale))
        return losses

    def preview(self, scale: int, count: int = 4) -> Tensor:
        """`count` images of the sources, by weight."""
        counts = share_out(count, self.weights)
        return torch.cat([s.preview(scale, n) for s, n in zip(self.sources, counts, strict=True) if n])

    def state_dict(self) -> dict[str, Any]:
        """The sources' states."""
        return {'sources': [source.state_dict() for source in self.sources]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        for source, part in zip(self.sources, state['sources'], strict=True):
            source.load_state_dict(part)
