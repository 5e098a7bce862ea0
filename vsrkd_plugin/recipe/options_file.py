"""The options file that a distillation from a file alone is run by: complete, commented, and for the user to change."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vsrkd_plugin.config.loading import parse_yaml
from vsrkd_plugin.inspection.teacher import Inspection
from vsrkd_plugin.recipe.students import Proposal
from vsrkd_plugin.run.zoo import PREFIX

SHARPNESS = 0.5  # weight of the loss that keeps the student of a sharp teacher sharp
# Images of a step, and the side of the LR patches in pixels, where the teacher takes them. Many small steps get farther
# than few large ones: IMDN into Compact, 260 s on one core, agrees in 30.3 dB by 16 of 24 pixels, 36.5 by 8 of 24, 37.0
# by 8 of 16.
_BATCH, _LR_SIDE = 8, 16
_MULTI_SCALE_HR = 48  # of a network that serves several scales: a multiple of each, as the paper has it
_RATES = {True: (2e-3, 3e-4), False: (1e-2, 1e-3)}  # Muon's for a student that starts from its teacher, and at random


@dataclass(frozen=True)
class Recipe:
    """How a student is distilled.

    Attributes:
        name: the experiment's.
        teacher: as it was found.
        student: as it was proposed.
        weights: path of the teacher's checkpoint, as the network of the options loads it.
        inputs: folders of the user's own LR pictures.
        total_iter: length of the training.
        seed: of everything random.
    """

    name: str
    teacher: Inspection
    student: Proposal
    weights: str
    inputs: Sequence[str] = ()
    total_iter: int = 1000
    seed: int = 0

    @property
    def hr_size(self) -> int:
        """Side of the HR patches."""
        if len(self.teacher.scales) > 1:
            return _MULTI_SCALE_HR
        return self._lr_side * self.teacher.scale

    @property
    def _lr_side(self) -> int:
        multiple = self.teacher.size_multiple
        return -(-max(_LR_SIDE, self.teacher.min_size) // multiple) * multiple

    @property
    def warmup(self) -> int:
        """Iterations in which the learning rate rises, of a student that starts at random."""
        if self.student.starts_from_teacher:
            return 0
        return 200 if self.teacher.is_video else 100

    @property
    def reuse(self) -> int:
        """How often an answer of the teacher is used: more, the more it costs beside a step of the student.

        A student's step is a forward pass, and a backward pass of twice its operations.
        """
        ratio = (self.student.fewer_operations or 8.0) / 3
        return int(min(max(round(ratio), 4), 16))

    def options(self) -> dict[str, Any]:
        """The options, as they are read from `text`."""
        return parse_yaml(self.text(), self.name)

    def text(self) -> str:
        """The options file."""
        return _of_video(self) if self.teacher.is_video else _of_images(self)


def _of_images(recipe: Recipe) -> str:
    teacher, student = recipe.teacher, recipe.student
    rate, rate_other = _RATES[student.starts_from_teacher]
    colour = 'y' if teacher.channels == 1 else 'rgb'
    sources = [f'    - {{type: procedural, num_images: {_pictures(recipe)}}}   # dead leaves and 1/f texture']
    if recipe.inputs:
        folders = flow([str(Path(folder).expanduser().resolve()) for folder in recipe.inputs])
        sources.append(f'    - {{type: lr_images, dataroot_lq: {folders}}}   # yours')
    lines = [
        *_head(recipe, 'DataFreeDistillationModel', _BATCH, 'the inputs are synthesised'),
        "  # Photographs of scikit-image's wheel. Any folder of HR images will do, and any number of sets (val_1, …).",
    ]
    for scale in teacher.scales:
        lines += [
            f'  val_x{scale}:',
            f'    name: skimage_x{scale}',
            '    type: BicubicImageDataset',
            '    dataroot_gt: skimage',
            f'    color: {colour}',
            f'    scale: {scale}',
        ]
    lines += [
        *_networks(recipe),
        '',
        '# Where the inputs come from: each batch is shared out among the sources by weight.',
        'synthesis:',
        f'  hr_size: {recipe.hr_size}',
        '  sources:',
        *sources,
        f'  bank: {{reuse: {recipe.reuse}}}    # each answer of the teacher is used so often, turned at random',
    ]
    if teacher.degrade:
        lines += [
            '  # The teacher was made for degraded pictures: so are its inputs, each at random, some left clean.',
            f'  degrade: {flow(teacher.degrade)}',
        ]
    lines += [
        '',
        'train:',
        _start(student),
        '  distill_opt: {type: DistillationLoss, criterion: l1}',
    ]
    if teacher.is_sharpened:
        lines += [
            '  # L1 alone leaves a small student blurrier than a teacher that was trained with a GAN.',
            f'  sharpness_opt: {{type: SharpnessLoss, loss_weight: {SHARPNESS}}}',
        ]
    lines += [
        f'  optim_g: {{type: Muon, lr: {rate:g}, lr_other: {rate_other:g}}}',
        '  scheduler: {type: CosineAnnealingRestartLR, eta_min: 1e-6}   # one cosine over the whole training',
        '  ema_decay: 0.995',
        f'  warmup_iter: {recipe.warmup or -1}',
        f'  total_iter: {recipe.total_iter}',
        *_tail(recipe, "the set's scale"),
    ]
    return '\n'.join(lines) + '\n'


def _of_video(recipe: Recipe) -> str:
    teacher, student = recipe.teacher, recipe.student
    made = teacher.clip_degradation
    side = -(-max(32, teacher.min_size) // teacher.size_multiple) * teacher.size_multiple
    frames = max(7, teacher.window or 0)
    speed = '' if student.starts_from_teacher else ', speed: [0.1, 1.5]'
    rate, rate_other = (4e-3, 3e-4) if student.starts_from_teacher else (1.5e-2, 1e-3)
    heavy = (student.fewer_operations or 8.0) > 16
    bank = f'{{reuse: {64 if heavy else recipe.reuse}, rows: 64, numbers: uint8}}'
    lines = [
        *_head(recipe, 'VideoDataFreeDistillationModel', 4, 'the clips are synthesised'),
        "  # Photographs of scikit-image's wheel, set in motion. Or a folder of clips, each a folder of HR frames.",
        '  val:',
        '    name: moving',
        '    type: DegradedClipDataset',
        '    dataroot_gt: skimage',
        f'    scale: {teacher.scale}',
        f'    degradation: {made}',
        *_networks(recipe),
        '',
        'synthesis:',
        f'  hr_size: {side * teacher.scale}',
        '  # LR is made as the teacher was trained for, by the look of it; the wrong way costs 2 to 5 dB.',
        f'  clips: {{frames: {frames}, degradation: {made}{speed}}}',
        '  sources:',
        f'    - {{type: procedural, num_images: {_pictures(recipe)}}}   # dead leaves and 1/f texture, in motion',
        f'  bank: {bank}',
        '',
        'train:',
        _start(student),
        '  distill_opt: {type: DistillationLoss, criterion: l1}',
        f'  optim_g: {{type: Muon, lr: {rate:g}, lr_other: {rate_other:g}}}',
        '  scheduler: {type: CosineAnnealingRestartLR, eta_min: 1e-6}',
        '  ema_decay: 0.998',
        f'  warmup_iter: {recipe.warmup or -1}',
        f'  total_iter: {recipe.total_iter}',
        *_tail(recipe, '8'),
    ]
    return '\n'.join(lines) + '\n'


def _head(recipe: Recipe, model: str, batch: int, what: str) -> list[str]:
    teacher, student = recipe.teacher, recipe.student
    fewer = '' if student.fewer_operations is None else f', {student.fewer_operations:.1f} times fewer operations'
    said = (
        f'The student of {Path(teacher.path).name} ({teacher.options["type"]}, {teacher.params:,} weights): '
        f'{student.type} of {student.params:,} weights{fewer}, {student.why}.'
    )
    return [
        *(f'# {line}' for line in textwrap.wrap(said, 115)),
        '#',
        '#   basicsr train -opt THIS_FILE      # go on after an interruption: add --auto_resume',
        '#',
        '# All options: docs/options.md of vsrkd_plugin.',
        f'name: {flow(recipe.name)}',
        f'model_type: {model}',
        f'scales: {list(teacher.scales)}',
        'num_gpu: auto         # the GPU if there is one; several with torchrun; 0 for the CPU',
        f'manual_seed: {recipe.seed}',
        'precision: auto       # bf16 where the machine computes faster in it',
        '',
        'datasets:',
        '  train:',
        '    name: latent',
        f'    type: LatentDataset          # nothing is read: {what}',
        f'    batch_size_per_gpu: {batch}',
    ]


def _networks(recipe: Recipe) -> list[str]:
    teacher = recipe.teacher
    contracts = {'contract_t': teacher.contract, 'contract_g': recipe.student.contract}
    return [
        '',
        f'network_t: {flow(dict(teacher.options))}   # the teacher',
        f'network_g: {flow(dict(recipe.student.options))}   # the student',
        *(f'{key}: {flow(dict(said))}   # found out by trying' for key, said in contracts.items() if said),
        '',
        'path:',
        f'  pretrain_network_t: {flow(recipe.weights)}',
        '  resume_state: ~',
    ]


def _start(student: Proposal) -> str:
    if student.starts_from_teacher:
        return "  init: teacher       # the student starts from the teacher's channels, refitted by least squares"
    return "  init: random        # no layer of the student stands for one of the teacher's"


def _tail(recipe: Recipe, border: str) -> list[str]:
    every = max(recipe.total_iter // 4, 1)
    return [
        '',
        'val:',
        f'  val_freq: {every}',
        '  save_img: false',
        '  metrics:',
        f'    psnr: {{type: calculate_psnr, test_y_channel: true}}   # crop_border: {border}, unless given',
        '    ssim: {type: calculate_ssim, test_y_channel: true}',
        '',
        'logger:',
        f'  print_freq: {min(max(recipe.total_iter // 40, 10), 200)}',
        f'  save_checkpoint_freq: {min(max(recipe.total_iter // 8, 50), 500)}',
        '  keep_checkpoints: 3',
        '  use_tb_logger: true',
    ]


def _pictures(recipe: Recipe) -> int:
    """Pictures to paint: no more than a short training can look at."""
    return int(min(max(recipe.total_iter // 2, 200), 2000))


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, width=2**31, allow_unicode=True)
    return text.strip().removesuffix('...').strip()


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def is_in_package(path: str) -> bool:
    """Whether a path names weights of the package (`zoo:NAME`)."""
    return path.startswith(PREFIX)
