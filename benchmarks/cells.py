"""The nine cells of a VDSR's weights: PSNR on Set5, Set14 and B100 at x2, x3, x4, and its agreement with a teacher.

Run: `python benchmarks/cells.py experiments/dfkd_vdsr/models/net_g_latest.pth [--teacher datasets/vdsr_291.pth]
[--sets datasets/Set5]`. Four minutes on two cores.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from measuring import agreement, cells, load_network
from torch import Tensor

from vsrkd_plugin.registration import register
from vsrkd_plugin.run.checkpoints import read_weights

SCALES = [2, 3, 4]


def options_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of the VDSR that weights are of."""
    blocks = {name.split('.')[1] for name in weights if name.startswith('residual_layer.')}
    thin = weights.get('residual_layer.0.conv.0.weight')
    rank = {} if thin is None else {'rank': len(thin)}
    return {'type': 'VDSR', 'num_feat': len(weights['input.weight']), 'num_block': len(blocks), **rank}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('weights', help='checkpoint, or zoo:NAME')
    parser.add_argument('--teacher', help='a VDSR of full size, to measure the agreement with')
    parser.add_argument('--held_out', nargs='+', default=['datasets/T91', 'datasets/BSD200'], help='images for that')
    parser.add_argument('--sets', nargs='+', default=['datasets/Set5', 'datasets/Set14', 'datasets/B100'])
    args = parser.parse_args()
    register()
    student = load_network(options_of(read_weights(args.weights)), args.weights)
    if args.teacher:
        teacher = load_network({'type': 'VDSR'}, args.teacher)
        found = agreement(teacher, student, args.held_out, SCALES)
        print('agreement with the teacher:', ', '.join(f'{scale} {value:.2f} dB' for scale, value in found.items()))
    for root in args.sets:
        for cell, value in cells({'student': student}, [root], SCALES)['student'].items():
            print(f'{cell}  {value:.2f}', flush=True)


if __name__ == '__main__':
    main()
