"""What a video network gains by neighbouring frames: PSNR of a frame amid its clip, and amid copies of itself.

Run: `python benchmarks/neighbours.py experiments/mine/models/net_g_latest.pth [--options train_rlsp_teacher.yml]
[--clips datasets/Vid4] [--frame 6]`. Without options the network is found out of its file. The clips are five
photographs in motion if none are given. PSNR on Y, 8 pixels cut, results of 8 bits. A minute for a network like RLSP.
"""

import argparse

import torch
from measuring import clip_options, load_clip_network
from torch import Tensor

from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.data.degraded_clip_dataset import DegradedClipDataset
from vsrkd_plugin.inspection.teacher import adapter_of, build, inspect_teacher
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.registration import register

BORDER = 8


def psnr(result: Tensor, hr: Tensor) -> float:
    """In dB on Y of two images `(3, h, w)` in [0, 1], 8 bits, border cut."""
    one, other = (rgb_to_y((x.clamp(0, 1) * 255).round()[None] / 255) * 255 for x in (result, hr))
    difference = (one - other)[..., BORDER:-BORDER, BORDER:-BORDER]
    return float(10 * torch.log10(255**2 / difference.square().mean()))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('weights', help='checkpoint, or zoo:NAME')
    parser.add_argument('--options', help='options file whose network_g it is')
    parser.add_argument('--clips', default='skimage', help='folder of clips')
    parser.add_argument('--degradation', default='blur', choices=('blur', 'bicubic'))
    parser.add_argument('--sigma', type=float, default=1.5, help='of the blur, in HR pixels')
    parser.add_argument('--frame', type=int, default=6, help='of each clip, from 0')
    args = parser.parse_args()
    register()
    if args.options:
        options = load_options(args.options)
        scale = next(dataset['scale'] for dataset in options['datasets'].values() if 'scale' in dataset)
        network = load_clip_network(options['network_g'], args.weights, scale)
    else:
        found = inspect_teacher(args.weights)
        adapter = adapter_of(build(found), found)
        if not isinstance(adapter, VideoSRAdapter):
            parser.error(f'{args.weights}: expected the weights of a video network')
        scale, network = found.scale, adapter
    dataset = DegradedClipDataset(
        clip_options(args.clips, scale, {'degradation': args.degradation, 'sigma': args.sigma})
    )
    rows = []
    for sample in (dataset[index] for index in range(len(dataset))):
        if len(sample['lq']) <= args.frame:
            parser.error(f'{sample["folder"]}: has {len(sample["lq"])} frames, none of them number {args.frame}')
        clip, hr = sample['lq'][None, : 2 * args.frame + 1], sample['gt'][args.frame]
        still = clip[:, args.frame : args.frame + 1].expand_as(clip).contiguous()
        rows.append([psnr(network(x)[0, args.frame], hr) for x in (clip, still)])
        print(f'{sample["folder"]}: {rows[-1][0]:.2f} dB, amid copies {rows[-1][1]:.2f}', flush=True)
    moving, copies = torch.tensor(rows).mean(0).tolist()
    print(f'mean: {moving:.2f} dB, amid copies {copies:.2f}: neighbouring frames give {moving - copies:.2f} dB')


if __name__ == '__main__':
    main()
