"""An SR network seen as an encoder, and a decoder that makes SR of the features: any network, cut before a module."""

from typing import Any

from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import innermost


class _ReachedError(Exception):
    """The decoder starts here; carries the features."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class SplitNetwork:
    """A network in two parts; both are used by calling the whole.

    Args:
        network: of one scale, LR in.
        decoder_start: the module (`upsample`, `body.8`) whose input the features are. What a network adds behind that
            module of what it had before (EDSR's trunk) is part of neither. Taken from the network's own attribute
            `decoder_start` where it is not given.

    Raises:
        ValueError: it is not said, or the network has no such module.
    """

    def __init__(self, network: nn.Module, decoder_start: str | None = None) -> None:
        inner = innermost(network)
        modules = dict(inner.named_modules())
        name = decoder_start or getattr(inner, 'decoder_start', None)
        if not name or name not in modules:
            there = ', '.join([key for key in modules if key][:12])
            wanted = 'the module that the decoder starts with'
            found = f'has no module {name!r}' if name else f'does not say {wanted}'
            raise ValueError(f'{type(inner).__name__} {found}; it has {there}, …')
        self.network, self.name = network, name
        self._features: Tensor | None = None
        self._wants, self._ends = False, False
        modules[name].register_forward_pre_hook(self._look)

    def encode(self, lr: Tensor) -> Tensor:
        """LR `(n, c, h, w)` to its features; the decoder is not run.

        Raises:
            RuntimeError: the network does not come to the decoder.
        """
        self._wants = self._ends = True
        try:
            self.network(lr)
        except _ReachedError as reached:
            return reached.features
        finally:
            self._wants = self._ends = False
        raise RuntimeError(f'{self.name} took no part')

    def __call__(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """LR `(n, c, h, w)` to its features and its SR, in one pass.

        Raises:
            RuntimeError: the network does not come to the decoder.
        """
        self._wants = True
        try:
            sr = self.network(lr)
        finally:
            self._wants = False
        if self._features is None:
            raise RuntimeError(f'{self.name} took no part')
        features, self._features = self._features, None
        return features, sr

    def _look(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self._wants:
            return
        if self._ends:
            raise _ReachedError(inputs[0])
        self._features = inputs[0]
