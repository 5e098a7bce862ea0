"""How the layers of an invented scene move: known at every time and place, so that flow and occlusion come for free.

A scene is a ground (layer 0) and objects in front of it, later ones nearer. Each layer is a plane with a picture on it
that shifts, turns and grows; an object covers a blob of its plane. Lengths are in LR pixels, from the middle of the
frame.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from vsrkd_plugin.ops.motion import rotate

KINDS = ('full', 'translation', 'still')
_WAVES = 3  # in the outline of an object
SPEED = (0.03, 3.0)  # LR pixels a frame, from and to


def count_layers(kind: str, objects: int) -> int:
    """Layers of a scene: the ground, and the objects that there may be; only `full` motion has objects."""
    return 1 + (objects if kind == 'full' else 0)


@dataclass
class Scene:
    """Motion of `b` scenes of `l` layers over `t` frames; fp32, on one device.

    Attributes:
        shift: `(b, l, t, 2)`, where the layer's own origin is.
        angle: `(b, l, t)`, radians.
        zoom: `(b, l, t)`, logarithm of the magnification.
        radius: `(b, l)`, mean radius of the objects; infinite for the ground, 0 for an object that is not there.
        waves, phases: `(b, l, _WAVES)`, outline: `radius * (1 + sum of waves * cos(k * direction + phase))`.
        gain: `(b, t)`, brightness.
        cut: `(b,)`, the first frame of another scene (the same motion, the layers' pictures exchanged); `t` for none.
    """

    shift: Tensor
    angle: Tensor
    zoom: Tensor
    radius: Tensor
    waves: Tensor
    phases: Tensor
    gain: Tensor
    cut: Tensor

    def to(self, device: torch.device | str) -> 'Scene':
        """The same on another device; to a GPU in one copy that nobody waits for."""
        device = torch.device(device)
        if device.type == self.shift.device.type:
            return self
        rows = self.pack()
        if device.type == 'cuda':
            rows = rows.pin_memory()
        return Scene.unpack(rows.to(device, non_blocking=True), *self.angle.shape[1:])

    def rows(self, first: int, last: int) -> 'Scene':
        """Some of the scenes."""
        return Scene(**{name: value[first:last] for name, value in vars(self).items()})

    def during(self, first: Tensor, frames: int) -> 'Scene':
        """Some of the frames, for each scene from its own `first` `(b,)` on."""
        time = first[:, None] + torch.arange(frames, device=first.device)
        rows, layers = torch.arange(len(first), device=first.device), self.angle.shape[1]
        index = time[:, None].expand(-1, layers, -1)
        return Scene(
            shift=self.shift.gather(2, index[..., None].expand(-1, -1, -1, 2)),
            angle=self.angle.gather(2, index),
            zoom=self.zoom.gather(2, index),
            radius=self.radius,
            waves=self.waves,
            phases=self.phases,
            gain=self.gain[rows[:, None], time],
            cut=self.cut - first,
        )

    @staticmethod
    def together(scenes: 'list[Scene]') -> 'Scene':
        """Those of a batch, of as many frames. Where one has fewer layers, objects are added that are not there."""
        layers = max(scene.radius.shape[1] for scene in scenes)
        rows = zip(*(scene._padded(layers)._values() for scene in scenes), strict=True)
        return Scene(*map(torch.cat, rows))

    def _padded(self, layers: int) -> 'Scene':
        missing = layers - self.radius.shape[1]
        if not missing:
            return self
        over_layers = {name: x for name, x in vars(self).items() if name not in ('gain', 'cut')}
        return replace(
            self, **{n: torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], 1) for n, x in over_layers.items()}
        )

    def pack(self) -> Tensor:
        """All numbers of each scene in a row, `(b, numbers(l, t))`, fp32."""
        return torch.cat(
            [value.flatten(1).float() if value.ndim > 1 else value[:, None] for value in self._values()], 1
        )

    @staticmethod
    def numbers(layers: int, frames: int) -> int:
        """Length of a packed scene."""
        return sum(math.prod(shape) for shape in Scene._shapes(layers, frames))

    @staticmethod
    def unpack(rows: Tensor, layers: int, frames: int) -> 'Scene':
        """The inverse of `pack`."""
        shapes = Scene._shapes(layers, frames)
        parts = rows.split([math.prod(shape) for shape in shapes], 1)
        values = [part.reshape(len(rows), *shape) for part, shape in zip(parts, shapes, strict=True)]
        values[-1] = values[-1].long()  # cut
        return Scene(*values)

    def _values(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    @staticmethod
    def _shapes(layers: int, frames: int) -> list[tuple[int, ...]]:
        over_time, outline = (layers, frames), (layers, _WAVES)
        return [(*over_time, 2), over_time, over_time, (layers,), outline, outline, (frames,), ()]

    def on_layer(self, layer: int, time: int, places: Tensor) -> Tensor:
        """Places of the frame as places of a layer's own plane: `(b, …, 2)` to the same."""
        shift, angle, zoom = self._pose(layer, time, places.ndim)
        return rotate(places - shift, -angle) * torch.exp(-zoom)[..., None]

    def on_frame(self, layer: int, time: int, places: Tensor) -> Tensor:
        """The inverse of `on_layer`."""
        shift, angle, zoom = self._pose(layer, time, places.ndim)
        return rotate(places * torch.exp(zoom)[..., None], angle) + shift

    def cover(self, layer: int, time: int, places: Tensor, sharpness: float = 1.0) -> Tensor:
        """How much of each place a layer covers: `(b, …, 2)` to `(b, …)` in [0, 1].

        Args:
            sharpness: pixels of the picture to one LR pixel: an edge is one pixel of the picture wide.
        """
        if layer == 0:
            return places.new_ones(places.shape[:-1])
        own = self.on_layer(layer, time, places)
        direction, distance = torch.atan2(own[..., 1], own[..., 0]), own.norm(dim=-1)
        extra = (1,) * (places.ndim - 2)
        edge = torch.ones_like(distance)
        for k in range(_WAVES):
            wave, phase = (x[:, layer, k].view(-1, *extra) for x in (self.waves, self.phases))
            edge = edge + wave * torch.cos((k + 2) * direction + phase)
        radius = self.radius[:, layer].view(-1, *extra)
        magnified = torch.exp(self.zoom[:, layer, time]).view(-1, *extra)
        inside = (radius * edge - distance) * magnified * sharpness + 0.5
        return torch.where(radius > 0, inside.clamp(0, 1), 0.0)

    def nearest(self, time: int, places: Tensor) -> Tensor:
        """The layer that is seen at each place: `(b, …, 2)` to `(b, …)`, int64."""
        seen = torch.zeros(places.shape[:-1], dtype=torch.int64, device=places.device)
        for layer in range(1, self.shift.shape[1]):
            seen = torch.where(self.cover(layer, time, places) > 0.5, layer, seen)
        return seen

    def flow(self, time: int, other: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """Where what is seen at `places` of frame `time` is in frame `other`.

        Args:
            places: `(b, h, w, 2)`.

        Returns:
            The way there, `(b, 2, h, w)`; and whether it is seen there too, `(b, 1, h, w)`, bool: not covered, not cut.
            A place outside the frame counts as seen.
        """
        seen, target = self.nearest(time, places), torch.zeros_like(places)
        for layer in range(self.shift.shape[1]):
            there = self.on_frame(layer, other, self.on_layer(layer, time, places))
            target = torch.where((seen == layer)[..., None], there, target)
        same_scene = (self.cut > time) == (self.cut > other)
        visible = (self.nearest(other, target) == seen) & same_scene.view(-1, 1, 1)
        return (target - places).permute(0, 3, 1, 2), visible[:, None]

    def _pose(self, layer: int, time: int, ndim: int) -> tuple[Tensor, Tensor, Tensor]:
        extra = (1,) * (ndim - 2)
        shift = self.shift[:, layer, time].view(-1, *extra, 2)
        angle, zoom = (x[:, layer, time].view(-1, *extra) for x in (self.angle, self.zoom))
        return shift, angle, zoom


def random_scenes(
    generator: torch.Generator,
    batch: int,
    frames: int,
    size: int,
    objects: int = 2,
    kind: str = 'full',
    speed: tuple[float, float] = SPEED,
) -> Scene:
    """Scenes drawn at random, on the CPU.

    Args:
        generator: of the CPU; the same state gives the same scenes.
        batch: scenes.
        frames: of each.
        size: side of a frame in LR pixels.
        objects: at most so many; each is there in half of the scenes.
        kind: `full`; `translation` (the ground alone, at constant speed); `still`.
        speed: of the ground, and of objects on it, from and to, LR pixels a frame; as many slow ones as fast ones on a
            logarithmic scale.

    Raises:
        ValueError: another kind, a count below 1 (`objects`: 0), speeds that are no range above 0.
    """
    if kind not in KINDS:
        raise ValueError(f'kind of motion must be one of {", ".join(KINDS)}, got {kind!r}')
    if min(batch, frames, size) < 1 or objects < 0:
        raise ValueError(f'batch, frames and size must be at least 1, got {batch}, {frames} and {size}')
    if not 0 < speed[0] <= speed[1]:
        raise ValueError(f'speed must be two numbers above 0, the lower one first, got {speed}')
    layers = count_layers(kind, objects)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def sometimes(share: float, *shape: int) -> Tensor:
        return (uniform(*shape) < share).float()

    # Everything is drawn for every kind, so that kinds of as many layers differ in nothing else.
    low, high = map(math.log, speed)
    speeds = torch.exp(low + uniform(batch, layers) * (high - low))
    heading = uniform(batch, layers) * 2 * math.pi
    straight = sometimes(0.3, batch, layers).bool()  # a camera pans along its axes
    heading = torch.where(straight, (heading / (math.pi / 2)).round() * (math.pi / 2), heading)
    velocity = speeds[..., None] * torch.stack([torch.cos(heading), torch.sin(heading)], -1)
    acceleration = normal(batch, layers, 2) * 0.15 * speeds[..., None] * sometimes(0.5, batch, layers)[..., None]
    turning = normal(batch, layers) * 0.012 * sometimes(0.5, batch, layers)
    growing = normal(batch, layers) * 0.01 * sometimes(0.5, batch, layers)
    shaking = normal(batch, 1, frames, 2) * 0.3 * sometimes(0.2, batch, 1, 1, 1)  # of the camera: all layers alike
    at_rest = sometimes(0.1, batch)
    place = (uniform(batch, layers, 2) - 0.5) * size
    radius = torch.exp(math.log(0.08) + uniform(batch, layers) * math.log(0.45 / 0.08)) * size
    radius = radius * sometimes(0.5, batch, layers)
    waves, phases = uniform(batch, layers, _WAVES) * 0.25, uniform(batch, layers, _WAVES) * 2 * math.pi
    fading = normal(batch) * 0.015 * sometimes(0.3, batch)
    cut = torch.where(sometimes(0.05, batch).bool(), (uniform(batch) * frames).long(), frames)

    moves = 0.0 if kind == 'still' else 1.0
    full = float(kind == 'full')
    time = torch.arange(frames) - (frames - 1) / 2
    place[:, 0], radius[:, 0] = 0, math.inf
    moving = moves * (1 - full * at_rest).view(-1, 1, 1, 1)
    path = velocity[:, :, None] * time[:, None] + full * 0.5 * acceleration[:, :, None] * time[:, None] ** 2
    # Objects move with the ground, and on it.
    path = torch.cat([path[:, :1], path[:, 1:] + path[:, :1]], 1)
    turned, grown = (full * moving[..., 0] * rate[..., None] * time for rate in (turning, growing))
    return Scene(
        shift=place[:, :, None] + moving * (path + full * shaking),
        angle=turned,
        zoom=grown,
        radius=radius,
        waves=waves,
        phases=phases,
        gain=1 + full * fading[:, None] * time,
        cut=cut if kind == 'full' else torch.full_like(cut, frames),
    )
