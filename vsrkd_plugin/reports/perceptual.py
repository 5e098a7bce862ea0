"""LPIPS and DISTS by `pyiqa`, where it is installed and its weights are there; nothing is ever downloaded for them."""

import contextlib
import io
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.errors import first_line
from vsrkd_plugin.metrics.means import Values

logger = logging.getLogger('basicsr')
PERCEPTUAL = {'lpips': 'LPIPS', 'dists': 'DISTS'}  # pyiqa's name → title
MOST_IMAGES, MOST_SIDE = 8, 512  # of a set; pixels: the networks behind the metrics are large
_LEAST_SIDE = 64  # pixels: of less, nothing is left in their last layers
PERCEPTUAL_NOTE = (
    'LPIPS (AlexNet) and DISTS against HR, by pyiqa: lower is nearer to HR for the eye; of the first '
    f'{MOST_IMAGES} images of a set, their inner {MOST_SIDE}x{MOST_SIDE} pixels at most.'
)
Metric = Callable[[Tensor, Tensor], Tensor]


class _RefusedError(OSError):
    """A connection that was asked for where none is wanted."""


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Whoever opens a connection within gets an error at once, in all threads of this process."""

    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise _RefusedError('no connection is opened for a report')

    stock = socket.getaddrinfo, socket.socket.connect
    hub = os.environ.get('HF_HUB_OFFLINE')
    socket.getaddrinfo, socket.socket.connect = refuse, refuse  # type: ignore[method-assign]
    os.environ['HF_HUB_OFFLINE'] = '1'  # else it tries again and again
    try:
        yield
    finally:
        socket.getaddrinfo, socket.socket.connect = stock  # type: ignore[method-assign]
        if hub is None:
            del os.environ['HF_HUB_OFFLINE']
        else:
            os.environ['HF_HUB_OFFLINE'] = hub


def load_metrics(device: torch.device, notes: list[str]) -> dict[str, Metric]:
    """The metrics that can be measured here, by name; none where pyiqa is not installed.

    Args:
        device: where they are measured.
        notes: gets a sentence for each that is missing though pyiqa is there.
    """
    with offline():
        try:
            import pyiqa
        except ModuleNotFoundError as error:
            if error.name != 'pyiqa':
                notes.append(f'LPIPS and DISTS are left out: pyiqa cannot be imported ({first_line(error)}).')
            return {}
        except Exception as error:  # of its many dependencies, any kind
            notes.append(f'LPIPS and DISTS are left out: pyiqa cannot be imported ({first_line(error)}).')
            return {}
        found: dict[str, Metric] = {}
        for name, title in PERCEPTUAL.items():
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # it says that it downloads, and does not
                    metric = pyiqa.create_metric(name, device=device)
                    trial = torch.full((1, 3, _LEAST_SIDE, _LEAST_SIDE), 0.5, device=device)
                    metric(trial, trial)
            except Exception as error:  # of a missing file URLError, of a broken one many kinds
                reason = 'its weights are not there' if _was_refused(error) else first_line(error)
                notes.append(f'{title} is left out: pyiqa is installed, but {reason}; docs/report.md tells more.')
            else:
                found[name] = metric
    return found


def _was_refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _RefusedError) or isinstance(getattr(error, 'reason', None), _RefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


class Perceptual:
    """Measured image after image of one data set."""

    def __init__(self, metrics: dict[str, Metric], device: torch.device) -> None:
        self._metrics, self._device = metrics, device
        self.names: list[str] = []
        self.values: dict[str, Values] = {}  # method → metric → value of each image

    def add(self, name: str, images: dict[str, np.ndarray], hr: np.ndarray, border: int) -> None:
        """Take one image, if it is large enough and one of the first.

        Args:
            name: of the image.
            images: by method, uint8, `(h, w)` or BGR `(h, w, 3)`.
            hr: ground truth.
            border: pixels that are cut off at each edge.
        """
        too_small = min(hr.shape[:2]) - 2 * border < _LEAST_SIDE
        if not self._metrics or too_small or len(self.names) == MOST_IMAGES:
            return
        self.names.append(name)
        reference = self._prepared(hr, border)
        for method, image in images.items():
            shown = self._prepared(image, border)
            with torch.no_grad(), offline():
                found = {metric: float(measure(shown, reference)) for metric, measure in self._metrics.items()}
            for metric, value in found.items():
                self.values.setdefault(method, {}).setdefault(metric, []).append(value)

    def _prepared(self, image: np.ndarray, border: int) -> Tensor:
        """`(1, 3, h, w)` in [0, 1], RGB, the inner part."""
        height, width = (min(side - 2 * border, MOST_SIDE) for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        inner = np.ascontiguousarray(image[top : top + height, left : left + width])
        rgb = np.repeat(inner[..., None], 3, 2) if inner.ndim == 2 else inner[..., ::-1].copy()
        return torch.from_numpy(rgb).to(self._device).permute(2, 0, 1)[None].float() / 255
