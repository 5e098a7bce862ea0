"""A network that is grown block by block (section 3.3 of the paper) while its shapes stay constant."""

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import NetworkContract, Residual, SkipsBlocks, StartsBlocks


class GrowingSequential(nn.Sequential):
    """An `nn.Sequential` that runs its first `active_blocks` only; its state dict holds them all."""

    active_blocks: int

    def growing_blocks(self) -> list[nn.Module]:
        """All blocks."""
        return list(self)

    def forward(self, x: Tensor) -> Tensor:
        for block in list(self)[: self.active_blocks]:
            x = block(x)
        return x


@ARCH_REGISTRY.register()
class ProgressiveStudent(nn.Module):
    """Allocates a network at full depth and skips the blocks that are not grown yet.

    Optimiser, EMA, resume and checkpoint see constant shapes. Its state dict is the inner network's, so a checkpoint
    loads in the plain network, and the other way round.

    Args:
        network: options of the network, with `type`: one of ours, BasicSR's EDSR or MSRResNet, or any with an
            attribute `growing_body` that names its `nn.Sequential` of equal blocks, or with a method `growing_blocks`
            that lists them and an attribute `active_blocks` by which it skips some itself; or a built network.
        active: blocks that run at the start. Default all.
        block_start: how blocks that are not grown yet begin: `identity` (growing leaves the function unchanged),
            `random` (the paper) or `keep` (as the network made them).
        contract: what options say of the network (`growing_body`, say).

    Raises:
        ValueError: the network has no such body, `active` is not in 1..depth, or a block cannot be made an identity.
    """

    def __init__(
        self,
        *,
        network: Mapping[str, Any] | nn.Module,
        active: int | None = None,
        block_start: str = 'identity',
        contract: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if block_start not in ('identity', 'random', 'keep'):
            raise ValueError(f'block_start must be identity, random or keep, got {block_start!r}')
        if isinstance(network, nn.Module):
            built = network
        else:
            arguments = dict(network)
            built = ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)
        self.network = built
        said = NetworkContract.of(comply(built, contract))
        self._body_name = ''  # of the body that skips blocks; empty where the network does so itself
        if not isinstance(built, SkipsBlocks):
            name = said.growing_body or ''
            body = dict(built.named_children()).get(name)
            if not isinstance(body, nn.Sequential):
                raise ValueError(
                    f'{type(built).__name__} cannot grow: it names no nn.Sequential of equal blocks in `growing_body`'
                )
            growing = GrowingSequential(*body)
            growing.active_blocks = len(body)
            built.register_module(name, growing)
            self._body_name = name
        self.multi_scale, self.pre_upsampling = said.multi_scale, said.pre_upsampling
        self.recurrent = said.recurrent
        self.active = self.depth if active is None else active
        for block in self.blocks[self.active :]:
            if block_start == 'identity':
                make_identity(built, block)
            elif block_start == 'random':
                make_random(block)

    @property
    def _growing(self) -> SkipsBlocks:
        """The network, or its body: what skips blocks by its `active_blocks`."""
        growing = self.network.get_submodule(self._body_name)  # '' is the network itself
        assert isinstance(growing, SkipsBlocks)
        return growing

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks, grown or not."""
        return self._growing.growing_blocks()

    @property
    def depth(self) -> int:
        """How many blocks there are, grown or not."""
        return len(self.blocks)

    @property
    def active(self) -> int:
        """How many blocks run."""
        return self._growing.active_blocks

    @active.setter
    def active(self, count: int) -> None:
        if not 1 <= count <= self.depth:
            raise ValueError(f'active blocks must be 1 to {self.depth}, got {count}')
        self._growing.active_blocks = count

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """As the inner network."""
        return self.network(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.network.load_state_dict(*args, **kwargs)


def make_identity(network: nn.Module, block: nn.Module) -> None:
    """Make a block pass its input on exactly: by the network's own `reset_block_to_identity`, or, for a residual
    block (`x + …`), by zeros in its last convolution.

    Raises:
        ValueError: neither is possible.
    """
    if isinstance(network, StartsBlocks):
        network.reset_block_to_identity(block)
        return
    convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    last = convolutions[-1] if convolutions else None
    if last is None or not isinstance(block, Residual):
        raise ValueError(f'a block {type(block).__name__} cannot be started as identity; use block_start: random')
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


def make_random(block: nn.Module) -> None:
    """Start a block's convolutions afresh by He's normal distribution (fan-out), biases at zero."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            if module.bias is not None:
                with torch.no_grad():
                    module.bias.zero_()
