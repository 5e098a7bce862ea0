"""Reading checkpoints of any origin without running them."""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.errors import UserError, first_line, show
from vsrkd_plugin.run.inert_pickle import Inert
from vsrkd_plugin.run.torch_files import read_torch_file
from vsrkd_plugin.run.zoo import resolve_weights

logger = logging.getLogger('basicsr')

# What a checkpoint usually keeps its weights under, in the order in which we look. Where BasicSR trains with
# `ema_decay` it saves both of the first two, and validates the average: that is the network whose figures were told.
# The last are of GANs' trainings, which keep generator and discriminator in one file.
WEIGHT_KEYS = (
    'params_ema', 'params', 'state_dict', 'model', 'net', 'model_state_dict', 'g_ema', 'generator', 'netG', 'net_g',
)  # fmt: skip
CHECKSUM = 'vsrkd_checksum'  # in the metadata of a `.safetensors` file
_MOST_MODULES, _DEEPEST = 100_000, 200  # of a pickled network; a forged one may hold itself

_EXPORTED = ('.onnx', '.pt2', '.xml', '.param')  # suffixes of what no checkpoint is read from


def _module_weights(module: Inert) -> dict[str, Tensor]:
    """The state dict of a pickled `nn.Module`."""
    weights: dict[str, Tensor] = {}
    waiting, seen = [('', module)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > _MOST_MODULES or prefix.count('.') > _DEEPEST:
            raise ValueError('too many modules within each other')
        attributes = module.attributes
        not_saved = attributes.get('_non_persistent_buffers_set') or ()
        for group in ('_parameters', '_buffers'):
            for name, value in (attributes.get(group) or {}).items():
                if isinstance(value, Tensor) and name not in not_saved:
                    weights[prefix + name] = value
        children = [
            (f'{prefix}{name}.', child)
            for name, child in (attributes.get('_modules') or {}).items()
            if type(child) is Inert
        ]
        waiting += reversed(children)
    return weights


def _find_weights(content: Any, param_key: str | None, seen: set[int]) -> tuple[str, dict[str, Tensor]] | None:
    """Where the weights are (entries, joined by slashes; empty: at the top) and what they are."""
    if type(content) is Inert:
        weights = _module_weights(content)
        return ('', weights) if weights else None
    if not isinstance(content, dict) or id(content) in seen:
        return None
    seen.add(id(content))
    for key in (param_key, *WEIGHT_KEYS):
        if key in content and not isinstance(content[key], Tensor):
            found = _find_weights(content[key], param_key, seen)
            if found is not None:
                return f'{key}/{found[0]}'.rstrip('/'), found[1]
    if content and all(isinstance(value, Tensor) and isinstance(key, str) for key, value in content.items()):
        return '', dict(content)
    return None


def _entries(content: Any) -> list[str]:
    """The entries of a file that hold weights; none where the file is the weights."""
    if type(content) is Inert or not isinstance(content, dict):
        return []
    inner = {str(key): value for key, value in content.items() if not isinstance(value, Tensor)}
    return [key for key, value in inner.items() if _find_weights(value, None, {id(content)}) is not None]


def weights_are_there(path: str | os.PathLike) -> bool:
    """Whether there is such a checkpoint file; raises `UserError` on weights that the zoo does not know."""
    return resolve_weights(path).is_file()


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file in the format that the community publishes weights in; it can hold nothing else."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    weights = load_file(file)
    with safe_open(file, framework='pt') as opened:
        metadata = opened.metadata() or {}
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum_of(metadata, weights):
        raise ValueError('it does not fit its checksum: it is damaged, or another program changed it')
    return weights


def checksum_of(metadata: Mapping[str, str], weights: Mapping[str, Tensor]) -> str:
    """What a `.safetensors` file of ours says of itself, so that a bit that is lost is noticed."""
    others = {name: text for name, text in metadata.items() if name != CHECKSUM}
    return fingerprint({**weights, repr(sorted(others.items())): torch.zeros(0)})


def _read(path: str | os.PathLike, param_key: str | None) -> tuple[str, dict[str, Tensor]]:
    """As `read_weights`, with the entry that holds the weights in front."""
    if not weights_are_there(path):
        raise UserError(
            f'{path}: is a folder; expected a file' if Path(path).is_dir() else f'{path}: no such checkpoint file'
        )
    file = resolve_weights(path)
    if file.suffix in _EXPORTED:
        raise UserError(
            f'{path}: a program for other runtimes, as `vsrkd export` writes it; expected the checkpoint or model file '
            'that it was made of (.pth, .safetensors)'
        )
    try:
        content = _read_safetensors(file) if file.suffix == '.safetensors' else read_torch_file(file)
    except Exception as error:  # whatever a broken file makes the reader raise, the file is what is wrong
        raise UserError(
            f'{path}: cannot be read as a checkpoint, it is truncated or not one ({first_line(error)})'
        ) from error
    try:
        found = _find_weights(content, param_key, set())
        entries = _entries(content)
    except (
        AttributeError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:  # a forged module, or one that holds itself
        raise UserError(f'{path}: holds no well-formed module ({first_line(error)})') from error
    # Another network than the one that was named is none; a file without entries has the one.
    if param_key is not None and entries and (found is None or param_key not in (found[0], *found[0].split('/'))):
        raise UserError(f'{path}: has no weights under {param_key!r} (param_key); expected one of {", ".join(entries)}')
    if found is None and len(entries) == 1:  # under a name that we do not know: there is no other
        inner = next(_find_weights(value, None, set()) for key, value in content.items() if str(key) == entries[0])
        found = (f'{entries[0]}/{inner[0]}'.rstrip('/'), inner[1]) if inner else None
    if found is None and entries:
        state = ' It is a training state: its network is in models, net_g_….pth.' * (Path(path).suffix == '.state')
        raise UserError(f'{path}: holds several networks; expected one of {", ".join(entries)} (param_key).{state}')
    if found is None and isinstance(content, dict) and any(isinstance(value, Tensor) for value in content.values()):
        names = [key for key in content if not isinstance(key, str)]
        what = f'its tensors are named {show(names[0])}, …' if names else 'it holds more than tensors with values'
        raise UserError(f'{path}: holds no state dict: {what}; expected names such as conv.weight')
    if found is None:
        raise UserError(f'{path}: holds no state dict (looked under {", ".join(WEIGHT_KEYS)} and for a pickled module)')
    return found[0], {key.removeprefix('module.'): value for key, value in found[1].items()}


def read_weights(path: str | os.PathLike, param_key: str | None = None) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, on the CPU, without running any code of the file.

    Reads plain state dicts, BasicSR's `{'params': …}`, `{'state_dict': …}` and files that hold a whole pickled
    `nn.Module` (also in torch's format from before 1.6), and `.safetensors`.

    Args:
        path: a file, or `zoo:NAME` for weights that come with this package.
        param_key: the entry that holds them; of no account where the file has no entries. None: the one that was
            validated, which is the moving average `params_ema` where there is one; else the usual ones.

    Raises:
        UserError: no such file, unreadable or truncated, no weights in it, or not under `param_key`.
    """
    return _read(path, param_key)[1]


def load_weights(
    network: torch.nn.Module, path: str | os.PathLike, param_key: str | None = None, strict: bool = True
) -> str:
    """Load a checkpoint into `network`, with one error that names the file and the first mismatch.

    Logs and gives which entry of the file was loaded, empty for a file without entries; `param_key` as in
    `read_weights`.

    Raises:
        UserError: as `read_weights`; or keys are missing, unexpected, or of another shape.
    """
    entry, weights = _read(path, param_key)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    name = type(network).__name__
    for key in expected:
        if key in found and expected[key] != found[key]:
            raise UserError(
                f'{path}: {key} has shape {found[key]}, but the {name} of the options has {expected[key]}; '
                "check the network's options (num_feat, num_in_ch, …) against the checkpoint"
            )
    if strict:
        if missing := [key for key in expected if key not in found]:
            told = f'lacks {missing[0]} ({len(missing)} keys missing) of the {name} of the options'
            raise UserError(f'{path}: {told}; {_hint(missing)}')
        if extra := [key for key in found if key not in expected]:
            told = f'holds {extra[0]} ({len(extra)} keys more) that the {name} of the options has not'
            raise UserError(f'{path}: {told}; {_hint(extra)}')
    network.load_state_dict(weights, strict=strict)
    logger.info('%s: loaded %s of %s.', name, entry or 'the weights', path)
    return entry


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """16 digits that differ where names, shapes or values of weights do."""
    found = hashlib.sha256()
    for name, value in sorted(weights.items()):
        found.update(repr((name, value.dtype, tuple(value.shape))).encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _hint(keys: list[str]) -> str:
    if keys == ['mixing']:  # RLSP
        return "the checkpoint and the network's options differ in `normalised`"
    return "check the network's options against the checkpoint"
