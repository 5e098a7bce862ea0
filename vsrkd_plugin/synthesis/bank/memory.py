"""The replay bank: inputs are kept with the teacher's outputs, so that it runs once for an input used many times."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral
from vsrkd_plugin.synthesis.bank.sample_spec import (
    NUMBERS,
    SampleSpec,
    crop,
    decode,
    draw_windows,
    encode,
    motion_of,
    packed_motion,
)
from vsrkd_plugin.synthesis.source import Batch, Objective, Source

# LR images and their scale → the teacher's SR, without gradient.
TeacherTarget = Callable[[Tensor, int], Tensor]

ROWS = 1024  # samples that a bank keeps of each scale


class _Shelf:
    """The samples of one scale, and how often each will still be given."""

    def __init__(self, rows: int, kind: SampleSpec, scale: int, numbers: str, device: torch.device) -> None:
        dtype = NUMBERS[numbers]
        self.lr = torch.zeros(rows, *kind.lr_shape(scale), dtype=dtype, device=device)
        self.target = torch.zeros(rows, *kind.target_shape(scale), dtype=dtype, device=device)
        self.motion = torch.zeros(rows, kind.motion_numbers)
        self.left = torch.zeros(rows, dtype=torch.int64)  # on the CPU, as motion: choosing rows must not wait for a GPU


class ReplayBank(Source):
    """Gives every input `reuse` times with the teacher's output, which is computed once.

    At most `rows` samples of each scale are kept. A batch is drawn at random from them; a sample that was drawn `reuse`
    times is dropped, and a fresh batch from the source takes the place of as many. Until all places are taken, every
    batch needs the teacher: the first `rows / batch` of a scale. Samples are flipped and rotated at random, input and
    output alike, which a super-resolver's output nearly follows; on average over the eight the target is the teacher's
    self-ensemble. Samples that are larger than wanted are cropped at random in space and time.

    Each process keeps a bank of its own, of its own share of the source's batches.

    Args:
        source: where fresh inputs come from.
        teacher_target: LR images and their scale → the teacher's SR.
        kind: of the samples that the source makes and the bank keeps.
        wanted: kind of the samples that are given; those kept, if None.
        reuse: how often each sample is given; 1 keeps nothing.
        rows: samples kept of each scale.
        numbers: how they are kept, `fp16` or `uint8`.
        turn: whether samples are flipped and rotated.
        seed: of the choice.
        device: where samples are kept.

    Raises:
        ValueError: `reuse` or `rows` below 1; the wanted samples are larger than those kept.
    """

    def __init__(
        self,
        source: Source,
        teacher_target: TeacherTarget,
        kind: SampleSpec,
        *,
        wanted: SampleSpec | None = None,
        reuse: int,
        rows: int = ROWS,
        numbers: str = 'fp16',
        turn: bool = True,
        seed: int = 0,
        device: torch.device | str = 'cpu',
    ) -> None:
        if reuse < 1 or rows < 1:
            raise ValueError(f'reuse and rows must be at least 1, got {reuse} and {rows}')
        self.kind, self.wanted = kind, wanted or kind
        if not kind.holds(self.wanted):
            raise ValueError(f'from {kind} cannot be cropped: {self.wanted}')
        self.source, self.teacher_target = source, teacher_target
        self.reuse, self.numbers, self.turn = reuse, numbers, turn
        self.optimizers = source.optimizers
        self.asked = 0  # inputs that the teacher has seen
        self._rng = torch.Generator().manual_seed(seed)
        place = torch.device(device)
        self._shelves = {scale: _Shelf(rows, kind, scale, numbers, place) for scale in kind.lr_sizes if reuse > 1}

    def next(self, batch: int, scale: int) -> Batch:
        """The next inputs with the teacher's outputs, fp32, without gradient.

        Raises:
            ValueError: fewer rows are kept than two batches.
        """
        if self.reuse == 1:
            return self._given(*self._ask(batch, scale), torch.arange(batch), scale, 0)
        shelf = self._shelves[scale]
        if 2 * batch > len(shelf.left):  # or what is left between two refills may be less than a batch
            raise ValueError(f'a bank of {len(shelf.left)} rows cannot give batches of {batch}; expected two or more')
        free = (shelf.left == 0).nonzero().flatten()
        if len(free) >= batch:
            places = free[:batch]
            lr, target, motion = self._ask(batch, scale)
            shelf.lr[places], shelf.target[places] = encode(lr, self.numbers), encode(target, self.numbers)
            shelf.motion[places] = motion
            shelf.left[places] = self.reuse
        held = shelf.left.nonzero().flatten()
        rows = held[torch.randperm(len(held), generator=self._rng)[:batch]]
        shelf.left[rows] -= 1
        turn = int(torch.randint(NUM_DIHEDRAL, (), generator=self._rng)) if self.turn else 0
        return self._given(shelf.lr, shelf.target, shelf.motion, rows, scale, turn)

    def _given(self, lr: Tensor, target: Tensor, motion: Tensor, rows: Tensor, scale: int, turn: int) -> Batch:
        """Some rows, cropped to the wanted size, flipped and rotated."""
        windows = draw_windows(self.kind, self.wanted, scale, len(rows), self._rng)
        crops = [
            (crop(lr[row], window, self.wanted, scale), crop(target[row], window, self.wanted, scale, scale))
            for row, window in zip(rows, windows, strict=True)
        ]
        lr, target = (apply_dihedral(decode(torch.stack(part)), turn) for part in zip(*crops, strict=True))
        if not self.kind.layers:
            return Batch(lr, target)
        return Batch(lr, target, motion_of(motion[rows], self.kind, windows, self.wanted, scale, turn).to(lr.device))

    def _ask(self, batch: int, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """Fresh inputs, the teacher's outputs, and the motion as it is kept."""
        inputs = self.source.next(batch, scale)
        # The teacher must see the input as it will be given to the student: rounded.
        lr = decode(encode(inputs.lr, self.numbers))
        self.asked += batch
        return lr, self.teacher_target(lr, scale), packed_motion(inputs, self.kind)

    def step(self, objective: Objective, batch: int, scale: int) -> dict[str, Tensor]:
        """A learning step of the source."""
        return self.source.step(objective, batch, scale)

    def preview(self, scale: int, count: int = 4) -> Batch:
        """Fresh inputs of the source, without the teacher's outputs."""
        return self.source.preview(scale, count)

    def state_dict(self) -> dict[str, Any]:
        """The source's state, the random state and every sample kept."""
        return {
            'source': self.source.state_dict(),
            'rng': self._rng.get_state(),
            'asked': self.asked,
            'shelves': {
                scale: {name: getattr(shelf, name) for name in ('lr', 'target', 'motion', 'left')}
                for scale, shelf in self._shelves.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; of a state without `shelves` it is filled anew.

        Raises:
            ValueError: the state is of a bank of other scales or sizes.
        """
        if state['shelves'] and state['shelves'].keys() != self._shelves.keys():
            raise ValueError(f'a bank of the scales {list(state["shelves"])}, expected {list(self._shelves)}')
        for scale, stored in state['shelves'].items():
            shelf = self._shelves[scale]
            for name in ('lr', 'target'):
                was, now = stored[name], getattr(shelf, name)
                if (was.shape, was.dtype) != (now.shape, now.dtype):
                    raise ValueError(
                        f'a bank of {tuple(was.shape)} {was.dtype} for x{scale}, expected {tuple(now.shape)} '
                        f'{now.dtype}'
                    )
            for name, values in stored.items():
                getattr(shelf, name).copy_(values)
        self.source.load_state_dict(state['source'])
        self._rng.set_state(state['rng'].cpu())
        self.asked = state['asked']
