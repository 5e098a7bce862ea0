"""What a student saves where it is used: time for an image of 512x512, teacher and student by turns.

Run: `python benchmarks/inference.py [options/dfkd_vdsr.yml] [--side 512]`. The networks are those of an options file,
with random weights, in fp32 and in what `precision: auto` chooses; the image is their result, at the first scale. First
as a program of one's own would run them, then with freed memory kept, as all commands of this package do.
"""

import argparse

import torch

from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.ops.precision import autocast, describe_device, resolve_precision
from vsrkd_plugin.registration import register
from vsrkd_plugin.reports.complexity import measure_complexity
from vsrkd_plugin.run.allocator import keep_freed_memory

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def page_faults() -> int:
    """Of this process so far; 0 where the system does not tell."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('options', nargs='?', default='options/dfkd_vdsr.yml')
    parser.add_argument('--side', type=int, default=512, help='of the result, in pixels')
    args = parser.parse_args()
    register()
    from basicsr.archs import build_network  # after the plugin, which makes it importable

    options = load_options(args.options)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    scale = options['scales'][0]
    networks = {}
    for name, key in (('teacher', 'network_t'), ('student', 'network_g')):
        network = build_network(dict(options[key])).to(device=device, memory_format=torch.channels_last)
        networks[name] = ImageSRAdapter(freeze(network), input_channels(network, options[key]))
    print(f'{args.options}, a result of {args.side}x{args.side} at x{scale}, {describe_device(device)}')
    dtypes = list(dict.fromkeys([torch.float32, resolve_precision('auto', device)]))
    for kept in (False, True):
        if kept and not keep_freed_memory():
            continue  # of another system: it is as above
        for dtype in dtypes:
            before = page_faults()
            with autocast(device, dtype):
                teacher, student = measure_complexity(networks, scale, device, lr_side=args.side // scale)
            seconds = [entry['seconds_per_image'] for entry in (teacher, student)]
            print(
                f'{"kept memory" if kept else "as it comes"}, {str(dtype).removeprefix("torch."):<9} teacher '
                f'{seconds[0] * 1000:7.1f} ms, student {seconds[1] * 1000:7.1f} ms: {seconds[0] / seconds[1]:.2f}x '
                f'faster, {teacher["macs"] / student["macs"]:.2f}x fewer multiply-accumulates; '
                f'{page_faults() - before:,} page faults'
            )


if __name__ == '__main__':
    main()
