"""Of students that cost the same, the one that agrees most with its teacher before the first step."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.fp32_tail import keep_tail_in_fp32
from vsrkd_plugin.adapters.image_sr import freeze
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.deploy.upscaling import choose_device
from vsrkd_plugin.inspection.teacher import Inspection, build
from vsrkd_plugin.models.task import build_task
from vsrkd_plugin.ops.precision import place
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.budget import with_few_pictures
from vsrkd_plugin.recipe.options_file import Recipe
from vsrkd_plugin.recipe.students import Proposal

# Made images, or clips, over all scales: that a start is fitted on here (fewer than in a training, which is enough to
# compare), and that it is judged by.
_IMAGES, _CLIPS = (36, 24), (6, 3)


def best_start(
    found: Inspection,
    proposals: Iterable[Proposal],
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
    go_on: Callable[[], bool] = lambda: True,
) -> Proposal:
    """The proposal whose start agrees most with the teacher, on made images that it was not fitted to.

    Of equal operations, that is also the one that agrees most after a training, or nearly so (docs/compression.md).

    Args:
        found: the teacher.
        proposals: from which; the first one counts if there is no other. All start from the teacher.
        seed: of the images.
        say: is told of each one.
        go_on: whether there is time for one more than the first.
    """
    best, most = None, -math.inf
    for proposal in proposals:
        if best is not None and not go_on():
            break
        with unnoticed():
            agreement = agreement_at_start(found, proposal, seed)
        if not math.isfinite(agreement):
            agreement = -math.inf
        say(f'{in_words(proposal)}: {agreement:.2f} dB of agreement with the teacher before training')
        if best is None or agreement > most:
            best, most = proposal, agreement
    if best is None:
        raise ValueError('no proposals')
    return best


def in_words(proposal: Proposal) -> str:
    """What is proposed, in a few words."""
    options = {'rank': proposal.options.get('rank'), **proposal.options.get('network', proposal.options)}
    told = [f'{key} {options[key]}' for key in ('num_feat', 'num_block', 'num_conv', 'rank') if options.get(key)]
    return ' '.join([f'{proposal.params:,} weights', *([f'({", ".join(told)})'] if told else [])])


def agreement_at_start(found: Inspection, proposal: Proposal, seed: int = 0) -> float:
    """PSNR between the outputs of teacher and student as it starts, in dB: the mean over the scales."""
    device = choose_device()
    opt = with_few_pictures(Recipe('choosing', found, proposal, weights='(a module)', seed=seed).options())
    plan = DistillationPlan.from_options({**opt, 'num_gpu': int(device.type == 'cuda')})
    student = place(comply(proposal.build(), proposal.contract, proposal.options), device)
    teacher = keep_tail_in_fp32(freeze(place(build(found), device)))
    task = build_task(replace(plan, precision='fp32'), student, device, resumes=True, teacher=teacher)
    fitted, judged = (count // len(plan.scales) for count in (_CLIPS if plan.clips else _IMAGES))
    task.start_from_teacher(fitted * len(plan.scales))
    agreements = []
    for scale in plan.scales:
        lr = task.inputs.preview(scale, fitted + judged).lr[fitted:]
        with torch.no_grad():
            output, target = task.networks.outputs(lr, scale)
        error = (output - target).square().mean().clamp_min(1e-12)
        agreements.append(-10 * math.log10(float(error)))
    return sum(agreements) / len(agreements)
