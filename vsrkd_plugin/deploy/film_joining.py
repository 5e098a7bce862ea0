"""A film put together of the parts of its video and of the other tracks of its source; nothing is encoded again."""

import heapq
import io
from array import array
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from vsrkd_plugin.deploy.film_encoding import FilmFormat, add_video, format_of
from vsrkd_plugin.deploy.film_reading import import_av, open_film, video_stream
from vsrkd_plugin.deploy.film_writing import cannot_write
from vsrkd_plugin.run.begun_files import begun
from vsrkd_plugin.run.whole_files import put_in_place

_COPIED = ('audio', 'subtitle', 'data')
_LATER = 1000  # seconds
# Formats whose clock begins anywhere; all tracks are moved by the same time, so that the film begins at 0.
_FREE_CLOCKS = ('mpegts', 'mpeg', 'rm')
_OF_THE_FORMAT = ('major_brand', 'minor_version', 'compatible_brands', 'encoder', 'duration')


def tracks_to_copy(source: Path, target: Path) -> tuple[list[int], list[str]]:
    """Which tracks of a film another one can hold beside the video, and what is told of the rest.

    Returns:
        Their indices; lines.
    """
    kept, told = [], []
    container_format = format_of(target)
    with open_film(source) as opened:
        video = video_stream(opened, source)
        for stream in opened.streams:
            if stream is video:
                continue
            is_font = stream.type == 'attachment' and container_format == 'matroska'
            if is_font or (stream.type in _COPIED and _holds(container_format, stream)):
                kept.append(stream.index)
            else:
                told.append(f'{_described(stream)} is left out: {target.suffix} cannot hold it')
    return kept, told


def _described(stream: Any) -> str:
    codec = getattr(getattr(stream, 'codec_context', None), 'name', None)
    language = stream.metadata.get('language')
    if stream.type == 'video':
        kind = 'cover picture' if 'attached_pic' in str(stream.disposition) else 'second video track'
    else:
        kind = {'audio': 'sound track', 'subtitle': 'subtitle track'}.get(stream.type, f'{stream.type} track')
    details = ', '.join(part for part in (codec, language if language != 'und' else None) if part)
    return f'{kind} {stream.index}' + (f' ({details})' if details else '')


def _holds(container_format: str, stream: Any) -> bool:
    """Whether a format holds a track; by trying, in memory."""
    av = import_av()
    try:
        with av.open(io.BytesIO(), 'w', format=container_format) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError, TypeError, OSError):
        return False
    return True


def join_film(
    parts: Sequence[Path],
    film: FilmFormat,
    target: Path,
    end: int,
    source: Path | None = None,
    kept: Sequence[int] = (),
    display_matrix: Sequence[int] | None = None,
) -> None:
    """Write a film of its parts.

    Args:
        parts: films without sound, in order; their times, less `later`, go on from one to the next.
        film: how they are written.
        end: when the last frame ends, in units of the time base.
        target: the file; under its name is the old one, or the whole new one.
        source: whose other tracks, chapters and titles are copied.
        kept: indices of these tracks.
        display_matrix: how the film is turned when it is shown.

    Raises:
        UserError: it cannot be written.
    """
    av = import_av()
    container_format, part = format_of(target), begun(target)
    options = {}
    if container_format in ('mp4', 'mov'):
        # In units of `movie_timescale` it is told when tracks begin; of milliseconds, by default.
        options = {'movflags': '+faststart', 'movie_timescale': str(max(1000, film.time_base.denominator))}
    try:
        with ExitStack() as stack:
            output = stack.enter_context(av.open(str(part), 'w', format=container_format, options=options))
            # As of an encoder, and not as of a part: not all formats of parts tell colours and the shape of pixels.
            video = add_video(output, film)
            if film.encoder.name == 'libx265' and container_format in ('mp4', 'mov'):
                video.codec_context.codec_tag = 'hvc1'  # as Apple's players want it
            if display_matrix is not None:
                video.set_display_matrix(list(display_matrix))
            tracks, offset = [], 0
            if source is not None:
                opened = stack.enter_context(open_film(source))
                offset = start_of(opened)
                _copy_what_is_told(opened, output, video_stream(opened, source), video)
                streams = {stream.index: stream for stream in opened.streams}
                copies = {index: _add_track(output, streams[index]) for index in kept}
                wanted = [streams[index] for index in kept if streams[index].type != 'attachment']
                if wanted:
                    tracks = [_packets_of(opened, wanted, copies, offset)]
            output.start_encoding()
            videos = _packets_of_parts(parts, film.time_base, end, video, offset)
            for _seconds, packet in heapq.merge(videos, *tracks, key=lambda entry: entry[0]):
                output.mux(packet)
        put_in_place(part, target)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise cannot_write(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def start_of(opened: Any) -> int:
    """Microseconds from which a film's times count, where its format has a clock that begins anywhere; else 0."""
    free = any(name in _FREE_CLOCKS for name in opened.format.name.split(','))
    return int(opened.start_time or 0) if free else 0


def _copy_what_is_told(opened: Any, output: Any, source: Any, video: Any) -> None:
    """Title, chapters, language."""
    for key, value in opened.metadata.items():
        if key.lower() not in _OF_THE_FORMAT:
            output.metadata[key] = value
    for key in ('language', 'title'):
        if value := source.metadata.get(key):
            video.metadata[key] = value
    if chapters := opened.chapters():
        output.set_chapters(chapters)


def _add_track(output: Any, stream: Any) -> Any:
    if stream.type == 'attachment':
        name = stream.metadata.get('filename', f'attachment{stream.index}')
        return output.add_attachment(name, stream.mimetype or 'application/octet-stream', stream.data)
    copy = output.add_stream_from_template(stream)
    for key, value in stream.metadata.items():
        if key.lower() not in _OF_THE_FORMAT:
            copy.metadata[key] = value
    copy.disposition = stream.disposition
    return copy


def _packets_of(opened: Any, wanted: list[Any], copies: dict[int, Any], offset: int) -> Iterator[tuple[float, Any]]:
    """Packets of tracks that are copied, each with its time in seconds."""
    av = import_av()
    try:
        for packet in opened.demux(wanted):
            if packet.dts is None:  # the end of a track
                continue
            moved = round(Fraction(offset, 1_000_000) / packet.time_base)
            packet.dts -= moved
            if packet.pts is not None:
                packet.pts -= moved
            seconds = float(packet.dts * packet.time_base)
            packet.stream = copies[packet.stream.index]
            yield seconds, packet
    except av.FFmpegError:  # the end of what can be read of a damaged file; its video was told of
        return


def later(time_base: Fraction) -> int:
    """What is added to times in parts: their format has no times before 0, as those of decoding may be."""
    return -(-_LATER * time_base.denominator // time_base.numerator)


def _packets_of_parts(
    parts: Sequence[Path], time_base: Fraction, end: int, video: Any, offset: int
) -> Iterator[tuple[float, Any]]:
    """Packets of the video, each with its time in seconds.

    Each part was encoded by itself, and by itself counts the times by which frames are decoded. They are counted anew:
    the packet at place k is decoded at the time at which the frame `delay` places before is shown.
    """
    moved = round(Fraction(offset, 1_000_000) / time_base) + later(time_base)
    last = end - round(Fraction(offset, 1_000_000) / time_base)
    times, delay = array('q'), 0
    for part in parts:
        in_file = [packet.pts - moved for packet in _of_part(part, time_base)]
        in_order = sorted(in_file)
        places = {time: place for place, time in enumerate(in_order)}
        delay = max(delay, max((place - places[time] for place, time in enumerate(in_file)), default=0))
        times.extend(in_order)
    step = times[1] - times[0] if len(times) > 1 else 1
    count = 0
    for part in parts:
        for packet in _of_part(part, time_base):
            packet.pts -= moved
            packet.dts = times[count - delay] if count >= delay else times[0] - step * (delay - count)
            following = bisect(times, packet.pts)
            packet.duration = (times[following] if following < len(times) else last) - packet.pts
            packet.stream = video
            count += 1
            yield float(packet.dts * time_base), packet


def _of_part(part: Path, time_base: Fraction) -> Iterator[Any]:
    """Packets of a part, their times in units of `time_base`."""
    with import_av().open(str(part)) as opened:
        for packet in opened.demux(opened.streams.video[0]):
            if packet.pts is not None:
                packet.pts = round(packet.pts * packet.time_base / time_base)
                packet.time_base = time_base
                yield packet
