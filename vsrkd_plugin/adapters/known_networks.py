"""What is known of BasicSR's networks, which say nothing of themselves; by the names of their classes."""

from collections.abc import Callable
from typing import Any

from torch import nn

# The sequence of equal blocks of networks that can grow, their copies elsewhere included.
_GROWING_BODIES = {'EDSR': 'body', 'MSRResNet': 'body'}
# Sizes that a network needs and does not see to itself; channels where its first convolution does not tell them.
_KNOWN: dict[str, Callable[[Any], dict[str, Any]]] = {
    'SwinIR': lambda network: {'size_multiple': _window_size(network)},
    'EDVR': lambda network: {'size_multiple': 16 if network.hr_in else 4},
    'RRDBNet': lambda network: _unshuffled(network, {2: 2, 1: 4}.get(network.scale, 1)),
    'BasicVSR': lambda network: {'min_size': 33},  # its SPyNet halves the frames five times
    'IconVSR': lambda network: {'min_size': 33},
    'TOFlow': lambda network: {'size_multiple': 16},
    'BasicVSRPlusPlus': lambda network: (
        {'min_size': 64} if network.is_low_res_input else {'min_size': 256, 'size_multiple': 4}
    ),
}


def known_of(network: nn.Module) -> dict[str, Any]:
    """Fields of a bare network's contract; none of one that is not known."""
    name, module = type(network).__name__, type(network).__module__
    body = {'growing_body': _GROWING_BODIES[name]} if name in _GROWING_BODIES else {}
    # Others' networks of these names may be built otherwise.
    return body | _KNOWN[name](network) if name in _KNOWN and module.startswith('basicsr.') else body


def _window_size(network: nn.Module) -> int:
    """Of SwinIR, whose blocks know it."""
    sizes = [getattr(module, 'window_size', None) for module in network.modules()]
    return max((size for size in sizes if isinstance(size, int)), default=1)


def _unshuffled(network: Any, factor: int) -> dict[str, int]:
    """Of RRDBNet, whose first layer reads `factor` pixels in each direction as channels."""
    return {'size_multiple': factor, 'channels': network.conv_first.in_channels // factor**2}
