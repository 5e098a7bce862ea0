"""A student of any module that super-resolves, from Python: no options file, no data set, nothing registered.

Run: `python examples/distil_any_module.py [MINUTES]`. The teacher stands for yours: a small residual network, here at
random, which is enough to show how a student comes to agree with it.
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsrkd_plugin import distill


class MyTeacher(nn.Module):
    """Three blocks on a trunk, x2, RGB in [0, 1]."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        trunk = self.first(x)
        for block in self.blocks:
            trunk = trunk + F.relu(block(trunk))
        return F.interpolate(x, scale_factor=2, mode='bilinear') + 0.1 * F.pixel_shuffle(self.last(trunk), 2)


def agreement(teacher: nn.Module, student: nn.Module) -> float:
    """PSNR of the student's output against the teacher's, in dB, on smooth noise."""
    lr = F.interpolate(torch.rand(8, 3, 12, 12), scale_factor=4, mode='bicubic').clamp(0, 1)
    with torch.no_grad():
        return -10 * float(torch.log10((teacher(lr) - student(lr)).square().mean()))


def main(minutes: float) -> float:
    """Distil; gives the agreement of teacher and student."""
    torch.manual_seed(0)
    teacher = MyTeacher().eval()
    student = distill(teacher, scale=2, minutes=minutes, speedup=4)
    torch.save({'params': student.state_dict()}, 'student.pth')
    return agreement(teacher, student)


if __name__ == '__main__':
    print(f'agreement with the teacher: {main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0):.1f} dB')
