"""Films and clips, enlarged as they are read: by image networks frame by frame, by video networks with their memory."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch

from vsrkd_plugin.deploy.model import Model

FILM_SUFFIXES = (
    '.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.ts', '.m2ts', '.mts', '.vob', '.wmv', '.flv',
    '.3gp', '.ogv', '.y4m', '.gif',
)  # fmt: skip


def is_film(path: Path) -> bool:
    """Whether a name is one of a film, by its suffix. A folder of frames is none: what it is, the network decides."""
    return Path(path).suffix.lower() in FILM_SUFFIXES


@dataclass(frozen=True)
class FilmResult:
    """What became of a film.

    Attributes:
        frames: enlarged, those of an interrupted run before included.
        seconds: this run took.
        frames_per_second: of this run.
        cut_short: what was wrong with the source behind the last frame that could be read; empty if nothing was.
        told: what was left out or is otherwise than in the source, a line each; they were said already.
    """

    frames: int
    seconds: float
    frames_per_second: float
    cut_short: str = ''
    told: tuple[str, ...] = ()


def upscale_film(
    model: Model,
    source: Path,
    target: Path,
    *,
    scale: float | None = None,
    tile: int | Literal['auto'] | None = 'auto',
    memory_limit: int | None = None,
    device: torch.device | str = 'cpu',
    precision: str = 'auto',
    codec: str = 'h264',
    crf: int | None = None,
    fps: Fraction | None = None,
    say: Callable[[str], None] = print,
) -> FilmResult:
    """Enlarge a film, or a folder of frames.

    Args:
        model: of images (frame by frame) or of clips.
        source: a film, or a folder of frames.
        target: a film, or a folder for PNG frames (a name without a film's suffix).
        scale: the factor; the network's own if None; one that it has not is reached by resizing after it.
        tile: pixels of LR, or 'auto'; None: no tiles. Of image networks.
        memory_limit: bytes that the network may take; None: what is free.
        device: that the network runs on.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        codec: of the film written: a name of `CODECS`, or any encoder of FFmpeg's.
        crf: quality, lower is better; None: the codec's default.
        fps: of a film made of a folder of frames.
        say: is told what is done otherwise than asked for.

    Raises:
        UserError: the source cannot be read or has no pictures, the target is the source or cannot be written, the
            extra `video` is missing.
    """
    raise NotImplementedError
