"""Which network a checkpoint is of: its family and arguments, told from its state dict alone."""

import copy
import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import torch
from basicsr.archs import build_network
from torch import Tensor, nn

from vsrkd_plugin.adapters.contract import UNFIT
from vsrkd_plugin.archs.spandrel_network_arch import network_class
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.inspection.families import FAMILIES, Family
from vsrkd_plugin.inspection.low_rank import of_low_rank, without_pairs
from vsrkd_plugin.inspection.shapes import Shapes, UnlikeFamily

# What trainings put before the names of a network's weights.
_PREFIXES = ('module.', 'netG.', 'net_g.', 'generator.', 'model.', 'network.', '_orig_mod.')
_MOST_CANDIDATES = 16


@dataclass(frozen=True)
class Candidate:
    """A network that a checkpoint may be of.

    Attributes:
        options: `{type, …}`, as an options file has them.
        weights: the state dict, with the names that the network has.
        is_video: it takes clips.
        source: who knows the family: BasicSR and this package, or spandrel.
        contract: what its library knows of the sizes that it takes.
        network: where it is there already, rather than built of its options.
    """

    options: dict[str, Any]
    weights: Mapping[str, Tensor]
    is_video: bool = False
    source: str = 'BasicSR'
    contract: Mapping[str, Any] | None = None
    network: nn.Module | None = None

    def build(self) -> nn.Module:
        """The network with its weights, frozen, in evaluation mode, fp32 on the CPU; its own each time."""
        if self.network is not None:
            return copy.deepcopy(self.network).cpu().float().eval().requires_grad_(False)
        return _loaded(_built(self.options), self.weights)


def recognise(path: str, weights: Mapping[str, Tensor]) -> list[Candidate]:
    """The networks that a checkpoint's weights fit, name by name and shape by shape.

    Several where shapes leave arguments open. Families of BasicSR and of this package are looked for first, then those
    of spandrel where it is installed.

    Args:
        path: of the file, for errors.
        weights: its state dict.

    Raises:
        UserError: it is no network of images (a LoRA, a diffusion model, a classifier), holds values that are not
            finite, or is of no known family: tells which were looked at and what comes near.
    """
    _refuse_others(path, weights)
    _refuse_broken(path, weights)
    if (whole := without_pairs(weights)) is not None:
        return _of_low_rank(path, weights, *whole)
    near: list[tuple[float, str]] = []
    for named in _without_prefixes(weights):
        for family in FAMILIES:
            found = list(_fitting(family, named, near))
            if found:
                return found
    foreign = _of_spandrel(weights)
    if foreign is not None:
        return [foreign]
    raise UserError(f'{path}: {_unknown(near)}')


def _of_low_rank(path: str, weights: Mapping[str, Tensor], whole: Mapping[str, Tensor], rank: int) -> list[Candidate]:
    """The networks that weights fit which fit, with one layer in the place of each pair, those that are known.

    Raises:
        UserError: there is none.
    """
    found = []
    for candidate in recognise(path, whole):
        options = of_low_rank(candidate.options, rank)
        try:
            expected = _shapes_of(_built(options))
        except ValueError:  # no layer of it has fewer weights at this rank
            continue
        named = next((each for each in _without_prefixes(weights) if _difference(expected, each) is None), None)
        if named is not None:
            found.append(replace(candidate, options=options, weights=named, network=None))
    if not found:
        raise UserError(f'{path}: has pairs of convolutions of rank {rank} in other places than a LowRankNetwork')
    return found


def named_candidate(path: str, weights: Mapping[str, Tensor], options: dict[str, Any]) -> Candidate:
    """The network that the user names.

    Raises:
        UserError: it cannot be built so, or the weights do not fit it.
    """
    _refuse_broken(path, weights)
    if not isinstance(options.get('type'), str):
        raise UserError(f'--network: expected TYPE or {{type: TYPE, …}}, got {options}')
    try:
        network = _built(options)
    except Exception as error:  # whatever a class of the user's raises of its arguments
        raise UserError(f'--network {options["type"]}: cannot be built: {first_line(error)}') from error
    expected = _shapes_of(network)
    for named in _without_prefixes(weights):
        if _difference(expected, named) is None:
            is_video = options['type'] in (family.type for family in FAMILIES if family.is_video)
            return Candidate(options, named, is_video, source='--network')
    what = _difference(expected, weights)
    raise UserError(f'{path}: does not fit --network {options["type"]}: {what}')


def _without_prefixes(weights: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """The weights as they are, then with each prefix taken off that all share."""
    yield weights
    taken = True
    while taken:
        taken = False
        for prefix in _PREFIXES:
            # Of a GAN's checkpoint the generator's part alone is meant.
            inner = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
            if inner and (len(inner) == len(weights) or prefix in ('netG.', 'net_g.', 'generator.')):
                weights, taken = inner, True
                yield weights


def _fitting(family: Family, weights: Mapping[str, Tensor], near: list[tuple[float, str]]) -> Iterator[Candidate]:
    """Candidates of a family whose network has exactly these weights; what does not fit is noted in `near`."""
    try:
        guesses = list(family.guess(Shapes(weights)))[:_MOST_CANDIDATES]
    except (UnlikeFamily, ArithmeticError, LookupError, ValueError) as unlike:
        # The names are a stranger's: `body.conv.weight`, say, where a family has numbers.
        near.append((0.0, f'{family.type}: {first_line(unlike)}'))
        return
    for arguments in guesses:
        options = {'type': family.type, **arguments}
        try:
            expected = _shapes_of(_built(options))
        except Exception as error:  # constructors raise whatever they like of arguments that make no sense
            near.append((0.0, f'{family.type}: {first_line(error)}'))
            continue
        if (difference := _difference(expected, weights)) is not None:
            fit = sum(expected.get(name) == tuple(value.shape) for name, value in weights.items())
            near.append((fit / max(len(expected), len(weights)), f'{family.type}: {difference}'))
            continue
        yield Candidate(options, weights, family.is_video)


def _built(options: dict[str, Any]) -> nn.Module:
    """The network, built without a word."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), torch.random.fork_rng(devices=[]):
        return build_network(dict(options))


def _loaded(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    kept = network.state_dict()
    network.load_state_dict({name: weights.get(name, kept[name]) for name in kept})
    return network.eval().requires_grad_(False)


def _shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _difference(expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> str | None:
    """The first entry in which a network and weights differ; None if there is none."""
    for name, shape in expected.items():
        if name not in weights:
            return f'lacks {name}'
        if tuple(weights[name].shape) != shape:
            return f'{name} has shape {tuple(weights[name].shape)}, expected {shape}'
    extra = next((name for name in weights if name not in expected), None)
    return None if extra is None else f'has {extra} beside what belongs to it'


def has_spandrel() -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec('spandrel') is not None


def _of_spandrel(weights: Mapping[str, Tensor]) -> Candidate | None:
    """As spandrel knows it; None where it is not installed, or does not know it."""
    if not has_spandrel():
        return None
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

    try:
        found = ModelLoader().load_from_state_dict(dict(weights))
    except (UnsupportedModelError, ArithmeticError, AttributeError, LookupError, *UNFIT):
        return None  # not one of its families, or one that only looks like it
    if not isinstance(found, ImageModelDescriptor):
        return None
    family = type(found.architecture).__module__.rsplit('.', 1)[-1]
    arguments = getattr(found.model, 'hyperparameters', {})
    sizes = found.size_requirements
    contract = {'size_multiple': sizes.multiple_of, 'min_size': sizes.minimum or 1}
    options = {'type': 'SpandrelNetwork', 'family': family, **_model(family, found.model), **_plain(arguments)}
    return Candidate(options, found.model.state_dict(), source='spandrel', contract=contract)


def _model(family: str, network: nn.Module) -> dict[str, str]:
    """Which class of a family it is; nothing for the first."""
    return {} if type(network) is network_class(family) else {'model': type(network).__name__}


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as YAML can hold them; others (layer classes) are left to the class's defaults."""

    def plain(value: Any) -> Any:
        return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    kept = {key: plain(value) for key, value in arguments.items()}
    return {key: value for key, value in kept.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _refuse_broken(path: str, weights: Mapping[str, Tensor]) -> None:
    for name, value in weights.items():
        if value.ndim > 3 and not value.is_floating_point() and name.endswith('weight'):
            kind = str(value.dtype).removeprefix('torch.')
            if value.is_complex() or value.dtype == torch.bool:
                raise UserError(f'{path}: {name} holds {kind}; expected floating-point weights')
            raise UserError(f'{path}: {name} holds {kind}: quantised weights; expected those before quantisation')
        # As fp32: of 8 bits torch cannot tell.
        if value.is_floating_point() and not (finite := torch.isfinite(value.float())).all():
            bad = int((~finite).sum())
            raise UserError(f'{path}: {name} holds {bad:,} values that are not finite; the checkpoint is damaged')


def _refuse_others(path: str, weights: Mapping[str, Tensor]) -> None:
    """What is no network of images at all."""
    names = list(weights)
    for what, pattern in (
        ('a LoRA, which changes another network', r'.*(lora_(up|down|A|B)|\.lora\.|hada_w1)'),
        ('a diffusion model', r'(model\.diffusion_model\.|unet\.|.*time_embed(ding)?\.|.*_blocks\.\d+\.attn2\.)'),
        ('a text model', r'.*(word_embeddings|embed_tokens|wte)\.weight'),
    ):  # fmt: skip
        if any(re.match(pattern, name) for name in names):
            raise UserError(f'{path}: is {what}, not a super-resolution network')
    if not any(value.ndim in (4, 5) for value in weights.values()):
        raise UserError(f'{path}: holds no convolution: not a super-resolution network')
    last = [name for name in names if weights[name].ndim == 2]
    classes = {'fc.weight', 'classifier.weight', 'head.weight', 'classifier.6.weight', 'head.fc.weight'}
    if ends := classes.intersection(name.removeprefix('module.') for name in last):
        raise UserError(f'{path}: ends in {ends.pop()}, as a classifier does: not a super-resolution network')


def _unknown(near: list[tuple[float, str]]) -> str:
    """The error for weights of no known family."""
    looked = ', '.join(family.type for family in FAMILIES)
    library = (
        'and those of spandrel' if has_spandrel() else "(pip install 'vsrkd_plugin[spandrel]' adds some forty more)"
    )
    share, best = max(near, default=(0.0, ''))
    nearest = f' {best} (fits {share:.0%})' if share else ' none comes near'
    return (
        f'is of no known family; looked at {looked} {library}; nearest:{nearest}. '
        'Name the network by --network TYPE, and its module by --import'
    )
