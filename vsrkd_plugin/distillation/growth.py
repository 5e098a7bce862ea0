"""The growth schedule: how many of the student's blocks are active at which iteration."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GrowthSchedule:
    """A pure function of the iteration, so that resuming needs no state (section 3.3 of the paper).

    Args:
        depth: blocks of the full student.
        start: blocks at the first iteration.
        milestones: after each of these iterations `step` blocks are added, until all are there.
        every: instead of milestones: add after every so many iterations.
        step: blocks added at a milestone.

    Raises:
        ValueError: `start` not in 1..depth, not exactly one of `milestones` and `every`, or a number below 1.
    """

    depth: int
    start: int = 1
    milestones: Sequence[int] | None = None
    every: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.depth:
            raise ValueError(f'start must be 1 to {self.depth} (the depth), got {self.start}')
        if (self.milestones is None) == (self.every is None):
            raise ValueError('give either milestones or every')
        iterations = (self.milestones or ()) if self.every is None else [self.every]
        if self.step < 1 or min(iterations, default=1) < 1:
            raise ValueError('step, every and milestones must be at least 1')

    def active(self, iteration: int) -> int:
        """Active blocks at `iteration`, counted from 1."""
        if self.milestones is not None:
            passed = sum(iteration > milestone for milestone in self.milestones)
        else:
            assert self.every is not None  # one of the two is given
            passed = (iteration - 1) // self.every
        return min(self.depth, self.start + self.step * passed)
