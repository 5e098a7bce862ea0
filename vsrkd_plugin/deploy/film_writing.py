"""Films written frame by frame: under its name is a whole film, or nothing."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.deploy.film_colour import RGB, Colour, to_planes
from vsrkd_plugin.deploy.film_encoding import (
    DEFAULT_CODEC,
    FilmFormat,
    add_video,
    choose_encoder,
    choose_format,
    format_of,
    set_tags,
)
from vsrkd_plugin.deploy.film_reading import FilmInfo, Tags, import_av, reason_of, samples_of
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.begun_files import begun
from vsrkd_plugin.run.whole_files import put_in_place


class FilmWriter:
    """Writes frames into a film without sound; under `path` is a whole film, once it is closed, or nothing.

    Args:
        path: the file.
        film: how.
        container: FFmpeg's name of the format; None: by the suffix.
        options: of the container.

    Raises:
        UserError: the encoder refuses the format, the file cannot be written, or the disk is full.
    """

    def __init__(
        self, path: Path, film: FilmFormat, container: str | None = None, options: dict[str, str] | None = None
    ) -> None:
        av = import_av()
        self.path, self.film, self._av = path, film, av
        self._part = begun(path)
        self._errors = (av.FFmpegError, OSError, ValueError)
        try:
            self._container = av.open(str(self._part), 'w', format=container or format_of(path), options=options or {})
            self._stream = add_video(self._container, film)
            self._container.start_encoding()
        except self._errors as error:
            self.discard()
            raise UserError(f'{path}: cannot be written as {film.encoder.name} ({reason_of(error)})') from error

    def write(self, planes: Sequence[Tensor], time: int, duration: int) -> None:
        """One frame.

        Args:
            planes: of the film's colour and size.
            time: in units of the time base, more than the last.
            duration: how long it is shown.
        """
        frame = self._av.VideoFrame(self.film.width, self.film.height, self.film.pixels)
        for plane, values in zip(frame.planes, planes, strict=True):
            samples_of(plane, self.film.colour.depth)[:] = values.cpu().numpy()
        frame.pts, frame.duration, frame.time_base = time, duration, self.film.time_base
        set_tags(frame, self.film.tags)
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except self._errors as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Write the rest; the film is there now, synced."""
        self._mux(None)
        try:
            self._container.close()
            put_in_place(self._part, self.path)
        except self._errors as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def discard(self) -> None:
        """Leave nothing."""
        with suppress(AttributeError, *self._errors):
            self._container.close()
        self._part.unlink(missing_ok=True)


def write_pictures(path: Path, pictures: Iterable[np.ndarray], rate: int) -> None:
    """Write a film that browsers play: H.264, 8 bits, BT.709.

    Args:
        path: the file.
        pictures: uint8 BGR, `(h, w, 3)`, of one size, even.
        rate: of them in a second.

    Raises:
        UserError: the file cannot be written, PyAV is missing.
    """
    writer: FilmWriter | None = None
    try:
        for time, picture in enumerate(pictures):
            if writer is None:
                height, width = picture.shape[:2]
                info = FilmInfo(width, height, Fraction(1, rate), Fraction(rate), Colour(RGB, True), Tags(1, 1, 1, 1))
                film = choose_format(info, width, height, *choose_encoder(DEFAULT_CODEC, None))
                writer = FilmWriter(path, film, options={'movflags': '+faststart'})
            rgb = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
            writer.write(to_planes(rgb, writer.film.colour), time, 1)
        if writer is not None:
            writer.close()
    except BaseException:
        if writer is not None:
            writer.discard()
        raise


def cannot_write(path: Path, error: BaseException) -> UserError:
    """The error of a file that cannot be written on."""
    return UserError(f'{path}: cannot be written ({reason_of(error)}); what is done stays: repeat the command to go on')
