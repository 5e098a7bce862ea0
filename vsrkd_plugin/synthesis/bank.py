"""The replay bank: inputs are kept with what the teacher said of them, so that it is asked once and used many times."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.turns import TURNS, turned
from vsrkd_plugin.synthesis.source import Objective, Source

# LR images and their scale → the teacher's SR, without gradient.
Label = Callable[[Tensor, int], Tensor]


def bytes_of_pair(channels: int, lr_size: int, scale: int) -> int:
    """What one input and its output take in a bank, in fp16."""
    return 2 * channels * lr_size**2 * (1 + scale**2)


class _Shelf:
    """The pairs of one scale: `(rows, …, s, s)` and `(rows, …, scale * s, scale * s)`, fp16; uses left of each."""

    def __init__(self, rows: int, leading: tuple[int, ...], lr_size: int, scale: int, device: torch.device) -> None:
        half = {'dtype': torch.float16, 'device': device}
        self.lr = torch.zeros(rows, *leading, lr_size, lr_size, **half)
        self.target = torch.zeros(rows, *leading, scale * lr_size, scale * lr_size, **half)
        self.left = torch.zeros(rows, dtype=torch.int64)  # on the CPU: choosing rows must not wait for a GPU


class ReplayBank:
    """Gives every input `reuse` times, with the teacher's output, which it asks for once.

    At most `rows` pairs of each scale are kept. A batch is drawn at random from them; a pair that was drawn `reuse`
    times goes, and a fresh batch from the source takes the place of as many. Until all places are taken every draw asks
    the teacher: `rows / batch` draws of a scale. Pairs are turned and flipped at random, input and output alike, which
    a super-resolver's output follows nearly; on average over the turns the target is the teacher's self-ensemble.

    Args:
        source: where fresh inputs come from.
        label: what the teacher says of them.
        channels: of the images.
        lr_sizes: scale → side of the LR images.
        frames: of a clip; None for images. A clip is `(frames, c, s, s)`, and one pair.
        reuse: how often each pair is given; 1 keeps nothing.
        rows: pairs kept of each scale.
        turn: whether pairs are turned.
        seed: of the choice.
        device: where pairs are kept.
        keep: whether `state_dict` holds the pairs. Without them a bank that goes on fills anew; several processes, of
            which one writes the state, must not go on with the pairs of that one.

    Raises:
        ValueError: `reuse` or `rows` below 1.
    """

    def __init__(
        self,
        source: Source,
        label: Label,
        *,
        channels: int,
        lr_sizes: Mapping[int, int],
        frames: int | None = None,
        reuse: int,
        rows: int = 1024,
        turn: bool = True,
        seed: int = 0,
        device: torch.device | str = 'cpu',
        keep: bool = True,
    ) -> None:
        if reuse < 1 or rows < 1:
            raise ValueError(f'reuse and rows must be at least 1, got {reuse} and {rows}')
        self.source, self.label = source, label
        self.reuse, self.turn, self.keep = reuse, turn, keep
        self.optimizers = source.optimizers
        self.asked = 0  # inputs that the teacher was asked about
        self._rng = torch.Generator().manual_seed(seed)
        place = torch.device(device)
        leading = (channels,) if frames is None else (frames, channels)
        self._shelves = {s: _Shelf(rows, leading, n, s, place) for s, n in lr_sizes.items()} if reuse > 1 else {}

    def draw(self, batch: int, scale: int) -> tuple[Tensor, Tensor]:
        """The next pairs: LR `(batch, c, s, s)` (clips `(batch, t, c, s, s)`) and the teacher's SR, fp32, no gradient.

        Raises:
            ValueError: fewer rows are kept than two batches.
        """
        if self.reuse == 1:
            return self._ask(batch, scale)
        shelf = self._shelves[scale]
        if 2 * batch > len(shelf.left):  # or what is left between two refills may be less than a batch
            raise ValueError(f'a bank of {len(shelf.left)} rows cannot give batches of {batch}; expected two or more')
        free = (shelf.left == 0).nonzero().flatten()
        if len(free) >= batch:
            places = free[:batch]
            lr, target = self._ask(batch, scale)
            shelf.lr[places], shelf.target[places] = lr.half(), target.half()
            shelf.left[places] = self.reuse
        held = shelf.left.nonzero().flatten()
        rows = held[torch.randperm(len(held), generator=self._rng)[:batch]]
        shelf.left[rows] -= 1
        turn = int(torch.randint(TURNS, (), generator=self._rng)) if self.turn else 0
        return turned(shelf.lr[rows].float(), turn), turned(shelf.target[rows].float(), turn)

    def _ask(self, batch: int, scale: int) -> tuple[Tensor, Tensor]:
        # The teacher must see what will be kept, or the pair would not be one.
        lr = self.source.sample(batch, scale).half().float()
        self.asked += batch
        return lr, self.label(lr, scale)

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """A learning step of the source."""
        return self.source.step(objective, batch, scale)

    def preview(self, scale: int, count: int = 4) -> Tensor:
        """Fresh images of the source."""
        return self.source.preview(scale, count)

    def state_dict(self) -> dict[str, Any]:
        """The source's state, the random state and every pair kept."""
        return {
            'source': self.source.state_dict(),
            'rng': self._rng.get_state(),
            'asked': self.asked,
            'shelves': {
                scale: {'lr': shelf.lr, 'target': shelf.target, 'left': shelf.left}
                for scale, shelf in self._shelves.items()
                if self.keep
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: the state is of a bank of other scales or sizes.
        """
        if state['shelves'] and state['shelves'].keys() != self._shelves.keys():
            raise ValueError(f'a bank of the scales {list(state["shelves"])}, expected {list(self._shelves)}')
        for scale, stored in state['shelves'].items():
            shelf = self._shelves[scale]
            if stored['target'].shape != shelf.target.shape:
                raise ValueError(
                    f'a bank of {tuple(stored["target"].shape)} for x{scale}, expected {tuple(shelf.target.shape)}'
                )
            for name, values in stored.items():
                getattr(shelf, name).copy_(values)
        self.source.load_state_dict(state['source'])
        self._rng.set_state(state['rng'].cpu())
        self.asked = state['asked']
