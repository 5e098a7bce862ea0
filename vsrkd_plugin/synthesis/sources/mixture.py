"""Several sources that share out each batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.synthesis.clips.motion import Motion
from vsrkd_plugin.synthesis.source import Batch, Objective, Share, SharedSource


def share_out(batch: int, weights: Sequence[float], carry: Sequence[float] | None = None) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `batch`: the one that lacks most gets the next.

    Args:
        batch: to be shared out.
        weights: one positive number for each part.
        carry: what each part got too little of before; nothing if None.
    """
    lacking = _exact(batch, weights, carry)
    counts = [0] * len(weights)
    for _ in range(batch):
        i = max(range(len(weights)), key=lambda i: lacking[i])  # of equal ones the first
        counts[i] += 1
        lacking[i] -= 1
    return counts


def _exact(batch: int, weights: Sequence[float], carry: Sequence[float] | None) -> list[float]:
    before = [0.0] * len(weights) if carry is None else carry
    return [batch * weight / sum(weights) + value for weight, value in zip(weights, before, strict=True)]


class MixtureSource(SharedSource):
    """Makes every joint batch from several sources, by weight.

    A joint batch has whole numbers of rows of each source. What one gets too little of (or too much) at a scale is
    carried to the next batch of that scale, so that the weights hold over time, however small the batch. The joint
    batch is in the order of the sources, and each process makes its rows of it, whichever sources they are of.

    Args:
        sources: at least one, all with the same rank and world size.
        weights: one positive number each.

    Raises:
        ValueError: no source, weights that do not fit, sources of different processes.
    """

    def __init__(self, sources: Sequence[SharedSource], weights: Sequence[float]) -> None:
        if not sources or len(sources) != len(weights) or min(weights) <= 0:
            raise ValueError('a mixture takes one positive weight for each of its sources')
        places = {(source.rank, source.world_size) for source in sources}
        if len(places) > 1:
            raise ValueError(f'a mixture takes sources of one process, got ranks and world sizes {sorted(places)}')
        super().__init__(*places.pop())
        self.sources, self.weights = list(sources), list(weights)
        self.optimizers = [optimizer for source in sources for optimizer in source.optimizers]
        self._carry: dict[int, list[float]] = {}  # by scale; the same in every process

    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch, in the order of the sources."""
        carry = self._carry.get(scale)
        counts = share_out(share.total, self.weights, carry)
        parts, start = [], 0
        for source, count in zip(self.sources, counts, strict=True):
            if count:
                parts.append(source.rows(share.part(start, count), scale))
            start += count
        exact = _exact(share.total, self.weights, carry)
        self._carry[scale] = [value - count for value, count in zip(exact, counts, strict=True)]
        return _joined(parts)

    def learn(self, objective: Objective, share: Share, scale: int) -> dict[str, Tensor]:
        """A learning step of every source that learns, each on the whole batch."""
        losses: dict[str, Tensor] = {}
        for source in self.sources:
            losses.update(source.learn(objective, share, scale))
        return losses

    def preview(self, scale: int, count: int = 4) -> Batch:
        """`count` inputs of the sources, by weight."""
        counts = share_out(count, self.weights)
        return _joined([source.preview(scale, n) for source, n in zip(self.sources, counts, strict=True) if n])

    def state_dict(self) -> dict[str, Any]:
        """`sources`: their states; `carry`: scale → what each source got too little of so far, in rows."""
        carry = {scale: list(values) for scale, values in self._carry.items()}
        return {'sources': [source.state_dict() for source in self.sources], 'carry': carry}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; a state of an earlier version, without `carry`, starts at zero."""
        for source, part in zip(self.sources, state['sources'], strict=True):
            source.load_state_dict(part)
        self._carry = {scale: list(values) for scale, values in state.get('carry', {}).items()}


def _joined(parts: Sequence[Batch]) -> Batch:
    """The rows of several batches of sources, which know no targets; those without rows are left out."""
    parts = [part for part in parts if len(part.lr)] or parts[:1]
    motions = [part.motion for part in parts if part.motion is not None]
    return Batch(torch.cat([part.lr for part in parts]), motion=Motion.together(motions) if motions else None)
