"""What a teacher makes of an image, kept: the same for each of its students, and most of a report's time."""

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsrkd_plugin import __version__
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.run.kept_arrays import SUFFIX, keep_array, kept_array

FOLDER = '.teacher_outputs'
MOST_BYTES = 512 << 20  # of all that is kept in one folder


class KeptOutputs(ImageSRAdapter):
    """An adapter that runs its network once for each input, and then reads from a folder what it gave.

    A file's name tells the weights, the options and the source code of the network, the input, the scale, the kind of
    device and the versions of this package and of torch: where anything differs, the network runs. What cannot be
    read or written is computed.

    Args:
        adapter: the network's, in eval mode, on its device.
        options: of the network and its contract.
        folder: where outputs are kept; it is made when it is needed.
        rounded: keep 8-bit levels, as results are rounded to; else fp32.
    """

    def __init__(self, adapter: ImageSRAdapter, options: Any, folder: Path, rounded: bool) -> None:
        super().__init__(adapter.network, adapter.in_channels)
        self.adapter, self.folder, self.rounded = adapter, folder, rounded
        self.found = 0  # inputs whose output was there
        self._identity = hashlib.sha256(repr((__version__, torch.__version__, rounded, options)).encode())
        for name, value in sorted(adapter.network.state_dict().items()):
            self._identity.update(name.encode() + _bytes(value))
        for code in _source_code(adapter.network):
            self._identity.update(code)

    def forward(self, lr: Tensor, scale: int, base: Tensor | None = None) -> Tensor:
        """As `ImageSRAdapter`'s, in [0, 1] and rounded to 8 bits if asked for."""
        file = self.folder / f'{self._key(lr, scale)}{SUFFIX}'
        shape = *lr.shape[:2], lr.shape[2] * scale, lr.shape[3] * scale
        kept = kept_array(file, np.uint8 if self.rounded else np.float32, shape)
        if kept is not None:
            self.found += len(lr)
            output = torch.from_numpy(kept).to(lr.device)
            return output / 255 if self.rounded else output
        output = self.adapter(lr, scale, base)
        if self.rounded:
            output = output.clamp(0, 1).mul(255).round()
        keep_array(file, (output.byte() if self.rounded else output).cpu().numpy())
        return output / 255 if self.rounded else output

    def _key(self, lr: Tensor, scale: int) -> str:
        key = self._identity.copy()
        key.update(repr((tuple(lr.shape), lr.dtype, lr.device.type, scale)).encode() + _bytes(lr))
        return key.hexdigest()[:40]


def _source_code(network: nn.Module) -> list[bytes]:
    """The files that the classes of a network stand in: a user's may change, and its weights stay."""
    names = {type(module).__module__ for module in network.modules()}
    files = {getattr(sys.modules.get(name), '__file__', None) for name in names if name.partition('.')[0] != 'torch'}
    return [Path(file).read_bytes() for file in sorted(filter(None, files)) if Path(file).is_file()]


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def drop_oldest(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove what was not used for longest, until no more than `most` bytes are kept."""
    with contextlib.suppress(OSError):
        found = sorted(_sizes(folder), reverse=True)
        total = 0
        for _, size, file in found:
            total += size
            if total > most:
                file.unlink(missing_ok=True)


def _sizes(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for file in folder.glob('*.np[yz]'):  # without a checksum they were `.npy`
        with contextlib.suppress(FileNotFoundError):  # another report removed it
            told = file.stat()
            yield told.st_mtime, told.st_size, file


def folder_of(experiment: Path) -> Path:
    """Where the outputs of an experiment's teacher are kept: beside `experiments/`, for all in it; else in it."""
    above = experiment.resolve().parent
    return (above.parent if above.name == 'experiments' else experiment.resolve()) / FOLDER
