"""What makes a distillation step fast: bf16, channels_last, teacher outputs used again. Prints ratios of one run.

Run: `python benchmarks/training_step.py [--batch 16] [--repeats 10]`. Takes about a minute on two cores.
"""

import argparse
import statistics
import time
from functools import partial

import torch

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter, freeze
from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.distillation.steps import TeacherStudent, student_step
from vsrkd_plugin.losses.distillation_loss import DistillationLoss
from vsrkd_plugin.ops.precision import autocast, resolve_precision
from vsrkd_plugin.run.allocator import keep_freed_memory


def seconds_per_step(
    dtype: torch.dtype, layout: torch.memory_format, batch: int, repeats: int, reuse: int = 1
) -> float:
    """Time of one student step, VDSR 64 → 32 channels at 48x48, the teacher asked in every `reuse`-th.

    Median over `repeats` rounds of `reuse` steps, after two to warm up.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    teacher, student = (VDSR(num_feat=n, start='identity').to(device=device).to(memory_format=layout) for n in (64, 32))
    pair = TeacherStudent(
        ImageSRAdapter(freeze(teacher), 1), ImageSRAdapter(student, 1), partial(autocast, device, dtype)
    )
    parameters = list(student.parameters())
    optimizer = torch.optim.Adam(parameters, 1e-4)
    lr = torch.rand(batch, 1, 24, 24, device=device)
    times = []
    for _ in range(repeats + 2):
        if device.type == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        target = pair.teacher_target(lr, 2) if reuse > 1 else None
        for _ in range(reuse):
            student_step(pair, lr, 2, DistillationLoss(), optimizer, parameters, target=target)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / reuse)
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--repeats', type=int, default=10)
    arguments = parser.parse_args()
    chosen = resolve_precision('auto', 'cuda' if torch.cuda.is_available() else 'cpu')
    cases = [
        ('fp32, contiguous', torch.float32, torch.contiguous_format),
        ('fp32, channels_last', torch.float32, torch.channels_last),
    ]
    if chosen == torch.bfloat16:
        cases += [
            ('bf16, contiguous', chosen, torch.contiguous_format),
            ('bf16, channels_last', chosen, torch.channels_last),
        ]
    first = None
    keep_freed_memory()  # as the command does
    for reuse in (1, 4, 16):
        for name, dtype, layout in cases if reuse == 1 else cases[-1:]:
            seconds = seconds_per_step(dtype, layout, arguments.batch, max(arguments.repeats // reuse, 3), reuse)
            first = first or seconds
            again = f', each output {reuse} times' if reuse > 1 else ''
            print(f'{name + again:<42} {seconds * 1000:7.0f} ms   {first / seconds:5.2f}x')


if __name__ == '__main__':
    main()
