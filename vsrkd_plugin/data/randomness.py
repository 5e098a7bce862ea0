"""Random numbers for data sets."""

import torch


def randint(stop: int) -> int:
    """A whole number from 0 to below `stop`, of torch's generator: BasicSR's workers reseed random and numpy alike."""
    return int(torch.randint(stop, ()))
