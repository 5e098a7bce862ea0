"""The procedural source of training inputs: random crops from a pool of dead leaves, rendered while training runs."""

import atexit
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrkd_plugin.ops.sending import send
from vsrkd_plugin.run.kept_arrays import SUFFIX, keep_array, kept_array
from vsrkd_plugin.synthesis.source import Batch, SeededSource, Share
from vsrkd_plugin.synthesis.sources.dead_leaves import RECIPE, render_levels

NUM_IMAGES, IMAGE_SIZE = 2000, 96  # painted, and their side
NUM_HR_IMAGES = 500  # painted where they are HR, and larger
FIRST_IMAGES = 64  # what the first batch draws from
GROWTH = 2  # images that each further batch has more to draw from

_DRAWS = 4  # random numbers per row: image, top, left, orientation


class _Pool:
    """Images `(num_images, channels, size, size)`, uint8 on the CPU, filled from the front by a daemon thread."""

    def __init__(self, seed: int, num_images: int, size: int, channels: int, cache_dir: str | Path | None) -> None:
        self.levels = torch.zeros(num_images, channels, size, size, dtype=torch.uint8)
        self.seed = seed
        self.rendered = 0
        self.error: BaseException | None = None
        self.changed = threading.Condition()
        self.stop = threading.Event()
        name = f'leaves{RECIPE}_{seed}_{num_images}x{channels}x{size}{SUFFIX}'
        self.file = None if cache_dir is None else Path(cache_dir) / name
        if not self._load():
            self.thread = threading.Thread(target=self._fill, name='procedural images', daemon=True)
            self.thread.start()
            _threads[:] = [(thread, pool) for thread, pool in _threads if thread.is_alive()]
            _threads.append((self.thread, weakref.ref(self)))

    def wait_for(self, count: int) -> None:
        """Return once the first `count` images are there; raise `RuntimeError` if the thread failed before."""
        if self.rendered < count:
            with self.changed:
                self.changed.wait_for(lambda: self.rendered >= count or self.error is not None or self.stop.is_set())
        if self.rendered < count:
            reason = self.error or 'the source was closed'
            raise RuntimeError(f'rendering procedural images failed: {reason}') from self.error

    def close(self) -> None:
        """End the thread after its current image."""
        self.stop.set()
        with self.changed:
            self.changed.notify_all()

    def _fill(self) -> None:
        array = self.levels.numpy()  # numpy copies in this thread; torch would wake the cores that training uses
        try:
            for index in range(len(self.levels)):
                if self.stop.is_set():
                    return
                images = render_levels(self.seed, [index], self.levels.shape[-1], self.levels.shape[1])
                array[index] = images.numpy()[0]
                with self.changed:
                    self.rendered = index + 1
                    self.changed.notify_all()
        except BaseException as error:  # a thread's exception would be lost, and `next` wait for ever
            with self.changed:
                self.error = error
                self.changed.notify_all()
            return
        if self.file is not None:
            keep_array(self.file, array)

    def _load(self) -> bool:
        if self.file is None:
            return False
        stored = kept_array(self.file, np.uint8, tuple(self.levels.shape))
        if stored is None:  # or a broken one: render
            return False
        self.levels = torch.from_numpy(stored)
        self.rendered = len(stored)
        return True


_threads: list[tuple[threading.Thread, weakref.ref[_Pool]]] = []  # that may still run


@atexit.register
def _end_threads() -> None:
    """A thread that comes back from native code while the interpreter ends aborts the process ('terminate called …').

    The threads are daemons all the same: others would be waited for until they have rendered everything. Those of pools
    that are gone were told to end, but may not have come to it.
    """
    for _, reference in _threads:
        pool = reference()
        if pool is not None:
            pool.close()
    for thread, _ in _threads:
        thread.join()


# A forked child has no such threads, and must not wait for them.
if hasattr(os, 'register_at_fork'):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_threads.clear)


class ProceduralSource(SeededSource):
    """Inputs from procedural images; it does not learn.

    The images are rendered by a thread in the order of their indices. Batch number `k` draws from the first
    `min(num_images, FIRST_IMAGES + GROWTH * k)`: how fast the thread is decides whether `next` waits, never what it
    returns.

    Args:
        channels: 1 or 3.
        lr_sizes: side of the square LR patch for each scale.
        seed: of the images and of the crops; the same in every process.
        num_images: size of the pool.
        image_size: side of an image, at least the largest patch.
        device: where crops are made.
        rank: this process.
        world_size: number of processes.
        cache_dir: folder that keeps the rendered pool for other runs; nothing is kept if None.

    Raises:
        ValueError: a size, count or rank that does not fit.
    """

    def __init__(
        self,
        *,
        channels: int,
        lr_sizes: dict[int, int],
        seed: int,
        num_images: int = NUM_IMAGES,
        image_size: int = IMAGE_SIZE,
        device: torch.device | str = 'cpu',
        rank: int = 0,
        world_size: int = 1,
        cache_dir: str | Path | None = None,
    ) -> None:
        if channels < 1 or num_images < 1:
            raise ValueError(f'channels and num_images must be at least 1, got {channels} and {num_images}')
        if seed < 0:
            raise ValueError(f'seed must not be negative, got {seed}')
        if not lr_sizes or min(lr_sizes.values()) < 1 or max(lr_sizes.values()) > image_size:
            raise ValueError(f'lr_sizes must lie in 1 … image_size ({image_size}), got {lr_sizes}')
        super().__init__(seed, rank, world_size)
        self.channels, self.lr_sizes, self.seed = channels, dict(lr_sizes), seed
        self.num_images, self.image_size = num_images, image_size
        self.device = torch.device(device)
        self._drawn = 0
        self._pool = _Pool(seed, num_images, image_size, channels, cache_dir)
        weakref.finalize(self, self._pool.close)  # a source that is dropped ends its thread
        # On the CPU the pool itself. Elsewhere a copy that grows in `next`, in the order of the caller's own stream.
        on_cpu = self.device.type == 'cpu'
        self._images = self._pool.levels if on_cpu else torch.zeros_like(self._pool.levels, device=self.device)
        self._uploaded = num_images if on_cpu else 0

    def available(self, drawn: int) -> int:
        """Number of images that batch number `drawn` (from 0) draws from."""
        return min(self.num_images, FIRST_IMAGES + GROWTH * drawn)

    def rows(self, share: Share, scale: int) -> Batch:
        """Random crops in random orientations, `(n, channels, s, s)`, on `device`.

        Raises:
            ValueError: an unknown scale.
            RuntimeError: the rendering failed.
        """
        size = self._size_of(scale)
        count = self.available(self._drawn)
        self._provide(count)  # before the randomness: a failure leaves the state as it was
        draws = torch.rand(share.total, _DRAWS, generator=self._rng, dtype=torch.float64)
        self._drawn += 1
        return Batch(self._crop(share.of(draws), size, count))

    def preview(self, scale: int, count: int = 4) -> Batch:
        """`(count, channels, s, s)`, fp32 in [0, 1]: the same at every call; the random state stays."""
        size = self._size_of(scale)
        images = self.available(0)
        self._provide(images)
        generator = torch.Generator().manual_seed(self.seed + scale)
        return Batch(self._crop(torch.rand(count, _DRAWS, generator=generator, dtype=torch.float64), size, images))

    def state_dict(self) -> dict[str, Any]:
        """`rng`: state of the generator (uint8); `drawn`: number of batches so far. The same in every process."""
        return {**super().state_dict(), 'drawn': self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as if never interrupted; the pool is rendered anew, or read from `cache_dir`."""
        super().load_state_dict(state)
        self._drawn = int(state['drawn'])

    def _size_of(self, scale: int) -> int:
        if scale not in self.lr_sizes:
            raise ValueError(f'scale must be one of {sorted(self.lr_sizes)}, got {scale}')
        return self.lr_sizes[scale]

    def _provide(self, count: int) -> None:
        self._pool.wait_for(count)
        if self._uploaded < count:
            part = slice(self._uploaded, count)
            self._images[part].copy_(self._pool.levels[part], non_blocking=True)
            self._uploaded = count

    @torch.no_grad()
    def _crop(self, draws: Tensor, size: int, count: int) -> Tensor:
        """Rows of `draws` `(n, _DRAWS)`, in [0, 1) on the CPU, as crops of the first `count` images."""
        side, edge = self.image_size, size - 1
        image = (draws[:, 0] * count).long()
        top, left = ((draws[:, 1:3] * (side - edge)).long()).unbind(1)
        turn = (draws[:, 3] * 8).long()
        flip_y, flip_x, transposed = turn & 1, turn >> 1 & 1, (turn >> 2).bool()
        # Pixel (i, j) of a crop lies at start + i * step_i + j * step_j of its image: flips turn the sign of a step, a
        # transposition swaps them. One gather for all rows.
        start = image * (self.channels * side * side) + (top + flip_y * edge) * side + left + flip_x * edge
        down, right = (1 - 2 * flip_y) * side, 1 - 2 * flip_x
        step_i, step_j = torch.where(transposed, right, down), torch.where(transposed, down, right)
        start, step_i, step_j = send(torch.stack([start, step_i, step_j]), self.device).view(3, -1, 1, 1, 1).unbind(0)
        along = torch.arange(size, device=self.device)
        channel = torch.arange(self.channels, device=self.device) * (side * side)
        index = start + channel.view(-1, 1, 1) + step_i * along.view(-1, 1) + step_j * along
        return self._images.view(-1)[index] / 255
