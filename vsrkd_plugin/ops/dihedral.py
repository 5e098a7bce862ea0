"""The eight flips and rotations of the square."""

import torch
from torch import Tensor

NUM_DIHEDRAL = 8


def apply_dihedral(x: Tensor, turn: int) -> Tensor:
    """Flip and rotation number `turn` (0 … 7; 0: none) of `(…, h, w)`."""
    x = x.flip(-1) if turn >= 4 else x
    return torch.rot90(x, turn % 4, (-2, -1))


def undo_dihedral(x: Tensor, turn: int) -> Tensor:
    """What `apply_dihedral` made `x` of."""
    x = torch.rot90(x, -(turn % 4), (-2, -1))
    return x.flip(-1) if turn >= 4 else x
