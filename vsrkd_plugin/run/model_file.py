"""Files that tell what they hold: a network's weights with its type, arguments, scales and contract.

A `.pth` holds `{'params': …, 'vsrkd': {…}}`, which stock BasicSR (`param_key_g: params`) and spandrel read by their own
classes; a `.safetensors` the same tensors, and the header as JSON under `vsrkd` of its metadata.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.run.checkpoints import CHECKSUM, checksum_of
from vsrkd_plugin.run.torch_files import read_torch_file
from vsrkd_plugin.run.whole_files import save_atomically, write_bytes_atomically
from vsrkd_plugin.run.zoo import resolve_weights

KEY = 'vsrkd'  # of the header, in either format
SUFFIXES = ('.pth', '.safetensors')


@dataclass(frozen=True)
class ModelHeader:
    """What a model file holds, so that it can be used without an options file.

    Attributes:
        network: `{type, …}`, as `network_g` of an options file has it.
        scales: the factors that it enlarges by.
        channels: of its input: 1 (Y) or 3 (RGB).
        is_video: it takes clips.
        contract: what must be said of the network, since it does not itself (`contract_g`).
        value_range: of black and white, as the network itself takes them.
        precision: of the weights.
        distilled_from: the teacher's type and file name; None where it was not distilled.
        version: of this package, that wrote the file.
    """

    network: Mapping[str, Any]
    scales: tuple[int, ...]
    channels: int
    is_video: bool = False
    contract: Mapping[str, Any] = field(default_factory=dict)
    value_range: tuple[float, float] = (0.0, 1.0)
    precision: str = 'fp32'
    distilled_from: str | None = None
    version: str = ''

    @classmethod
    def parsed(cls, content: Any, path: str | os.PathLike) -> 'ModelHeader':
        """A header as it was read; entries of later versions are left out.

        Raises:
            UserError: it is none.
        """
        try:
            known = {key.name: content[key.name] for key in fields(cls) if key.name in content}
            known['scales'] = tuple(_whole(scale) for scale in known['scales'])
            known['value_range'] = tuple(float(value) for value in known.get('value_range', (0, 1)))
            header = cls(**known)
            right = (
                isinstance(header.network, Mapping)
                and isinstance(header.network.get('type'), str)
                and isinstance(header.contract, Mapping)
                and header.channels in (1, 3)
                and header.scales
                and len(header.value_range) == 2
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f'{path}: its header cannot be read ({first_line(error)})') from error
        if not right:
            raise UserError(f'{path}: its header cannot be read (network, scales, channels or value_range are wrong)')
        return header

    def as_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and mappings."""
        return {**asdict(self), 'scales': list(self.scales), 'value_range': list(self.value_range)}


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f'expected a scale from 1, got {value!r}')
    return value


def write_model(weights: Mapping[str, Tensor], header: ModelHeader, path: str | os.PathLike) -> None:
    """Write a model file, `.pth` or `.safetensors` by its suffix; a kill never truncates it.

    Raises:
        UserError: another suffix.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if path.suffix == '.pth':
        save_atomically({'params': tensors, KEY: header.as_json()}, path)
    elif path.suffix == '.safetensors':
        from safetensors.torch import save

        # Tensors that share their memory are refused by the format; it has no checksum of its own.
        metadata = {KEY: json.dumps(header.as_json())}
        metadata[CHECKSUM] = checksum_of(metadata, tensors)
        content = save({name: value.clone() for name, value in tensors.items()}, metadata)
        write_bytes_atomically(content, path)
    else:
        raise UserError(f'{path}: expected a file name that ends in {" or ".join(SUFFIXES)}')


def read_header(path: str | os.PathLike) -> ModelHeader | None:
    """The header of a model file, without running any code of it; None where it has none.

    Args:
        path: a file, or `zoo:NAME`.

    Raises:
        UserError: it cannot be read, or its header is damaged.
    """
    file = resolve_weights(path)
    if not file.is_file():
        raise UserError(f'{path}: no such checkpoint file')
    try:
        content = _of_safetensors(file) if file.suffix == '.safetensors' else _of_torch(file)
    except Exception as error:  # whatever a broken file makes the reader raise, the file is what is wrong
        raise UserError(
            f'{path}: cannot be read as a checkpoint, it is truncated or not one ({first_line(error)})'
        ) from error
    return None if content is None else ModelHeader.parsed(content, path)


def _of_safetensors(file: Path) -> Any:
    from safetensors import safe_open

    with safe_open(file, framework='pt') as opened:
        metadata = opened.metadata() or {}
    return json.loads(metadata[KEY]) if KEY in metadata else None


def _of_torch(file: Path) -> Any:
    content = read_torch_file(file)
    return content.get(KEY) if isinstance(content, dict) else None


def parameters_of(weights: Mapping[str, Tensor]) -> int:
    """Numbers in a state dict."""
    return sum(value.numel() for value in weights.values() if isinstance(value, torch.Tensor))
