"""The eight flips and rotations of the square."""

import torch
from torch import Tensor

TURNS = 8


def turned(x: Tensor, turn: int) -> Tensor:
    """Flip and rotation number `turn` (0 … 7; 0: none) of `(…, h, w)`."""
    x = x.flip(-1) if turn >= 4 else x
    return torch.rot90(x, turn % 4, (-2, -1))


def turned_back(x: Tensor, turn: int) -> Tensor:
    """What `turned` made `x` of."""
    x = torch.rot90(x, -(turn % 4), (-2, -1))
    return x.flip(-1) if turn >= 4 else x
