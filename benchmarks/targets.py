"""Whether a student that is chosen for a time takes that time: `vsrkd distill --target`, without the training.

Run: `python benchmarks/targets.py [zoo:vdsr_x234] [--targets 50ms 100ms 150ms 250ms 400ms] [--size 64x64]`. Each choice
is timed again when all are made, by turns.
"""

import argparse
import statistics

from vsrkd_plugin.deploy.upscaling import choose_device
from vsrkd_plugin.inspection.teacher import inspect_teacher
from vsrkd_plugin.ops.precision import describe_device
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.choosing import best_start, in_words
from vsrkd_plugin.recipe.limits import Time, model_of, seconds_a_frame, size_of, time_of
from vsrkd_plugin.recipe.students import Proposal, candidates
from vsrkd_plugin.registration import register
from vsrkd_plugin.reports.writing import markdown_table
from vsrkd_plugin.run.allocator import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('teacher', nargs='?', default='zoo:vdsr_x234')
    parser.add_argument('--targets', nargs='+', default=['50ms', '100ms', '150ms', '250ms', '400ms'])
    parser.add_argument('--size', default='64x64')
    parser.add_argument('--student', choices=('same', 'compact', 'low_rank'))
    args = parser.parse_args()
    register()
    keep_freed_memory()  # as the command does
    size = size_of(args.size)
    found = inspect_teacher(args.teacher)
    chosen: list[tuple[str, Proposal, int]] = []
    for target in args.targets:
        with unnoticed():
            proposals = candidates(found, args.student, Time(time_of(target), size))
        best = best_start(found, proposals, say=print) if len(proposals) > 1 else proposals[0]
        chosen.append((target, best, len(proposals)))
    models = [model_of(found, proposal.build(), proposal.options) for _, proposal, _ in chosen]
    turns = [[seconds_a_frame(model, size) for model in models] for _ in range(5)]
    rows = [['target', 'chosen', 'of', 'takes', 'off']]
    for (target, proposal, count), seconds in zip(chosen, zip(*turns, strict=True), strict=True):
        took = statistics.median(seconds)
        rows.append(
            [target, in_words(proposal), str(count), f'{took * 1e3:.1f} ms', f'{took / time_of(target) - 1:+.0%}']
        )
    print(f'{args.teacher}, {args.size} at x{max(found.scales)}, {describe_device(choose_device())}')
    print('\n'.join(markdown_table(rows)))


if __name__ == '__main__':
    main()
