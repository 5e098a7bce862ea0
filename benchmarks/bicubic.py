"""Bicubic enlargement as matrices and as sums over five neighbours: time, gradient, difference.

Run: `OMP_NUM_THREADS=1 python benchmarks/bicubic.py`. Times are of the processor, the smallest of several rounds, both
forms by turns: this tells from what size the second is worth it. The sizes are those of a batch of the training, a
tile, and pictures.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from vsrkd_plugin.ops.resize import _enlarge, apply_separable, bicubic_matrix

CASES = [((8, 1, 16, 16), 4), ((8, 1, 32, 32), 2), ((1, 3, 128, 128), 4), ((1, 1, 512, 512), 2), ((1, 3, 720, 1280), 2)]
ROUNDS, SECONDS = 5, 0.2


def main() -> None:
    for shape, scale in CASES:
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        print(f'{"x".join(map(str, shape)):>14} x{scale}', end='')
        for name, with_gradient in (('forward', False), ('with gradient', True)):
            before, now = _milliseconds(x, scale, with_gradient)
            print(f' | {name}: matrices {before:8.3f} ms, neighbours {now:8.3f} ms, {before / now:4.2f}x', end='')
        print(f' | difference {float((_by_matrices(x, scale) - _by_neighbours(x, scale)).abs().max()):.1e}')


def _by_matrices(x: Tensor, scale: int) -> Tensor:
    return apply_separable(x, bicubic_matrix, float(scale), 0.0)


def _by_neighbours(x: Tensor, scale: int) -> Tensor:
    return _enlarge(x, scale, from_corner=False)


def _milliseconds(x: Tensor, scale: int, with_gradient: bool) -> list[float]:
    best = [float('inf')] * 2
    for _ in range(ROUNDS):
        for index, enlarge in enumerate((_by_matrices, _by_neighbours)):
            best[index] = min(best[index], _once(enlarge, x.clone().requires_grad_(with_gradient), scale))
    return best


def _once(enlarge: Callable[[Tensor, int], Tensor], x: Tensor, scale: int) -> float:
    start, calls = time.process_time(), 0
    while time.process_time() < start + SECONDS:
        result = enlarge(x, scale)
        if x.requires_grad:
            result.sum().backward()
        calls += 1
    return (time.process_time() - start) / calls * 1000


if __name__ == '__main__':
    main()
