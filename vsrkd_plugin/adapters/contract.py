"""What a network says of itself: typed, read in this one place, and asked for by everything else.

A network takes part by attributes and methods; options (`contract_t`, `contract_g`) say the rest, and override it
(`docs/your_network.md` shows both); what nobody says is found out by calling it (`image_sr`, `video_sr`, `probing`).
`complying` has a network keep to its contract, whoever calls it.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from vsrkd_plugin.adapters.known_networks import known_of
from vsrkd_plugin.ops.low_rank import Layer

# What a network raises that is given what it does not take.
UNFIT = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)

# How networks call the number of channels of their input.
_CHANNEL_NAMES = ('num_in_ch', 'in_chans', 'in_channels', 'in_nc', 'n_colors')
UNIT_RANGE = (0.0, 1.0)
_NOTED = '_contract_noted'  # the attribute of a network that holds its `Noted`


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

    def chain(self) -> Sequence[Layer]:
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

    def layers(self) -> list[Layer]: ...

    def inputs(self, clip: Tensor) -> tuple[Tensor, Tensor]: ...

    def start(self, luma: Tensor) -> tuple[Tensor, Tensor]: ...

    def read(self, frames: Tensor, luma: Tensor, state: Tensor, result: Tensor) -> Tensor: ...

    def add(self, luma: Tensor, added: Tensor) -> Tensor: ...


@runtime_checkable
class FrameByFrame(Protocol, metaclass=_ByAttributes):
    """A recurrent network that goes through time in one direction, and can be called for one frame at a time (`RLSP`).

    Its state is tensors `(b, c, h, w)` of LR's size, of `state_channels` channels each, all zero before the first
    frame of a clip. A step reads `frames_before` and `frames_behind` neighbours beside its frame; those that a clip
    has not are its end frames, repeated.
    """

    frames_before: int
    frames_behind: int
    state_channels: tuple[int, ...]

    def frame_step(self, frames: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """SR of a frame, `(b, 3, scale * h, scale * w)`, not clipped, and the next state.

        `frames` are `(b, frames_before + 1 + frames_behind, 3, h, w)` in the network's range.
        """


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
        chain: names of its convolutions in order, where it is a plain chain of them with a ReLU behind each but the
            last; or of one module that holds them all. None where it is none, or has the method `chain`.
        value_range: of what it takes and gives: the values of black and white.
        size_multiple: height and width of its input must be multiples of it.
        min_size: the least height and width of its input.
    """

    channels: int
    pre_upsampling: bool = False
    multi_scale: bool = False
    recurrent: bool = False
    window: int | None = None
    luma_only: bool = False
    growing_body: str | None = None
    chain: tuple[str, ...] | None = None
    value_range: tuple[float, float] = UNIT_RANGE
    size_multiple: int = 1
    min_size: int = 1

    @classmethod
    def of(cls, network: nn.Module, options: Mapping[str, Any] | None = None) -> 'NetworkContract':
        """Read the contract of a network, bare or wrapped (DataParallel, DistributedDataParallel, ProgressiveStudent).

        Args:
            network: built; if `comply` was given options of its contract, they come first.
            options: what it was built with; those that `comply` was given, if not given here.
        """
        network = innermost(network)
        options_said = noted(network)
        options = options or options_said.built or {}
        if isinstance(inner := options.get('network'), Mapping):
            options = inner
        known = known_of(network)

        def said(name: str, default: Any) -> Any:
            return options_said.said[name] if name in options_said.said else getattr(network, name, default)

        return cls(
            channels=options_said.said.get('channels') or _channels(network, options, known.get('channels')),
            pre_upsampling=bool(said('pre_upsampling', False)),
            multi_scale=bool(said('multi_scale', _needs_scale(network))),
            recurrent=bool(said('recurrent', False)),
            window=options_said.said.get('window') or options.get('num_frame') or getattr(network, 'num_frame', None),
            luma_only=bool(options_said.said.get('luma_only', True)) and isinstance(network, ResolvesLuma),
            growing_body=said('growing_body', known.get('growing_body')),
            chain=_names(said('chain', None)),
            value_range=_pair(said('value_range', UNIT_RANGE)),
            size_multiple=int(said('size_multiple', known.get('size_multiple', 1))),
            min_size=int(said('min_size', known.get('min_size', 1))),
        )


@dataclass(frozen=True)
class Noted:
    """What is noted at a network beside what it says itself; deep copies have it too.

    Args:
        said: fields of its contract, by options (`contract_t`, `contract_g`).
        built: the options that it was built with.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    built: Mapping[str, Any] | None = None


def noted(network: nn.Module) -> Noted:
    """What `note` noted of a network."""
    return vars(innermost(network)).get(_NOTED, Noted())


def note(network: nn.Module, said: Mapping[str, Any] | None, built: Mapping[str, Any] | None) -> None:
    """Note what options say of a network; None leaves what was noted before.

    Raises:
        ValueError: no such field, or a network without a method `luma` is to super-resolve Y alone.
    """
    network = innermost(network)
    before = noted(network)
    said = before.said if said is None else {name: value for name, value in said.items() if value is not None}
    if unknown := said.keys() - {known.name for known in fields(NetworkContract)}:
        raise ValueError(f'a contract has no {min(unknown)!r}')
    if said.get('luma_only') and not isinstance(network, ResolvesLuma):
        raise ValueError(f'luma_only: {type(network).__name__} has no method luma, which super-resolves Y alone')
    setattr(network, _NOTED, Noted(said, before.built if built is None else dict(built)))


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


def _channels(network: nn.Module, options: Mapping[str, Any], known: int | None) -> int:
    """By its options, its attribute, its constructor's default, what is known, its first convolution, in this order."""
    defaults = inspect.signature(type(network).__init__).parameters
    for name in _CHANNEL_NAMES:
        default = defaults[name].default if name in defaults else None
        for value in (options.get(name), getattr(network, name, None), default):
            if isinstance(value, int):
                return value
    if known is not None:
        return known
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return first.in_channels if first else 3


def _needs_scale(network: nn.Module) -> bool:
    """Whether `forward` cannot be called without an argument `scale`."""
    scale = inspect.signature(network.forward).parameters.get('scale')
    return scale is not None and scale.default is scale.empty


def _names(chain: Any) -> tuple[str, ...] | None:
    """Names of modules; None of a method or a submodule called `chain`."""
    if isinstance(chain, str):
        return (chain,)
    of_names = isinstance(chain, (list, tuple)) and all(isinstance(name, str) for name in chain)
    return tuple(chain) if of_names and chain else None


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = map(float, values)
    if not low < high:
        raise ValueError(f'value_range: expected two numbers, the lower first, got {list(values)}')
    return low, high
