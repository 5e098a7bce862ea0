"""Memory and speed of `vsrkd upscale` on films: is memory flat, and what does all but the network cost?

    python benchmarks/film.py                  # 11 minutes of a small film: memory by the minute, minute 10 against 1
    python benchmarks/film.py --speed          # 10 s of 320x180: the whole against the bare network
    python benchmarks/film.py -m zoo:rlsp_x4 realesr-animevideov3.pth

Needs the extra `video`. Prints JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vsrkd_plugin  # noqa: F401 - before basicsr
from vsrkd_plugin.deploy.film_colour import to_rgb
from vsrkd_plugin.deploy.film_reading import FilmReader
from vsrkd_plugin.deploy.film_targets import FilmTarget
from vsrkd_plugin.deploy.film_writing import write_pictures
from vsrkd_plugin.deploy.films import upscale_film
from vsrkd_plugin.deploy.memory import used_memory
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.streaming import open_stream
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.registration import register_all
from vsrkd_plugin.run.allocator import keep_freed_memory

RATE = 25
SCENE = 100  # frames between cuts


def moving_pattern(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Waves that wander, anew every few seconds: uint8 BGR."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for number in range(frames):
        generator = np.random.default_rng(number // SCENE)
        waves = [
            np.sin(fx * columns + fy * rows + phase + 0.15 * number)
            for fx, fy, phase in generator.uniform((-0.5, -0.5, 0), (0.5, 0.5, 6), (3, 3))
        ]
        picture = np.stack(waves, -1) * 50 + generator.uniform(70, 180, 3)
        yield picture.clip(0, 255).astype(np.uint8)


def measure_memory(model: Model, film: Path, folder: Path) -> dict[str, Any]:
    """Megabytes of the process at the end of each minute of the film, and minute 10 against minute 1."""
    written, by_minute = 0, list[float]()
    write = FilmTarget.write

    def counted(self: FilmTarget, planes: list[torch.Tensor], at: int, duration: int) -> None:
        nonlocal written
        write(self, planes, at, duration)
        written += 1
        if written % (60 * RATE) == 0:
            by_minute.append(round(used_memory() / 2**20, 1))

    FilmTarget.write = counted  # type: ignore[method-assign,assignment]
    try:
        result = upscale_film(model, film, folder / 'memory.mp4', say=lambda text: None)
    finally:
        FilmTarget.write = write  # type: ignore[method-assign]
    found: dict[str, Any] = {
        'frames': result.frames,
        'frames per second': round(result.frames_per_second, 1),
        'megabytes by minute': by_minute,
    }
    if len(by_minute) >= 10:
        found['minute 10 against minute 1'] = round(by_minute[9] / by_minute[0], 3)
    return found


@torch.inference_mode()
def measure_speed(model: Model, film: Path, folder: Path) -> dict[str, Any]:
    """Seconds of the whole, and of the network alone on the same frames, decoded before."""
    with FilmReader(film) as reader:
        frames = [to_rgb(frame.planes, reader.info.colour) for frame in reader.frames()]
    stream, _ = open_stream(model, None, 'auto', None, torch.device('cpu'), 'auto', lambda text: None)
    stream.push(frames[0])
    stream.finish()
    started = time.perf_counter()
    for frame in frames:
        stream.push(frame)
    stream.finish()
    alone = time.perf_counter() - started
    result = upscale_film(model, film, folder / 'speed.mp4', say=lambda text: None)
    return {
        'frames': result.frames,
        'network alone, s': round(alone, 2),
        'film, s': round(result.seconds, 2),
        'film against network': round(result.seconds / alone, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-m', dest='models', nargs='+', default=['zoo:rlsp_x4'], metavar='MODEL')
    parser.add_argument('--speed', action='store_true', help='measure speed, not memory')
    parser.add_argument('--minutes', type=float, default=11, help='of the film whose memory is measured; default: 11')
    args = parser.parse_args()
    register_all(None)
    keep_freed_memory()
    height, width, frames = (180, 320, 10 * RATE) if args.speed else (24, 32, int(args.minutes * 60 * RATE))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = folder / 'film.mp4'
        write_pictures(film, moving_pattern(frames, height, width), RATE)
        for path in args.models:
            measure = measure_speed if args.speed else measure_memory
            found[path] = measure(open_model(path), film, folder)
    found['film'] = f'{width}x{height}, {float(Fraction(frames, 60 * RATE)):.1f} minutes'
    print(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
