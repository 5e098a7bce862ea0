"""What the procedural source costs: rendering, sampling, and how a training's forward bears the rendering thread.

Run: `python benchmarks/procedural_source.py [--threads N]`. Takes half a minute on two cores.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.synthesis.sources.dead_leaves import render_levels
from vsrkd_plugin.synthesis.sources.procedural import FIRST_IMAGES, GROWTH, ProceduralSource

BATCH, SIZE = 16, 48


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of one call, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def source_of(num_images: int) -> ProceduralSource:
    return ProceduralSource(channels=1, lr_sizes={2: SIZE}, seed=0, num_images=num_images)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, help="torch's threads (default: its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    for channels in (1, 3):
        wall, cpu = time.perf_counter(), time.process_time()
        render_levels(0, range(200), 96, channels)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(
            f'rendering, {channels} channel(s), 96x96: {200 / wall:.0f} images/s ({5 * cpu:.1f} ms CPU an image); '
            f'pool of 2000 alone: {10 * wall:.1f} s'
        )

    small = source_of(FIRST_IMAGES)
    sampling = median_seconds(lambda: small.next(BATCH, 2), 100)
    teacher = VDSR(num_in_ch=1).eval()  # told the size it works at: no enlargement
    x = small.next(BATCH, 2).lr
    forward = median_seconds(lambda: teacher(x, 1), 15)
    print(
        f'sampling {BATCH}x1x{SIZE}x{SIZE}: {1 / sampling:.0f} batches/s; '
        f'VDSR teacher forward {1000 * forward:.1f} ms; sample / forward = {sampling / forward:.4f}'
    )

    # The thread renders during these forwards, one sample each: does anything wait, does the forward suffer?
    start = time.perf_counter()
    source = source_of(2000)
    source.next(BATCH, 2)
    first = time.perf_counter() - start
    forwards: list[float] = []
    samples: list[float] = []
    waits = 0
    while source._pool.rendered < 2000:
        waits += source._pool.rendered < source.available(len(forwards) + 1)
        begin = time.perf_counter()
        batch = source.next(BATCH, 2).lr
        middle = time.perf_counter()
        teacher(batch, 1)
        samples.append(middle - begin)
        forwards.append(time.perf_counter() - middle)
    wall = time.perf_counter() - start
    during = statistics.median(forwards)
    print(
        f'while training: first sample after {first:.2f} s; pool of 2000 full after {wall:.1f} s and {len(forwards)} '
        f'forwards ({2000 / wall:.0f} images/s rendered, {GROWTH * len(forwards) / wall:.0f} asked for)'
    )
    print(
        f'forward beside the thread / alone = {during / forward:.2f}; waits: {waits} of {len(samples)}; '
        f'sample: median {1000 * statistics.median(samples):.2f} ms, longest {1000 * max(samples):.1f} ms'
    )


if __name__ == '__main__':
    main()
