"""What a network says of itself: typed, read in this one place, and asked for by everything else.

A network takes part by attributes and methods (`docs/architecture.md` lists them); what its class does not say may be
said by the options that it was built with; what nobody says is found out by calling it (`image_sr`, `video_sr`).
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

# What a network raises that is given what it does not take.
UNFIT = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)

# How networks call the number of channels of their input.
_CHANNEL_NAMES = ('num_in_ch', 'in_chans', 'in_channels', 'in_nc', 'n_colors')
# The sequence of equal blocks of BasicSR's networks that can grow; other networks say it by `growing_body`.
_GROWING_BODIES = {'EDSR': 'body', 'MSRResNet': 'body'}


class _ByAttributes(type(Protocol)):  # type: ignore[misc]  # typing's metaclass of protocols has no public name
    """Asks an object itself for a protocol's attributes.

    Since Python 3.12 typing looks into the class and `__dict__` alone, where a module's submodules are not.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        protocols = [base for base in cls.__mro__ if isinstance(base, _ByAttributes)]
        members = {name: value for base in protocols for name, value in vars(base).items() if not name.startswith('_')}
        attributes = {name for base in protocols for name in vars(base).get('__annotations__', ())} - members.keys()
        # A method must be one of the class: a submodule of its name (`luma`, `chain`) is something else.
        has_methods = all(inspect.isroutine(getattr(type(instance), name, None)) for name in members)
        return has_methods and all(hasattr(instance, name) for name in attributes)


@runtime_checkable
class ResolvesLuma(Protocol, metaclass=_ByAttributes):
    """Super-resolves Y alone, and merely enlarges chroma."""

    def luma(self, x: Tensor) -> Tensor:
        """Y of the SR clip."""


@runtime_checkable
class Chained(Protocol, metaclass=_ByAttributes):
    """Is a plain chain of convolutions."""

    def chain(self) -> Sequence[nn.Conv2d]:
        """The convolutions in order, a ReLU behind each but the last."""


@runtime_checkable
class AlternatingBody(Protocol, metaclass=_ByAttributes):
    """Keeps convolutions and activations in one list, as BasicSR's `SRVGGNetCompact` does."""

    body: nn.ModuleList


@runtime_checkable
class SkipsBlocks(Protocol, metaclass=_ByAttributes):
    """Skips its last blocks by itself."""

    active_blocks: int

    def growing_blocks(self) -> list[nn.Module]:
        """All its equal blocks, in order."""


@runtime_checkable
class StartsBlocks(Protocol, metaclass=_ByAttributes):
    """Knows how one of its blocks is made an identity."""

    def reset_block_to_identity(self, block: nn.Module) -> None:
        """Have a block pass on what comes in."""


@runtime_checkable
class Grows(Protocol, metaclass=_ByAttributes):
    """Holds a network whose blocks become active one after the other (`ProgressiveStudent`)."""

    network: nn.Module
    active: int
    depth: int


@runtime_checkable
class Checkpointable(Protocol, metaclass=_ByAttributes):
    """Can keep only the states between frames while it trains, and compute the rest anew for the gradient."""

    checkpointed: bool


@runtime_checkable
class RecurrentChain(Protocol, metaclass=_ByAttributes):
    """A recurrent network that goes frame by frame through a chain of convolutions (`RLSP`).

    `layers` gives the chain, a ReLU behind each but the last; the last two both read what the one before them gives:
    the last but one makes the next state, the last what is added to the input. `start`, `read` and `add` tell what
    comes before the first frame, what the first layer reads, and what becomes of that which the last one gives.
    """

    num_feat: int
    upscale: int
    normalised: bool

    def layers(self) -> list[nn.Conv2d]: ...

    def inputs(self, clip: Tensor) -> tuple[Tensor, Tensor]: ...

    def start(self, luma: Tensor) -> tuple[Tensor, Tensor]: ...

    def read(self, frames: Tensor, luma: Tensor, state: Tensor, result: Tensor) -> Tensor: ...

    def add(self, luma: Tensor, added: Tensor) -> Tensor: ...


@runtime_checkable
class Residual(Protocol, metaclass=_ByAttributes):
    """A block that adds to its input, as BasicSR's do: zeros in its last convolution make it an identity."""

    res_scale: float


@runtime_checkable
class ResidualBlock(Residual, Protocol, metaclass=_ByAttributes):
    """A block of BasicSR's EDSR: `x + res_scale * conv2(relu(conv1(x)))`."""

    conv1: nn.Conv2d
    conv2: nn.Conv2d


@runtime_checkable
class ResidualNetwork(Protocol, metaclass=_ByAttributes):
    """Is built as BasicSR's EDSR: residual blocks on a trunk."""

    conv_first: nn.Conv2d
    body: nn.Sequential
    conv_after_body: nn.Conv2d
    upsample: nn.Sequential
    conv_last: nn.Conv2d
    mean: Tensor
    img_range: float


@dataclass(frozen=True)
class NetworkContract:
    """What is known of a network before it is called.

    Attributes:
        channels: of its input: 1 (Y) or 3 (RGB).
        pre_upsampling: its input is at HR size already (bicubic before the network).
        multi_scale: its `forward` takes an argument `scale`, and one set of weights serves every scale.
        recurrent: it takes clips of any length; also networks that do not say so may be.
        window: frames of its sliding window; None where it does not say.
        luma_only: it super-resolves Y of RGB, and enlarges chroma by bicubic.
        growing_body: the attribute that holds its `nn.Sequential` of equal blocks; None where it does not say.
    """

    channels: int
    pre_upsampling: bool = False
    multi_scale: bool = False
    recurrent: bool = False
    window: int | None = None
    luma_only: bool = False
    growing_body: str | None = None

    @classmethod
    def of(cls, network: nn.Module, options: Mapping[str, Any] | None = None) -> 'NetworkContract':
        """Read the contract of a network, bare or wrapped (DataParallel, DistributedDataParallel, ProgressiveStudent).

        Args:
            network: built.
            options: what it was built with.
        """
        network, options = innermost(network), options or {}
        if isinstance(inner := options.get('network'), Mapping):
            options = inner

        def said(name: str, default: Any) -> Any:
            return getattr(network, name, default)

        return cls(
            channels=_channels(network, options),
            pre_upsampling=bool(said('pre_upsampling', False)),
            multi_scale=bool(said('multi_scale', False)),
            recurrent=bool(said('recurrent', False)),
            window=options.get('num_frame') or said('num_frame', None),
            luma_only=isinstance(network, ResolvesLuma),
            growing_body=said('growing_body', _GROWING_BODIES.get(type(network).__name__)),
        )


def bare(network: nn.Module) -> nn.Module:
    """A network without DataParallel or DistributedDataParallel around it."""
    return network.module if isinstance(network, (DataParallel, DistributedDataParallel)) else network


def innermost(network: nn.Module) -> nn.Module:
    """A network without anything around it: neither that nor a `ProgressiveStudent`."""
    network = bare(network)
    return innermost(network.network) if isinstance(network, Grows) else network


def input_channels(network: nn.Module, options: Mapping[str, Any] | None = None) -> int:
    """Channels of a network's input; arguments as of `NetworkContract.of`."""
    return NetworkContract.of(network, options).channels


def _channels(network: nn.Module, options: Mapping[str, Any]) -> int:
    """By its options, its attribute, its constructor's default, its first convolution, in this order."""
    defaults = inspect.signature(type(network).__init__).parameters
    for name in _CHANNEL_NAMES:
        default = defaults[name].default if name in defaults else None
        for value in (options.get(name), getattr(network, name, None), default):
            if isinstance(value, int):
                return value
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return first.in_channels if first else 3
