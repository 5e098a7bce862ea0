"""Inputs with more to learn from: of several that a source makes one is taken, the more likely the more detail it has.

A teacher adds next to nothing to smooth areas, and a student that has learned the edges need not be told of them. So
many of a training's inputs teach little. VDSR 64 → 64 channels of rank 24, 800 steps of 4 patches, agreement in dB: of
patches drawn alike 42.13, drawn in proportion to the mean of what the teacher adds 42.44, to its square 42.52, to the
mean Laplacian of the input, for which no teacher need be asked, 42.40, to its square 42.55, and of 8 candidates 42.49.
"""

from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.sending import send
from vsrkd_plugin.synthesis.source import Batch, SeededSource, Share, SharedSource

_POWER = 2.0  # of the detail; the chance of an input is in proportion to it
_FLOOR = 1e-6  # of the detail, a share of the full range: of candidates that are all flat each has a chance


def detail(images: Tensor) -> Tensor:
    """Mean absolute second difference along rows and columns: `(n, c, h, w)` → `(n,)`; 0 for less than three pixels."""
    found = torch.zeros(len(images), device=images.device)
    for dim in (2, 3):
        if images.shape[dim] > 2:
            found = found + images.diff(n=2, dim=dim).abs().mean((1, 2, 3))
    return found


class DetailedSource(SeededSource):
    """One image of every `candidates` of another source, by chance, the more detail the likelier.

    Each process chooses among its own candidates, by random numbers of the joint batch: several processes see what one
    would.

    Args:
        source: of images; one that does not learn.
        candidates: images made for each one that is taken.
        seed: of the choice; the same in every process.

    Raises:
        ValueError: fewer than one candidate.
    """

    def __init__(self, source: SharedSource, candidates: int, *, seed: int) -> None:
        if candidates < 1:
            raise ValueError(f'candidates must be at least 1, got {candidates}')
        super().__init__(seed, source.rank, source.world_size)
        self.source, self.candidates = source, candidates

    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch."""
        images = self.source.rows(share.times(self.candidates), scale).lr  # first: a failure leaves the state as it was
        return self._choose(images, share.of(torch.rand(share.total, generator=self._rng)))

    def preview(self, scale: int, count: int = 4) -> Batch:
        """Of the source's preview those that would be chosen next; the random state stays."""
        generator = torch.Generator()
        generator.set_state(self._rng.get_state())
        draws = torch.rand(count, generator=generator)
        return self._choose(self.source.preview(scale, count * self.candidates).lr, draws)

    def _choose(self, images: Tensor, draws: Tensor) -> Batch:
        if not len(draws):
            return Batch(images)
        chances = detail(images).clamp(min=_FLOOR).pow(_POWER).view(-1, self.candidates)
        ends = chances.cumsum(1)
        at = send(draws, images.device)[:, None] * ends[:, -1:]
        chosen = (ends <= at).sum(1).clamp(max=self.candidates - 1)
        return Batch(images[chosen + self.candidates * torch.arange(len(draws), device=images.device)])

    def state_dict(self) -> dict[str, Any]:
        """The states of the choice and of the source."""
        return {**super().state_dict(), 'source': self.source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; or where that of the source alone was, before there were candidates."""
        if 'source' not in state:
            self.source.load_state_dict(state)
            return
        super().load_state_dict(state)
        self.source.load_state_dict(state['source'])
