"""Small films for tests, made with PyAV, and networks whose result is known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.run.model_file import ModelHeader

av = pytest.importorskip('av', reason='needs the extra video')


class Repeat(nn.Module):
    """Enlarges by repeating pixels: (n, c, h, w)."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.scale, mode='nearest')


class Middle(nn.Module):
    """A sliding window that sees all of its frames: each at a weight of its own."""

    def __init__(self, num_frame: int = 5) -> None:
        super().__init__()
        self.num_frame = num_frame
        self.weight = torch.linspace(1, 2, num_frame) / torch.linspace(1, 2, num_frame).sum()

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.einsum('t,btchw->bchw', self.weight, x)
        return F.interpolate(mixed, scale_factor=2, mode='nearest')


class BothWays(nn.Module):
    """Reads clips in both directions, `reach` frames far; at a clip's ends what is missing counts as black."""

    recurrent = True

    def __init__(self, reach: int = 3) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x.movedim(1, -1), (self.reach, self.reach))
        weight = torch.linspace(1, 2, 2 * self.reach + 1) / (2 * self.reach + 1) / 2
        mixed = (padded.unfold(-1, 2 * self.reach + 1, 1) * weight).sum(-1).movedim(-1, 1)
        return F.interpolate(mixed.flatten(0, 1), scale_factor=2, mode='nearest').unflatten(0, x.shape[:2])


def image_model(folder: Path, scale: int = 2) -> Model:
    """`Repeat` as a model with a file."""
    return _model(folder, Repeat(scale), ImageSRAdapter(Repeat(scale), 3), False, scale)


def video_model(folder: Path, network: nn.Module, scale: int = 2) -> Model:
    """A network of clips as a model with a file."""
    network.eval().requires_grad_(False)
    adapter = VideoSRAdapter(network, scale, {'num_frame': network.num_frame} if hasattr(network, 'num_frame') else {})
    return _model(folder, network, adapter, True, scale)


def _model(folder: Path, network: nn.Module, adapter: Any, is_video: bool, scale: int) -> Model:
    path = folder / f'{type(network).__name__}.pth'
    torch.save(network.state_dict(), path)
    header = ModelHeader({'type': type(network).__name__}, (scale,), 3, is_video)
    return Model(str(path), network, adapter, header)


def moving_picture(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Frames of a smooth picture that moves by a pixel a frame: uint8 RGB `(count, height, width, 3)`."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 8 + count // 8, generator=generator)
    coarse = 0.3 * coarse + 0.7 * coarse.mean(1, keepdim=True)  # halved chroma must not be what is measured
    picture = F.interpolate(coarse, (height, width + count), mode='bicubic').clamp(0.05, 0.95)[0]
    frames = [picture[..., step : step + width] for step in range(count)]
    return (torch.stack(frames).permute(0, 2, 3, 1) * 255).round().byte().numpy()


def make_film(
    path: Path,
    pictures: Sequence[np.ndarray] | np.ndarray,
    *,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    codec: str = 'libx264',
    pixels: str = 'yuv420p',
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    sound: bool = False,
    subtitles: Sequence[tuple[int, int, str]] = (),
    aspect: Fraction | None = None,
    turned: int = 0,
    container_options: dict[str, str] | None = None,
    title: str | None = None,
    planes: Sequence[Sequence[np.ndarray]] | None = None,
) -> Path:
    """Write a film of pictures `(h, w, 3)` uint8 RGB, or of planes as they are; 25 frames a second without times."""
    first = planes[0][0] if planes is not None else pictures[0]
    height, width = first.shape[:2]
    count = len(planes) if planes is not None else len(pictures)
    times = times or [int(number / 25 / time_base) for number in range(count)]
    with av.open(str(path), 'w', options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options or {'crf': '4'})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if tags:
            set_tags(stream.codec_context, tags)
        if turned:
            stream.set_display_rotation(turned)
        if title:
            output.metadata['title'] = title
        audio = output.add_stream('aac', rate=44100, layout='mono') if sound else None
        text = output.add_mux_stream('subrip') if subtitles else None
        if text is not None:
            text.time_base = Fraction(1, 1000)
        output.start_encoding()
        if audio is not None:
            begin = int(44100 * times[0] * time_base)
            length = int(44100 * (times[-1] - times[0]) * time_base)
            samples = np.sin(np.arange(length) * 0.05).astype(np.float32)
            for start in range(0, len(samples) - 1023, 1024):
                sound_frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], 'fltp', 'mono')
                sound_frame.sample_rate, sound_frame.pts = 44100, begin + start
                output.mux(audio.encode(sound_frame))
            output.mux(audio.encode(None))
        for begin, duration, line in subtitles:
            packet = av.Packet(line.encode())
            packet.pts = packet.dts = begin
            packet.duration, packet.time_base, packet.stream = duration, Fraction(1, 1000), text
            output.mux(packet)
        for number in range(count):
            if planes is not None:
                frame = av.VideoFrame(width, height, pixels)
                for plane, values in zip(frame.planes, planes[number], strict=True):
                    target = np.frombuffer(plane, values.dtype).reshape(plane.height, -1)
                    target[:, : plane.width] = values
            else:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pictures[number]), 'rgb24')
                frame = frame.reformat(format=pixels, dst_colorspace='itu601', dst_color_range=1)
            frame.pts, frame.time_base = times[number], time_base
            if tags:
                set_tags(frame, tags)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def set_tags(of: Any, tags: tuple[int, int, int, int]) -> None:
    of.color_range, of.colorspace, of.color_primaries, of.color_trc = tags


def times_of(path: Path) -> list[Fraction]:
    """Seconds at which the frames of a film are shown."""
    with av.open(str(path)) as film:
        return [frame.pts * frame.time_base for frame in film.decode(video=0)]


def frames_of(path: Path) -> np.ndarray:
    """Frames as players show them, uint8 RGB."""
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format='rgb24') for frame in film.decode(video=0)])


def planes_of(path: Path) -> list[list[np.ndarray]]:
    """Samples of each frame's planes, as they are stored."""
    found = []
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
            found.append([
                np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].copy() for plane in frame.planes
            ])  # fmt: skip
    return found


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and content of the packets of the first track of a kind."""
    with av.open(str(path)) as film:
        stream = getattr(film.streams, kind)[0]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in film.demux(stream) if packet.size]
