"""How a network of 3D convolutions may begin: with filters that see what changes from frame to frame."""

import torch
from torch import nn


def over_time(network: nn.Module) -> list[nn.Conv3d]:
    """The 3D convolutions that read several frames; weights `(out, in, frames, rows, columns)`."""
    return [module for module in network.modules() if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1]


@torch.no_grad()
def start_as_differences(network: nn.Module) -> None:
    """Take the mean over time from the first half of the filters of each of `over_time(network)`.

    Neighbouring frames are nearly alike: what differs in them is a few hundredths of what filters started at random
    answer to, and a network learns single frames first. What sees differences alone is not drowned by the rest, and
    the batch normalisation behind it makes it as large. Where a layer pads with zeros in time (DUF's first three), the
    ends of a clip count as a change.
    """
    for layer in over_time(network):
        filters = layer.weight[: layer.out_channels // 2]
        filters -= filters.mean(2, keepdim=True)
