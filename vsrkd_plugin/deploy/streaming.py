"""Networks that are given a film frame by frame: what they remember, what they must wait for, where they begin anew."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter, frame_windows
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.recurrent_step import RecurrentStep, can_step
from vsrkd_plugin.deploy.scene_cuts import CutDetector, shrink
from vsrkd_plugin.deploy.upscaling import Tile, Upscaler, choose_dtype
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.ops.precision import autocast, place
from vsrkd_plugin.ops.resize import apply_separable, bicubic_matrix

CHUNK, OVERLAP = 24, 6  # frames of networks that read in both directions: kept of a chunk, read on either side of it
_SHORTEST = 5  # frames that a clip is given at least, the last one repeated


class FrameStream(Protocol):
    """A network that is given frames in order, and gives each enlarged, in order, perhaps some frames later.

    `state_dict` holds all that decides what comes next: a stream that loads it goes on as the one that gave it.
    """

    def push(self, frame: Tensor) -> list[Tensor]:
        """SR frames that are ready, `(1, 3, …, …)`, of the LR frame `(1, 3, h, w)` in [0, 1] and those before it."""

    def finish(self) -> list[Tensor]:
        """The rest."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and lists."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""


class ImageStream:
    """Frame by frame, by a network of images."""

    def __init__(self, upscaler: Upscaler) -> None:
        self.upscaler = upscaler

    def push(self, frame: Tensor) -> list[Tensor]:
        return [self.upscaler(frame)]

    def finish(self) -> list[Tensor]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None


class SceneStream:
    """A network of clips, scene by scene; each begins as a clip of its own does.

    Args:
        scenes: makes SR of one scene, given frame by frame.
        finished: what becomes of the network's frames, of the LR frames' height and width.
    """

    def __init__(self, scenes: 'Scene', finished: Callable[[Tensor], Tensor] = lambda frame: frame) -> None:
        self.scene, self.finished = scenes, finished
        self.cuts = CutDetector()
        self._waiting: Tensor | None = None  # until it is known whether it begins a scene

    def push(self, frame: Tensor) -> list[Tensor]:
        begins = self.cuts.push(shrink(frame))
        results = self._add(begins)
        self._waiting = frame
        return results

    def finish(self) -> list[Tensor]:
        results = self._add(self.cuts.finish())
        self._waiting = None
        return results + self._drain(ended=True)

    def _add(self, begins: bool | None) -> list[Tensor]:
        if self._waiting is None:
            return []
        results = self._drain(ended=True) if begins else []
        if begins:
            self.scene.begin()
        self.scene.add(self._waiting)
        return results + self._drain(ended=False)

    def _drain(self, ended: bool) -> list[Tensor]:
        return [self.finished(frame) for frame in self.scene.drain(ended)]

    def state_dict(self) -> dict[str, Any]:
        return {'cuts': self.cuts.state_dict(), 'waiting': self._waiting, 'scene': self.scene.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.cuts.load_state_dict(state['cuts'])
        self.scene.load_state_dict(state['scene'])
        device = self.scene.device
        self._waiting = None if state['waiting'] is None else state['waiting'].to(device)


class Scene:
    """One scene, given frame by frame; keeps the frames that are still needed.

    Args:
        device: that the network is on.
        dtype: that its convolutions run in.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.device, self.dtype = device, dtype
        self.frames: list[Tensor] = []  # those kept, the last ones of the scene
        self.count = self.done = 0  # frames of the scene so far, and those that were enlarged

    def begin(self) -> None:
        """Forget the scene before."""
        self.frames, self.count, self.done = [], 0, 0

    def add(self, frame: Tensor) -> None:
        """The next frame."""
        self.frames.append(frame)
        self.count += 1

    @torch.inference_mode()
    def drain(self, ended: bool) -> list[Tensor]:
        """Frames that can be enlarged; all where the scene has ended."""
        results: list[Tensor] = []
        while self.done < self.count and (more := self._next(ended)):
            results += more
            self.done += len(more)
            self._forget(self.done - self._needed_before())
        return results

    def _next(self, ended: bool) -> list[Tensor]:
        """The next frames enlarged; none where more frames must come first."""
        raise NotImplementedError

    def _needed_before(self) -> int:
        """Frames before the next one that are needed for it."""
        raise NotImplementedError

    @property
    def _first(self) -> int:
        return self.count - len(self.frames)

    def _forget(self, before: int) -> None:
        del self.frames[: max(0, before - self._first)]

    def _clip(self, indices: Sequence[int]) -> Tensor:
        """Frames by their number in the scene, `(1, t, 3, h, w)`."""
        return torch.stack([self.frames[index - self._first] for index in indices], 1)

    def state_dict(self) -> dict[str, Any]:
        return {'frames': list(self.frames), 'count': self.count, 'done': self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.frames = [frame.to(self.device) for frame in state['frames']]
        self.count, self.done = state['count'], state['done']


class RecurrentScene(Scene):
    """By a network that goes through time in one direction: its state goes from frame to frame."""

    def __init__(self, step: RecurrentStep, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        self.step = step
        self.state: tuple[Tensor, ...] = ()

    def begin(self) -> None:
        super().begin()
        self.state = ()

    def _next(self, ended: bool) -> list[Tensor]:
        before, behind = self.step.frames_before, self.step.frames_behind
        if not ended and self.count <= self.done + behind:
            return []
        around = range(self.done - before, self.done + behind + 1)
        frames = self._clip([min(max(index, 0), self.count - 1) for index in around])
        with autocast(self.device, self.dtype):
            result, *state = self.step(frames, *(self.state or self.step.initial_state(frames)))
        self.state = tuple(state)
        return [result]

    def _needed_before(self) -> int:
        return self.step.frames_before

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'state': list(self.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.state = tuple(tensor.to(self.device) for tensor in state['state'])


class WindowScene(Scene):
    """By a network with a sliding window: what lies before and behind a scene is made of it, as of a clip."""

    def __init__(self, adapter: VideoSRAdapter, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        assert adapter.window is not None
        self.adapter, self.window = adapter, adapter.window

    def _next(self, ended: bool) -> list[Tensor]:
        reach = self.window // 2
        if not ended and (self.count < self.window or self.count <= self.done + reach):
            return []
        if self.count < self.window:  # shorter than a window: end frames are repeated
            indices = [min(max(self.done + offset, 0), self.count - 1) for offset in range(-reach, reach + 1)]
        else:  # of the frames kept alone: those before them do not matter any more
            rows = frame_windows(len(self.frames), self.window, self.adapter.padding)
            indices = [self._first + int(index) for index in rows[self.done - self._first]]
        with autocast(self.device, self.dtype):
            return [self.adapter.of_window(self._clip(indices))]

    def _needed_before(self) -> int:
        return self.window - 1


class ChunkScene(Scene):
    """By a network that reads a clip in both directions: in chunks of frames that overlap.

    A frame so depends on those of its chunk alone; a scene of up to `chunk` and `overlap` frames is one.
    """

    def __init__(
        self,
        adapter: VideoSRAdapter,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        chunk: int = CHUNK,
        overlap: int = OVERLAP,
    ) -> None:
        super().__init__(device, dtype)
        self.adapter, self.chunk, self.overlap = adapter, chunk, overlap

    def _next(self, ended: bool) -> list[Tensor]:
        left = self.count - self.done
        if not ended and left < self.chunk + self.overlap:
            return []
        kept = left if left <= self.chunk + self.overlap and ended else self.chunk
        start, stop = max(self._first, self.done - self.overlap), min(self.count, self.done + kept + self.overlap)
        indices = list(range(start, stop))
        indices += [stop - 1] * (_SHORTEST - len(indices))
        with autocast(self.device, self.dtype):
            results = self.adapter(self._clip(indices))
        return list(results[:, self.done - start : self.done - start + kept].unbind(1))

    def _needed_before(self) -> int:
        return self.overlap


class TimedStream:
    """Frames with something that goes with each (its time): what comes out has it again."""

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self._times: deque[Any] = deque()

    def push(self, frame: Tensor, time: Any) -> list[tuple[Tensor, Any]]:
        """As `FrameStream.push`; each frame with its time."""
        self._times.append(time)
        return self._timed(self.stream.push(frame))

    def finish(self) -> list[tuple[Tensor, Any]]:
        """The rest."""
        return self._timed(self.stream.finish())

    def _timed(self, frames: list[Tensor]) -> list[tuple[Tensor, Any]]:
        return [(frame, self._times.popleft()) for frame in frames]

    def state_dict(self) -> dict[str, Any]:
        """Tensors are on the CPU."""
        return {'times': list(self._times), 'stream': _on_cpu(self.stream.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._times = deque(tuple(time) for time in state['times'])
        self.stream.load_state_dict(state['stream'])


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(part) for key, part in value.items()}
    return [_on_cpu(part) for part in value] if isinstance(value, (list, tuple)) else value


def out_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of what is made of a frame."""
    return tuple(max(1, int(side * scale + 0.5)) for side in (height, width))  # type: ignore[return-value]


def open_stream(
    model: Model,
    scale: float | None,
    tile: Tile,
    memory_limit: int | None,
    device: torch.device,
    precision: str,
    say: Callable[[str], None],
) -> tuple[FrameStream, float]:
    """A network ready for the frames of a film, and the factor; arguments as of `upscale_film`.

    Raises:
        UserError: a factor below 1.
    """
    if not isinstance(model.adapter, VideoSRAdapter):
        upscaler = Upscaler(model, scale, tile, memory_limit, device, precision, say)
        return ImageStream(upscaler), upscaler.scale
    adapter, network = model.adapter, model.network
    if scale is not None and not 1 <= scale <= 64:
        raise UserError(f'scale: expected a factor from 1 to 64, got {scale:g}')
    native = adapter.scale
    scale = float(scale or native)
    dtype = choose_dtype(precision, device)
    if dtype != torch.float32:
        keep_tail_in_fp32(network)
    place(network, device)

    def finished(frame: Tensor) -> Tensor:
        if scale == native:
            return frame
        height, width = out_size(frame.shape[-2] // native, frame.shape[-1] // native, scale)
        return apply_separable(frame.float(), bicubic_matrix, scale / native)[..., :height, :width]

    if scale != native:
        say(f'x{scale:g} is not of the network: its x{native} is resized after it by bicubic')
    scene: Scene
    if not adapter.recurrent:
        scene = WindowScene(adapter, device, dtype)
    elif can_step(network):
        scene = RecurrentScene(RecurrentStep(network).eval(), device, dtype)
    else:
        scene = ChunkScene(adapter, device, dtype)
        say(
            f'{model.name} reads clips in both directions: the film is given to it {CHUNK + 2 * OVERLAP} frames at a '
            f'time, {OVERLAP} on either side shared'
        )
    return SceneStream(scene, finished), scale
