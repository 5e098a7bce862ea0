"""The start from the teacher for RLSP: channels of layers and state chosen together, then refitted, state included."""

import torch
from torch import Tensor
from torch.nn import functional as F

from vsrkd_plugin.adapters.contract import RecurrentChain
from vsrkd_plugin.distillation.init_from_teacher.importance import energy, most_important, reading_strength
from vsrkd_plugin.distillation.init_from_teacher.least_squares import convolve, refit, spread
from vsrkd_plugin.distillation.init_from_teacher.telling import layers_told
from vsrkd_plugin.ops.low_rank import Layer

_ENDS = 3  # layers that are no blocks: the first, and the last two


@torch.no_grad()
def inherit_recurrent(
    teacher: RecurrentChain,
    student: RecurrentChain,
    clip: Tensor,
    active: int | None = None,
    passes: int = 2,
    ridge: float = 1e-4,
) -> list[Tensor]:
    """Start a recurrent student from the channels of its teacher.

    In each layer the channels that matter most are kept. Then, walking forward, each of the student's layers is
    refitted from its own activations to the teacher's pre-activations of the kept channels, over all frames at once.
    The state and the last result that it reads are the teacher's in the first pass, and in the next ones its own, as it
    made them with the weights of the pass before: so it learns to go on from its own errors.

    Args:
        teacher, student: of the same `upscale`, both `normalised` or neither.
        clip: LR clips, `(b, t, 3, h, w)` in [0, 1]; about a hundred frames in all.
        active: the student's blocks (layers but for the first and the last two) to fit, spread evenly over the
            teacher's; the others must be identities. Default all.
        passes: 1 leaves the state the teacher's.
        ridge: as in `refit`.

    Returns:
        The kept channels of each fitted layer but the last.

    Raises:
        ValueError: the student is wider, deeper, of another scale, or reads other inputs.
    """
    theirs, ours = teacher.layers(), student.layers()
    blocks = len(theirs) - _ENDS
    active = len(ours) - _ENDS if active is None else active
    if active > blocks or teacher.upscale != student.upscale:
        raise ValueError(
            f'a student of {active} blocks and x{student.upscale} cannot start from a teacher of {blocks} blocks and '
            f'x{teacher.upscale}'
        )
    if student.num_feat > teacher.num_feat:
        raise ValueError(f'a student of {student.num_feat} channels cannot start from a teacher of {teacher.num_feat}')
    if student.normalised != teacher.normalised:
        raise ValueError('teacher and student must both be normalised, or neither: they read other inputs')
    frames, luma = teacher.inputs(clip)
    states, results = _unroll(teacher, theirs, frames, luma)
    outputs = _walk(theirs, _read(teacher, frames, luma, states, results))
    kept = [
        most_important(importance, student.num_feat) for importance in _importance(theirs, outputs, frames.shape[2])
    ]
    sources = [
        0,
        *(1 + block for block in (spread(active, blocks) if active else ())),
        len(theirs) - 2,
        len(theirs) - 1,
    ]
    outputs, kept = [outputs[index] for index in sources], [kept[index] for index in sources[:-1]]
    ours = [*ours[: 1 + active], *ours[-2:]]
    states = states[:, :, kept[-1]]
    with layers_told(passes * len(ours)) as told:
        for number in range(passes):
            if number:
                states, results = _unroll(student, ours, frames, luma)
            x = _read(student, frames, luma, states, results)
            for index, layer in enumerate(ours[:-1]):
                target = outputs[index][:, kept[index]]
                if index == len(ours) - 2:  # both ends read x
                    refit(ours[-1], x, outputs[-1], ridge)
                    told.update()
                    refit(layer, x, target, ridge)
                else:
                    refit(layer, x, target, ridge)
                    x = F.relu(convolve(layer, x))
                told.update()
    return kept


def _unroll(network: RecurrentChain, layers: list[Layer], frames: Tensor, luma: Tensor) -> tuple[Tensor, Tensor]:
    """What a network reads at each frame of a clip: states `(b, t, n, h, w)` and results `(b, t, s², h, w)`."""
    state, result = network.start(luma[:, 0])
    states, results = [], []
    for i in range(frames.shape[1]):
        states.append(state)
        results.append(result)
        *_, to_state, added = _walk(layers, network.read(frames[:, i], luma[:, i], state, result))
        state, result = F.relu(to_state), network.add(luma[:, i], added)
    return torch.stack(states, 1), torch.stack(results, 1)


def _read(network: RecurrentChain, frames: Tensor, luma: Tensor, states: Tensor, results: Tensor) -> Tensor:
    return network.read(*(x.flatten(0, 1) for x in (frames, luma, states, results)))


def _walk(layers: list[Layer], x: Tensor) -> list[Tensor]:
    """Pre-activations of all layers; the last two read the same."""
    outputs = []
    for layer in layers[:-2]:
        outputs.append(convolve(layer, x))
        x = F.relu(outputs[-1])
    return [*outputs, *(convolve(layer, x) for layer in layers[-2:])]


def _importance(layers: list[Layer], outputs: list[Tensor], num_frame_channels: int) -> list[Tensor]:
    """(Mean squared activation) x (squared norm of the weights that read it), of each layer but the last."""
    norms = [reading_strength(layer) for layer in layers]
    read = [
        *norms[1:-2],
        norms[-2] + norms[-1],
        norms[0][num_frame_channels : num_frame_channels + len(layers[0].weight)],
    ]
    activity = [energy(F.relu(output)) for output in outputs[:-1]]
    return [a * n for a, n in zip(activity, read, strict=True)]
