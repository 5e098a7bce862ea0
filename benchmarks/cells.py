"""The nine cells of a VDSR's weights: PSNR on Set5, Set14 and B100 at x2, x3, x4, and its agreement with a teacher.

Run: `python benchmarks/cells.py experiments/dfkd_vdsr/models/net_g_latest.pth [--num_feat 32] [--num_block 18]
[--rank 24] [--teacher datasets/vdsr_291.pth] [--sets datasets/Set5]`. Four minutes on two cores.
"""

import argparse

from measuring import agreement, cells, load_network

from vsrkd_plugin.registration import register

SCALES = [2, 3, 4]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('weights', help='checkpoint, or zoo:NAME')
    parser.add_argument('--num_feat', type=int, default=32)
    parser.add_argument('--num_block', type=int, default=18)
    parser.add_argument('--rank', type=int, help='of a student of low rank')
    parser.add_argument('--teacher', help='a VDSR of 64 channels and 18 blocks, to measure the agreement with')
    parser.add_argument('--held_out', nargs='+', default=['datasets/T91', 'datasets/BSD200'], help='images for that')
    parser.add_argument('--sets', nargs='+', default=['datasets/Set5', 'datasets/Set14', 'datasets/B100'])
    args = parser.parse_args()
    register()
    rank = {'rank': args.rank} if args.rank else {}
    student = load_network(
        {'type': 'VDSR', 'num_feat': args.num_feat, 'num_block': args.num_block, **rank}, args.weights
    )
    if args.teacher:
        teacher = load_network({'type': 'VDSR'}, args.teacher)
        found = agreement(teacher, student, args.held_out, SCALES)
        print('agreement with the teacher:', ', '.join(f'{scale} {value:.2f} dB' for scale, value in found.items()))
    for root in args.sets:
        for cell, value in cells({'student': student}, [root], SCALES)['student'].items():
            print(f'{cell}  {value:.2f}', flush=True)


if __name__ == '__main__':
    main()
