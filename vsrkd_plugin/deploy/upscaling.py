"""Pictures of any size through an image network: in tiles that fit the memory, at any factor."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.adapters.contract import UNFIT, NetworkContract
from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.deploy.memory import empty_array, free_memory, peak_memory, show_size, used_memory
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.tiling import Locality, Plan, Span, measure_locality, plan_tiles, split, whole_picture
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.ops.precision import autocast, place, resolve_precision
from vsrkd_plugin.ops.resize import bicubic_part, bicubic_resize
from vsrkd_plugin.run.faults import is_out_of_memory

Tile = int | Literal['auto']

_RESIZED_REACH = 4  # pixels of LR that resizing after the network looks at, on either side
_OF_FREE = 0.7  # what is taken of the memory that is free
# Times what was counted. On a CPU the C library's allocator leaves more and more gaps between tensors (1.6 to 2.8 times
# after some tiles of five networks), and operations take memory for themselves; that of a GPU counts all.
_SPARE = {'cpu': 3.0, 'cuda': 1.15}
_TRIED_SIDES = (32, 64)  # of the pictures whose memory is counted
_LUMA = (65.481 / 219, 128.553 / 219, 24.966 / 219)  # BT.601
_BLACK, _WHITE = 16 / 255, 235 / 255  # Y of black and white, as networks of Y take them


def choose_device(name: str | None = None) -> torch.device:
    """A device by its name; by default the GPU where there is one.

    Raises:
        UserError: there is none of this name.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(1, device=device).tolist()  # which a device without numbers ('meta') cannot
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f'--device {name}: cannot be used ({first_line(error)})') from error
    return device


class Upscaler:
    """Enlarges pictures by a network, whatever their size.

    What is made does not depend on the tiles (to 1e-5 in fp32) unless `locality().exact` is false.

    Args:
        model: of an image network.
        scale: the factor, from 1; a factor that the network has not is reached by resizing after it. None: the
            network's largest.
        tile: side of a tile in pixels of LR, its overlap not counted; `auto`: the largest that fits the memory.
        memory_limit: bytes that the process may take on the device; None: what is free there.
        device: where it runs.
        precision: `auto`, `bf16` or `fp32`.
        say: is told what a person should know.

    Attributes:
        scale: the factor.
        native: the factor of the network that is used for it.
        device: where it runs.

    Raises:
        UserError: a network of films, a factor below 1, a tile below 1.
    """

    def __init__(
        self,
        model: Model,
        scale: float | None = None,
        tile: Tile = 'auto',
        memory_limit: int | None = None,
        device: torch.device | str = 'cpu',
        precision: str = 'auto',
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        if not isinstance(model.adapter, ImageSRAdapter):
            raise UserError(f'{model.path}: {model.name} is a network of films; expected one of images')
        if scale is not None and not 1 <= scale <= 64:
            raise UserError(f'scale: expected a factor from 1 to 64, got {scale:g}')
        if tile != 'auto' and tile < 1:
            raise UserError(f'tile: expected auto or a side in pixels from 1, got {tile}')
        self.model, self.adapter = model, model.adapter
        self.device, self.tile, self.say = torch.device(device), tile, say
        self.scale = float(scale or max(model.header.scales))
        enough = [factor for factor in model.header.scales if factor >= self.scale]
        self.native = min(enough) if enough else max(model.header.scales)
        if self.native != self.scale:
            said = f'x{self.scale:g} is not of the network: its x{self.native} is resized after it by bicubic'
            say(said)
        network = model.network
        self.dtype = choose_dtype(precision, self.device)
        if self.dtype != torch.float32:
            keep_tail_in_fp32(network)
        for module in network.modules():
            if isinstance(getattr(module, 'precision', None), str):  # it chooses a format itself
                module.precision = 'fp32' if self.dtype == torch.float32 else 'bf16'  # type: ignore[assignment]
        place(network, self.device)
        self._contract = NetworkContract.of(network)
        self._locality: Locality | None = None
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._measured: dict[int, list[tuple[int, int]]] = {}
        self._memory_limit = memory_limit
        self._used, self._budget = 0, 0

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is made of a picture."""
        return _scaled(height, self.scale), _scaled(width, self.scale)

    def __call__(self, lr: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lr: `(n, c, h, w)` in [0, 1]: grey, grey and alpha, RGB, RGB and alpha.

        Returns:
            `(n, c, scale * h, scale * w)` in [0, 1], fp32, on `device`; sizes are rounded where `scale` is no whole
            number.

        Raises:
            UserError: the network does not take such a picture, or not even small tiles fit the memory.
        """
        if lr.ndim != 4 or not 1 <= lr.shape[1] <= 4:
            raise ValueError(f'expected (n, 1 to 4, h, w), got {tuple(lr.shape)}')
        height, width = lr.shape[2:]
        plan = self.plan(height, width, lr.shape[1])
        images = []
        for image in lr.split(1):
            if len(plan) == 1:
                images.append(self._enlarge_tile(image, plan.rows[0], plan.columns[0], height, width))
                continue
            whole = torch.empty(1, lr.shape[1], *self.out_size(height, width), device=self.device)
            for rows in plan.rows:
                for columns in plan.columns:
                    window = image[..., rows.start : rows.stop, columns.start : columns.stop]
                    top, left = (_scaled(span.first, self.scale) for span in (rows, columns))
                    part = self._enlarge_tile(window, rows, columns, height, width)
                    whole[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
            images.append(whole)
        return torch.cat(images) if len(images) > 1 else images[0]

    def strips(
        self, picture: np.ndarray, plan: Plan, dtype: np.dtype, done: Callable[[], object] = lambda: None
    ) -> Iterator[np.ndarray]:
        """Enlarge a picture from top to bottom; it is never whole in memory, nor in floating point.

        Args:
            picture: `(h, w, c)` of uint8 or uint16, channels as of a call.
            plan: its tiles.
            dtype: uint8 or uint16, of what is made.
            done: is called after each tile.

        Yields:
            `(rows, scale * w, c)`, one below the other, as many as there are rows of tiles.

        Raises:
            UserError: the network does not take such a picture.
        """
        height, width, channels = picture.shape
        for rows in plan.rows:
            top, bottom = (_scaled(row, self.scale) for row in (rows.first, rows.last))
            strip = empty_array((bottom - top, _scaled(width, self.scale), channels), dtype)
            for columns in plan.columns:
                window = picture[rows.start : rows.stop, columns.start : columns.stop]
                part = self._enlarge_tile(_to_tensor(window), rows, columns, height, width)
                left = _scaled(columns.first, self.scale)
                strip[:, left : left + part.shape[-1]] = _to_array(part, dtype)
                done()
            yield strip

    def locality(self) -> Locality:
        """How far the network looks, found out once by trying."""
        if self._locality is None:
            contract, channels = self._contract, self.adapter.in_channels

            def enlarge(x: Tensor) -> Tensor:
                return self.adapter(x.to(self.device), self.native).cpu()

            self._locality = measure_locality(enlarge, channels, contract.size_multiple, contract.min_size)
            if not self._locality.exact:
                self.say(
                    f'layers of {self.model.name} see the whole picture: tiles give another result than the whole (up '
                    f'to {self._locality.difference:.2g} of white in a trial); the larger the tile, the less it differs'
                )
        return self._locality

    def plan(self, height: int, width: int, channels: int = 3, reserved: int = 0, bytes_a_row: int = 0) -> Plan:
        """The tiles of a picture.

        Args:
            height: of the picture, LR.
            width: of the picture, LR.
            channels: of the picture.
            reserved: bytes of memory that are to be left for other things.
            bytes_a_row: that are to be left besides for each row of LR of a tile.

        Raises:
            UserError: not even small ones fit the memory.
        """
        key = height, width, channels, reserved, bytes_a_row
        if key not in self._plans:
            self._plans[key] = self._make_plan(*key)
        return self._plans[key]

    def _make_plan(self, height: int, width: int, channels: int, reserved: int, bytes_a_row: int) -> Plan:
        if self.tile != 'auto':
            if self.tile >= max(height, width):
                return whole_picture(height, width)
            reach, step = self._reach()
            size = -(-(self.tile + 2 * reach + 2 * (step - 1)) // step) * step
            return Plan(split(height, size, reach, step), split(width, size, reach, step))
        self._bytes_of(1, channels)
        self._find_budget()
        budget = self._budget - reserved

        def needed(high: int, wide: int) -> float:
            return self._bytes_of(high * wide, channels) + high * bytes_a_row

        if needed(height, width) <= budget:
            return whole_picture(height, width)
        reach, step = self._reach()
        plan = plan_tiles(height, width, lambda high, wide: needed(high, wide) <= budget, reach, step)
        if plan is None:
            least = 2 * reach + 8 + 3 * step
            raise UserError(
                f'{width}x{height} pixels need {show_size(self._used + reserved + needed(least, least))} of memory at '
                f'least, {show_size(self._used + self._budget)} are free or allowed (--memory)'
            )
        return plan

    def _reach(self) -> tuple[int, int]:
        found = self.locality()
        return found.reach + (_RESIZED_REACH if self.native != self.scale else 0), found.step

    def _bytes_of(self, pixels: int, channels: int) -> float:
        """Memory that a tile takes, by what two small ones take."""
        if channels not in self._measured:
            sides = [max(side, self._contract.min_size) for side in _TRIED_SIDES]
            self._measured[channels] = [(side**2, self._peak(side, channels)) for side in dict.fromkeys(sides)]
        spare = _SPARE.get(self.device.type, _SPARE['cpu'])
        (first, least), (second, most) = (self._measured[channels] * 2)[:2]
        if second == first:
            return spare * most * pixels / second
        linear = most + (most - least) / (second - first) * (pixels - second)
        # Attention over the whole picture grows faster.
        exponent = np.log(most / least) / np.log(second / first) if most > least > 0 else 1
        return spare * max(linear, most * (pixels / second) ** exponent if exponent > 1.05 else 0, least)

    def _find_budget(self) -> None:
        """How much memory there is for tiles.

        Found once, after a first run, in which libraries take what they keep: later on the allocator keeps what it was
        given, and less would seem to be left.
        """
        if self._budget:
            return
        on_gpu = self.device.type == 'cuda'
        self._used = torch.cuda.memory_allocated(self.device) if on_gpu else used_memory()
        free = _OF_FREE * free_memory(self.device)
        self._budget = int(free if self._memory_limit is None else min(free, self._memory_limit - self._used))

    def _peak(self, side: int, channels: int) -> int:
        span = Span(0, side, 0, side)
        return peak_memory(
            lambda: self._enlarge_tile(torch.zeros(1, channels, side, side), span, span, side, side), self.device
        )

    @torch.inference_mode()
    def _enlarge_tile(self, lr: Tensor, rows: Span, columns: Span, height: int, width: int) -> Tensor:
        """What is kept of one tile, `(n, c, …, …)` in [0, 1]; `height` and `width` are those of the picture."""
        lr = lr.to(self.device, torch.float32)
        try:
            with autocast(self.device, self.dtype):
                output = self._enlarge(lr)
        except (MemoryError, *UNFIT) as error:
            size = f'{lr.shape[-1]}x{lr.shape[-2]}'
            if is_out_of_memory(error):
                text = f'out of memory at {size} pixels; expected a smaller --tile, or --memory'
                raise UserError(text) from error
            raise UserError(f'{self.model.name} does not take {size} pixels ({first_line(error)})') from error
        if self.native == self.scale:
            top, bottom, left, right = (
                self.native * edge
                for edge in (
                    rows.first - rows.start,
                    rows.last - rows.start,
                    columns.first - columns.start,
                    columns.last - columns.start,
                )
            )
            return output[..., top:bottom, left:right].clamp(0, 1)
        vertical, horizontal = (self._resizing(span, length) for span, length in ((rows, height), (columns, width)))
        return (vertical @ (output @ horizontal.T)).clamp_(0, 1)

    def _resizing(self, span: Span, length: int) -> Tensor:
        """What makes pixels of the result of those that the network gave, along one axis."""
        outputs = range(_scaled(span.first, self.scale), _scaled(span.last, self.scale))
        inputs = range(self.native * span.start, self.native * span.stop)
        matrix = bicubic_part(self.native * length, self.scale / self.native, outputs, inputs)
        return torch.from_numpy(matrix.astype(np.float32)).to(self.device)

    def _enlarge(self, lr: Tensor) -> Tensor:
        if lr.shape[1] == 3:
            return self.adapter(lr, self.native)
        if lr.shape[1] == 1:
            return self._enlarge_grey(lr)
        # Alpha by bicubic: what is opaque stays so, which no network promises.
        return torch.cat([self._enlarge(lr[:, :-1]), bicubic_resize(lr[:, -1:], self.native)], 1)

    def _enlarge_grey(self, lr: Tensor) -> Tensor:
        if self.adapter.in_channels == 1:  # as Y of a colour picture that is grey
            y = self.adapter(lr * (_WHITE - _BLACK) + _BLACK, self.native)
            return (y - _BLACK) / (_WHITE - _BLACK)
        weight = torch.tensor(_LUMA, device=self.device).view(1, 3, 1, 1)
        return (self.adapter(lr.expand(-1, 3, -1, -1), self.native) * weight).sum(1, keepdim=True)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What convolutions run in on a device, of `auto`, `bf16` or `fp32`."""
    if precision == 'auto' and device.type not in ('cpu', 'cuda'):
        return torch.float32
    return resolve_precision(precision, device)


def _scaled(length: int, scale: float) -> int:
    return max(1, int(length * scale + 0.5)) if length else 0


def _to_tensor(window: np.ndarray) -> Tensor:
    """`(h, w, c)` of whole numbers to `(1, c, h, w)` in [0, 1]."""
    values = torch.from_numpy(window.astype(np.float32))
    return values.permute(2, 0, 1)[None] / float(np.iinfo(window.dtype).max)


def _to_array(image: Tensor, dtype: np.dtype) -> np.ndarray:
    """`(1, c, h, w)` in [0, 1] to `(h, w, c)` of whole numbers."""
    white = np.iinfo(dtype).max
    values = (image[0] * white).round_().permute(1, 2, 0)
    return values.to(torch.uint8 if white == 255 else torch.int32).cpu().numpy().astype(dtype, copy=False)
