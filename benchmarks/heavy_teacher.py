"""What a replay bank saves with a heavy teacher: seconds for a step of the student, and the teacher's share of it.

Run: `python benchmarks/heavy_teacher.py [--num_feat 256] [--num_block 32] [--reuse 1 4 16]`. The teacher is EDSR x2 as
its paper has it, the student one of 64 channels and 16 blocks, both with random weights: time does not depend on them.
What `reuse` costs in dB is in docs/results.md (rows of the ablation that have a bank).
"""

import argparse
import resource
from functools import partial

import torch
from measuring import now

from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.distillation.steps import TeacherStudent, student_step
from vsrkd_plugin.losses.distillation_loss import DistillationLoss
from vsrkd_plugin.ops.precision import autocast, describe_device, resolve_precision
from vsrkd_plugin.optim.muon import Muon
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.allocator import keep_freed_memory
from vsrkd_plugin.synthesis.bank.memory import ReplayBank
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

SCALE, LR_SIZE = 2, 24


def measure(pair: TeacherStudent, reuse: int, batch: int, steps: int) -> tuple[float, float]:
    """Seconds for a step, teacher included, and for the teacher in it; means over `steps` once the bank is full."""
    device = next(pair.student.parameters()).device
    source = ProceduralSource(channels=3, lr_sizes={SCALE: LR_SIZE}, seed=0, num_images=64, device=device)
    asking = [0.0]

    def label(lr: torch.Tensor, scale: int) -> torch.Tensor:
        started = now(device)
        result = pair.teacher_target(lr, scale)
        asking[0] += now(device) - started
        return result

    # Two batches are the least that a bank holds: it is full at once, and asks once in `reuse` draws from then on.
    bank = ReplayBank(
        source, label, SampleSpec(3, {SCALE: LR_SIZE}), reuse=reuse, rows=2 * batch, seed=0, device=device
    )
    parameters = list(pair.student.parameters())
    optimizer = Muon(parameters)

    def step() -> None:
        inputs = bank.next(batch, SCALE)
        student_step(pair, inputs.lr, SCALE, DistillationLoss(), optimizer, parameters, target=inputs.target)

    for _ in range(2 * reuse):
        step()
    asking[0], started = 0.0, now(device)
    for _ in range(steps):
        step()
    return (now(device) - started) / steps, asking[0] / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--num_feat', type=int, default=256)
    parser.add_argument('--num_block', type=int, default=32)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--reuse', type=int, nargs='+', default=[1, 4, 16])
    args = parser.parse_args()
    keep_freed_memory()
    register()
    from basicsr.archs.edsr_arch import EDSR  # after the plugin, which makes it importable

    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    dtype = resolve_precision('auto', device)
    sizes = [(args.num_feat, args.num_block), (64, 16)]
    teacher, student = (
        keep_tail_in_fp32(EDSR(3, 3, num_feat, num_block, SCALE, res_scale=0.1).to(device))
        for num_feat, num_block in sizes
    )
    pair = TeacherStudent(
        ImageSRAdapter(freeze(teacher), 3), ImageSRAdapter(student, 3), partial(autocast, device, dtype)
    )
    print(
        f'EDSR {args.num_feat} x {args.num_block} to 64 x 16, x{SCALE}, {args.batch} patches of {LR_SIZE}x{LR_SIZE}, '
        f'{describe_device(device)}, {str(dtype).removeprefix("torch.")}'
    )
    first = None
    for reuse in args.reuse:
        seconds, asking = measure(pair, reuse, args.batch, 16 if reuse <= 16 else reuse)
        first = first or seconds
        print(
            f'reuse {reuse:>3}   {seconds:6.2f} s a step   {first / seconds:5.2f}x   '
            f'teacher {100 * asking / seconds:4.1f} %',
            flush=True,
        )
    if device.type == 'cpu':
        print(f'peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB')


if __name__ == '__main__':
    main()
