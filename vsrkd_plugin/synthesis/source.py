"""What every source of training inputs offers, and how several processes share out its batches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from vsrkd_plugin.synthesis.clips.motion import Motion

_Rows = TypeVar('_Rows', Tensor, Sequence[Any])


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of one training step, without gradient.

    Attributes:
        lr: LR images `(n, c, h, w)` or clips `(n, t, c, h, w)`, fp32 in [0, 1].
        target: the teacher's SR of them, fp32, `scale` times as large; None where the teacher has not been asked yet.
        motion: how clips move; None for images, and where a bank does not keep it.
    """

    lr: Tensor
    target: Tensor | None = None
    motion: Motion | None = None


@dataclass(frozen=True)
class Share:
    """The rows `first` to `last - 1` of a joint batch of `total` rows: those that one process makes."""

    first: int
    last: int
    total: int

    def __len__(self) -> int:
        return self.last - self.first

    def of(self, joint: _Rows) -> _Rows:
        """These rows of something that has a row for each of the joint batch."""
        return joint[self.first : self.last]

    def part(self, start: int, count: int) -> 'Share':
        """What this process makes of the `count` joint rows from `start` on, which are a joint batch of their own."""
        first, last = (min(max(row - start, 0), count) for row in (self.first, self.last))
        return Share(first, last, count)

    def times(self, factor: int) -> 'Share':
        """The same share of a batch that has `factor` rows for each row of this one."""
        return Share(self.first * factor, self.last * factor, self.total * factor)


class Objective(Protocol):
    """What a source that learns minimises."""

    def __call__(self, lr: Tensor, scale: int, motion: Motion | None = None, /) -> dict[str, Tensor]:
        """LR images or clips with their scale (and their motion) → named losses, with gradient; their sum counts."""


class Source(ABC):
    """Where a training's inputs come from: sources, mixtures of them, and banks, all used alike.

    Attributes:
        optimizers: of what learns in the source; empty if nothing does.
    """

    optimizers: list[torch.optim.Optimizer]

    @abstractmethod
    def next(self, batch: int, scale: int) -> Batch:
        """The next `batch` inputs of this process for `scale`.

        Raises:
            ValueError: `batch` below 1, or a scale that the source does not make.
        """

    @abstractmethod
    def preview(self, scale: int, count: int = 4) -> Batch:
        """`count` inputs to look at, the same in every process; leaves the random state as it is."""

    @abstractmethod
    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """One learning step on `batch` inputs a process; the named losses, detached; {} where nothing learns."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next inputs; tensors, numbers and strings only."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class SharedSource(Source):
    """A source whose processes make the rows of one joint batch: together what one process would make alone.

    To add a source: implement `rows`, and `learn` if it learns.

    Args:
        rank: this process.
        world_size: number of processes.

    Raises:
        ValueError: a rank that does not fit.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f'rank must lie in 0 … world_size - 1, got {rank} of {world_size}')
        self.rank, self.world_size = rank, world_size
        self.optimizers = []

    @abstractmethod
    def rows(self, share: Share, scale: int) -> Batch:
        """This process's rows of the next joint batch.

        Every process draws the randomness of the whole joint batch, also for an empty share, so that the random states
        stay alike. The `lr` of an empty share has no rows; its other dimensions mean nothing.
        """

    def learn(self, objective: Objective, share: Share, scale: int) -> dict[str, Tensor]:
        """One learning step on this process's rows, with the gradients averaged over the processes."""
        return {}

    def next(self, batch: int, scale: int) -> Batch:
        """The next `batch` inputs of this process for `scale`."""
        return self.rows(self._share(batch), scale)

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """One learning step on `batch` inputs a process; the named losses, detached; {} where nothing learns."""
        return self.learn(objective, self._share(batch), scale)

    def _share(self, batch: int) -> Share:
        if batch < 1:
            raise ValueError(f'batch must be at least 1, got {batch}')
        return Share(self.rank * batch, (self.rank + 1) * batch, self.world_size * batch)


class SeededSource(SharedSource):
    """A source whose randomness is of one private generator on the CPU.

    Args:
        seed: of the randomness; the same in every process.
        rank, world_size: this process's place in a distributed training.
    """

    def __init__(self, seed: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(rank, world_size)
        self._rng = torch.Generator().manual_seed(seed)

    def preview(self, scale: int, count: int = 4) -> Batch:
        """The inputs that would come next in a batch of `count`; the random state stays as it is."""
        state = self._rng.get_state()
        batch = self.rows(Share(0, count, count), scale)
        self._rng.set_state(state)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """`rng`: the random state, the same in every process."""
        return {'rng': self._rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._rng.set_state(state['rng'].cpu())
