"""How films are encoded: codecs, pixels, quality, and what containers hold."""

import io
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.deploy.film_colour import Colour
from vsrkd_plugin.deploy.film_reading import JPEG_RANGE, FilmInfo, Tags, import_av
from vsrkd_plugin.errors import UserError


@dataclass(frozen=True)
class Encoder:
    """How a codec is written.

    Attributes:
        name: FFmpeg's, of the encoder.
        crf: quality by default; None where it is not known to have such an option.
        worst: the largest `crf`.
        options: of the encoder.
        chroma: which kinds are taken, the best first.
    """

    name: str
    crf: int | None
    worst: int = 51
    options: tuple[tuple[str, str], ...] = ()
    chroma: tuple[str, ...] = ('420', '422', '444')


DEFAULT_CODEC = 'h264'
CODECS = {
    'h264': Encoder('libx264', 17),
    'hevc': Encoder('libx265', 19, 51, (('x265-params', 'log-level=error'),)),
    'av1': Encoder('libsvtav1', 24, 63),
    'vp9': Encoder('libvpx-vp9', 24, 63, (('b', '0'), ('row-mt', '1'))),
    'prores': Encoder('prores_ks', None, 0, (('profile', '3'),), ('422', '444')),
    'ffv1': Encoder('ffv1', None, 0, (('level', '3'), ('slicecrc', '1')), ('444', '422', '420')),
}


def choose_encoder(codec: str, crf: int | None) -> tuple[Encoder, int | None]:
    """How a codec is written, and its quality.

    Args:
        codec: a name of `CODECS`, or of any of FFmpeg's encoders.
        crf: None: the codec's own.

    Raises:
        UserError: there is no such encoder here, it has no such option, or the quality is out of its range.
    """
    av = import_av()
    encoder = CODECS.get(codec, Encoder(codec, None, 63))
    try:
        found = av.codec.Codec(encoder.name, 'w')
        if found.type != 'video':
            raise ValueError('not of video')
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f'--codec {codec}: no such encoder here; expected one of {", ".join(CODECS)}, or another of FFmpeg'
        ) from error
    if crf is not None:
        if encoder.crf is None and not _takes_crf(encoder):
            raise UserError(f'--crf {crf}: {encoder.name} has no such option')
        if not 0 <= crf <= encoder.worst:
            raise UserError(f'--crf {crf}: expected 0 (the best) to {encoder.worst} of {encoder.name}')
    return encoder, encoder.crf if crf is None else crf


def _takes_crf(encoder: Encoder) -> bool:
    """Whether an encoder that is not known here has an option `crf`; by trying, in memory."""
    av = import_av()
    try:
        pixels = _choose_pixels(encoder, 8)[0]
        with av.open(io.BytesIO(), 'w', format='nut') as trial:
            stream = trial.add_stream(encoder.name, rate=25, options={'crf': '20'})
            stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
            trial.start_encoding()
            return 'crf' not in stream.codec_context.options  # what it does not know is left there
    except (av.FFmpegError, ValueError, OSError):
        return False


@dataclass(frozen=True)
class FilmFormat:
    """How a film is written.

    Attributes:
        width, height: of its frames.
        time_base, rate, tags, pixel_aspect: as of `FilmInfo`.
        colour: of its planes.
        pixels: FFmpeg's name of the planes.
        encoder: how, with the quality in `crf`.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    colour: Colour
    tags: Tags
    pixel_aspect: Fraction | None
    pixels: str
    encoder: Encoder
    crf: int | None


def choose_format(info: FilmInfo, width: int, height: int, encoder: Encoder, crf: int | None) -> FilmFormat:
    """The format of an enlarged film: the source's depth, where the encoder has it, matrix and range.

    Sizes are rounded up to even numbers where chroma is halved.
    """
    pixels, depth, halved = _choose_pixels(encoder, info.colour.depth)
    colour = info.colour.written(depth, halved)
    tags = info.tags
    # A size decides how an untagged film is taken, and this one's is another: it is told now.
    tags = Tags(JPEG_RANGE if colour.full_range else 1, colour.matrix, tags.primaries, tags.transfer)
    width, height = (side + side % 2 if half else side for side, half in zip((width, height), halved, strict=True))
    return FilmFormat(
        width, height, info.time_base, info.rate, colour, tags, info.pixel_aspect, pixels, encoder, crf
    )  # fmt: skip


def _choose_pixels(encoder: Encoder, depth: int) -> tuple[str, int, tuple[bool, bool]]:
    """Of an encoder's formats the first kind of chroma that it has, as deep as the source, or as near to it as can be.

    Raises:
        UserError: it takes no YCbCr.
    """
    av = import_av()
    formats = av.codec.Codec(encoder.name, 'w').video_formats or [
        av.VideoFormat('yuv420p'),
    ]
    for chroma in encoder.chroma:
        found = {}
        for entry in formats:
            if entry.name in (f'yuv{chroma}p', *(f'yuv{chroma}p{bits}le' for bits in range(9, 17))):
                found[entry.components[0].bits] = entry.name
        if found:
            enough = [bits for bits in found if bits >= depth]
            bits = min(enough) if enough else max(found)
            return found[bits], bits, {'420': (True, True), '422': (True, False), '444': (False, False)}[chroma]
    raise UserError(f'--codec {encoder.name}: takes no YCbCr planes; expected an encoder of films')


def add_video(container: Any, film: FilmFormat) -> Any:
    """The video track of a film that is being written."""
    encoder = film.encoder
    os.environ.setdefault('SVT_LOG', '1')  # SVT-AV1 tells its settings on stderr otherwise; 1: errors
    options = dict(encoder.options) | ({} if film.crf is None else {'crf': str(film.crf)})
    if encoder.name == 'libx264' and torch.backends.cpu.get_cpu_capability() == 'AVX512':
        options['x264-params'] = 'asm=AVX2'  # by AVX-512 it does not make the same film twice (seen in its build 165)
    stream = container.add_stream(encoder.name, rate=film.rate, options=options)
    stream.width, stream.height, stream.pix_fmt = film.width, film.height, film.pixels
    context = stream.codec_context
    context.time_base = film.time_base
    # Beside the frames, so that parts have the same, and every format can be made of them.
    context.flags |= int(import_av().codec.context.Flags.global_header)
    stream.time_base = film.time_base
    if film.pixel_aspect:
        context.sample_aspect_ratio = film.pixel_aspect
    set_tags(context, film.tags)
    return stream


def set_tags(of: Any, tags: Tags) -> None:
    """Tell the colours of a frame or of an encoder."""
    of.color_range, of.colorspace = tags.range, tags.matrix
    of.color_primaries, of.color_trc = tags.primaries, tags.transfer


def tells_aspect(container: str, film: FilmFormat) -> bool:
    """Whether a film in a container tells that its pixels are not square.

    Matroska's header is not filled by PyAV; of codecs that tell it themselves alone it is known there.
    """
    return container not in ('matroska', 'webm') or film.encoder.name in ('libx264', 'libx265', 'mpeg4')


def fits(container: str, film: FilmFormat) -> bool:
    """Whether a container holds such a video track."""
    av = import_av()
    try:
        with av.open(io.BytesIO(), 'w', format=container) as trial:
            add_video(trial, film)
            trial.start_encoding()
    except (av.FFmpegError, ValueError, OSError):
        return False
    return True


def format_of(path: Path) -> str:
    """FFmpeg's name of the format that a suffix stands for; of those that keep times (AVI does not).

    Raises:
        UserError: for none.
    """
    names = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', '.ts': 'mpegts',
             '.m2ts': 'mpegts'}  # fmt: skip
    name = names.get(path.suffix.lower())
    if name is None:
        raise UserError(f'{path}: films are written as {", ".join(names)}')
    return name
