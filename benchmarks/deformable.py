"""Deformable convolution on a CPU: torchvision's against this package's, forward and backward, by turns.

Run: `python benchmarks/deformable.py [--threads 1]`. Seconds. The sizes are those of a training step of TDAN.
"""

import argparse
import statistics
import time

import torch
from torchvision.ops.deform_conv import deform_conv2d as stock

from vsrkd_plugin.ops.deform import deform_conv2d
from vsrkd_plugin.ops.precision import describe_device

NEIGHBOURS, CHANNELS, GROUPS, SIDE, REPEATS = 16, 64, 8, 24, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--threads', type=int, help="torch's threads (default: its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    x = torch.randn(NEIGHBOURS, CHANNELS, SIDE, SIDE, requires_grad=True)
    offset = torch.randn(NEIGHBOURS, 2 * 9 * GROUPS, SIDE, SIDE, requires_grad=True)
    weight = (0.05 * torch.randn(CHANNELS, CHANNELS, 3, 3)).requires_grad_()
    times: dict[str, list[tuple[float, float]]] = {'torchvision': [], 'ours': []}
    for turn in range(1 + REPEATS):
        for name, function in (('torchvision', stock), ('ours', deform_conv2d)):
            start = time.perf_counter()
            result = function(x, offset, weight, padding=1)
            middle = time.perf_counter()
            torch.autograd.grad(result.sum(), (x, offset, weight))
            if turn:
                times[name].append((middle - start, time.perf_counter() - middle))
    print(f'{NEIGHBOURS} of {CHANNELS}x{SIDE}x{SIDE}, {GROUPS} groups, {describe_device(torch.device("cpu"))}')
    medians = {name: [statistics.median(part) for part in zip(*found, strict=True)] for name, found in times.items()}
    for part, name in enumerate(('forward', 'backward')):
        slow, fast = (medians[which][part] for which in ('torchvision', 'ours'))
        print(f'{name:8} torchvision {1000 * slow:6.0f} ms, ours {1000 * fast:5.0f} ms: {slow / fast:.1f}x faster')


if __name__ == '__main__':
    main()
