"""What a bank of clips saves with a heavy video teacher: seconds for a student's step, and the teacher's share of it.

Run: `python benchmarks/heavy_video_teacher.py [options/dfkd_vsr_edvr.yml] [--force_yml network_t:num_feat=128 …]`.
Networks, clips, batch and bank are those of the options file, the teacher with random weights: time does not depend on
them. The teacher is timed on a batch of clips, the student on batches of the bank; asked once in `reuse` steps, the
teacher adds that part of its time to each. What that costs in dB is in docs/results.md (rows of the video ablation).
"""

import argparse
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from measuring import now

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.ops.precision import describe_device
from vsrkd_plugin.registration import register_all
from vsrkd_plugin.run.allocator import keep_freed_memory

NEVER = 1 << 30  # uses of a clip: once the bank is full the teacher is not asked again


def build(options: dict[str, Any], folder: Path) -> Any:
    """The model of a training whose teacher has random weights, with the smallest bank."""
    from basicsr.archs import build_network
    from basicsr.models import build_model

    torch.manual_seed(0)
    torch.save({'params': build_network(dict(options['network_t'])).state_dict()}, folder / 'teacher.pth')
    options['path']['pretrain_network_t'] = str(folder / 'teacher.pth')
    options['datasets'] = {'train': options['datasets']['train']}
    options['synthesis']['bank'] |= {'reuse': NEVER, 'rows': 2 * options['datasets']['train']['batch_size_per_gpu']}
    validate(options, True)
    complete(options, str(folder), True)
    return build_model(options)


def measure(model: Any, steps: int) -> tuple[float, float]:
    """Seconds in which the teacher answers a batch of the clips that a bank keeps, and the student learns from one."""
    asking: list[float] = []
    bank = model.task.inputs
    label = bank.teacher_target

    def timed(lr: torch.Tensor, scale: int) -> torch.Tensor:
        started = now(model.device)
        result = label(lr, scale)
        asking.append(now(model.device) - started)
        return result

    bank.teacher_target = timed
    learning = []
    for iteration in range(1, steps + 5):  # the first two fill the bank, the next two warm up
        asked, started = len(asking), now(model.device)
        model.optimize_parameters(iteration)
        if iteration > 4:
            assert len(asking) == asked
            learning.append(now(model.device) - started)
    return min(asking), statistics.median(learning)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('options', nargs='?', default='options/dfkd_vsr_edvr.yml')
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='change options: network_t:num_feat=128')
    parser.add_argument('--reuse', type=int, nargs='+', default=[1, 16, 256, 2000, 8000])
    parser.add_argument('--steps', type=int, default=10)
    args = parser.parse_args()
    keep_freed_memory()
    register_all(None)
    options = load_options(args.options, args.force_yml)
    rows, numbers = (
        options['synthesis']['bank'].get(key, usual) for key, usual in (('rows', 1024), ('numbers', 'fp16'))
    )
    with tempfile.TemporaryDirectory() as folder:
        model = build(options, Path(folder))
        asking, learning = measure(model, args.steps)
        task, bank = model.task, model.task.inputs
        networks = (task.networks.teacher, task.networks.student)
        teacher, student = (sum(p.numel() for p in network.parameters()) for network in networks)
        print(
            f'{options["network_t"]["type"]}, {teacher:,} weights, to {options["network_g"]["type"]}, {student:,}; '
            f'{describe_device(model.device)}, {model.precision}\n'
            f'clips kept: {bank.kind}; given: {bank.wanted}, {task.batch} in a step\n'
            f'the teacher answers {task.batch} in {asking:.2f} s; a step of the student takes {learning:.3f} s; '
            f'{rows} clips and answers take {rows * bank.kind.bytes(task.scales[0], numbers) / 1e6:.0f} MB'
        )
    for reuse in args.reuse:
        whole = learning + asking / reuse
        print(
            f'reuse {reuse:>5}   {whole:7.3f} s a step   {(learning + asking) / whole:6.1f}x   '
            f'teacher {100 * (1 - learning / whole):4.1f} %'
        )
    if model.device.type == 'cpu':
        print(f'peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB')


if __name__ == '__main__':
    main()
