"""The flips and rotations against numpy's."""

import numpy as np
import pytest
import torch

from vsrkd_plugin.ops.dihedral import NUM_DIHEDRAL, apply_dihedral, undo_dihedral


@pytest.mark.parametrize('turn', range(NUM_DIHEDRAL))
def test_turns_as_numpy_and_back(turn: int) -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    expected = np.rot90(x.numpy()[..., ::-1] if turn >= 4 else x.numpy(), turn % 4, (-2, -1))
    assert np.array_equal(apply_dihedral(x, turn).numpy(), expected)
    assert torch.equal(undo_dihedral(apply_dihedral(x, turn), turn), x)


def test_all_differ() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert len({apply_dihedral(x, turn).numpy().tobytes() for turn in range(NUM_DIHEDRAL)}) == 8
