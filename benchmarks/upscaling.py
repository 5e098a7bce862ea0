"""What `vsrkd upscale` costs: time of a folder against the bare network, memory of a large picture, tiles' exactness.

Run: `python benchmarks/upscaling.py [folder|memory|tiles] [-m MODEL] [--count 20] [--memory 2G]`. Without a model the
network is a SRVGGNetCompact x4 (64 features, 16 convolutions) at its random start; pictures are made on the spot.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vsrkd_plugin.deploy.batch import upscale_pictures
from vsrkd_plugin.deploy.jobs import plan_jobs
from vsrkd_plugin.deploy.upscaling import Upscaler, choose_device
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.ops.precision import autocast, describe_device
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.allocator import keep_freed_memory
from vsrkd_plugin.run.model_file import ModelHeader, write_model
from vsrkd_plugin.synthesis.sources.dead_leaves import render_images

COMPACT = {'type': 'SRVGGNetCompact', 'num_feat': 64, 'num_conv': 16, 'upscale': 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('what', nargs='?', choices=('folder', 'memory', 'tiles'), default='folder')
    parser.add_argument('-m', dest='model', help='a checkpoint, or zoo:NAME')
    parser.add_argument('--count', type=int, default=20, help='pictures of the folder')
    parser.add_argument('--size', default='640x360', help='of its pictures')
    parser.add_argument('--memory', default='2G', help='that is allowed for the large picture')
    parser.add_argument('--large', default='4000x3000', help='size of the large picture')
    parser.add_argument('--precision', default='auto')
    args = parser.parse_args()
    register()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model or write_random(folder / 'compact.pth')
        if args.what == 'folder':
            time_folder(folder, model, args.count, args.size, args.precision)
        elif args.what == 'memory':
            measure_memory(folder, model, args.large, args.memory, args.precision)
        else:
            compare_tiles(model)


def write_random(path: Path) -> str:
    from basicsr.archs import build_network

    torch.manual_seed(0)
    write_model(build_network(dict(COMPACT)).state_dict(), ModelHeader(COMPACT, (4,), 3), path)
    return str(path)


def make_picture(size: str, seed: int) -> np.ndarray:
    """A picture of shapes with a little noise, as a camera's."""
    width, height = map(int, size.split('x'))
    shapes = render_images(seed, range(1), max(width, height) // 4 + 1, 3)[0].permute(1, 2, 0).numpy()
    image = Image.fromarray((shapes * 255).astype(np.uint8)).resize((max(width, height),) * 2)
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 3))
    return np.clip(np.asarray(image)[:height, :width] + noise, 0, 255).astype(np.uint8)


@torch.inference_mode()
def time_folder(folder: Path, model: str, count: int, size: str, precision: str) -> None:
    """A folder, read and written, against the network alone on the same pictures, which are tensors already."""
    source, target = folder / 'in', folder / 'out'
    source.mkdir()
    pictures = [make_picture(size, seed) for seed in range(count)]
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(source / f'{index}.png')
    device = choose_device()
    upscaler = Upscaler(open_model(model), device=device, precision=precision)
    print(f'{count} pictures of {size}, x{upscaler.scale:g}, {upscaler.model.name}, {describe_device(device)}')
    tensors = [torch.from_numpy(picture).permute(2, 0, 1)[None].to(device).float() / 255 for picture in pictures]

    def alone() -> float:
        started = time.perf_counter()
        for lr in tensors:
            with autocast(device, upscaler.dtype):
                upscaler.adapter(lr, upscaler.native)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def whole() -> float:
        return upscale_pictures(upscaler, plan_jobs(source, target)[0]).seconds

    alone()
    times = [(alone(), whole()) for _ in range(3)]
    for bare, all_of_it in times:
        print(f'network {bare:.1f} s, folder {all_of_it:.1f} s: {all_of_it / bare:.3f}')
    bare, all_of_it = (min(entry) for entry in zip(*times, strict=True))
    print(f'best of each: {all_of_it / bare:.3f}')


def measure_memory(folder: Path, model: str, size: str, memory: str, precision: str) -> None:
    """The most memory that a process of `vsrkd upscale` held."""
    import resource

    Image.fromarray(make_picture(size, 0)).save(folder / 'large.png')
    line = ['-m', model, '-i', str(folder / 'large.png'), '-o', str(folder / 'out.png'), '--memory', memory]
    started = time.perf_counter()
    line = [sys.executable, '-m', 'vsrkd_plugin', 'upscale', *line, '--precision', precision]
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f'{size}, --memory {memory}: {most / 2**10:.0f} MiB at most, {time.perf_counter() - started:.0f} s')


def compare_tiles(model: str) -> None:
    """The largest difference of tiles from the whole, in fp32, of black to white."""
    lr = torch.from_numpy(make_picture('320x240', 1)).permute(2, 0, 1)[None].float() / 255
    for scale in open_model(model).header.scales:
        outputs = []
        for tile in (10_000, 64):
            upscaler = Upscaler(open_model(model), scale, tile, precision='fp32', say=print)
            outputs.append(upscaler(lr))
        found = upscaler.locality()
        difference = float((outputs[0] - outputs[1]).abs().max())
        print(f'{upscaler.model.name} x{scale}: {difference:.2g}; {found.reach} pixels of overlap on each side')


if __name__ == '__main__':
    main()
