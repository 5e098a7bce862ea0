"""A recurrent network as one step equals the network on whole clips."""

import pytest
import torch
from torch import Tensor, nn

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.archs.progressive_student_arch import ProgressiveStudent
from vsrkd_plugin.archs.rlsp_arch import RLSP
from vsrkd_plugin.archs.tdan_arch import TDAN
from vsrkd_plugin.deploy.recurrent_step import RecurrentStep, can_step, run_steps


def lively(network: nn.Module) -> nn.Module:
    """With weights large enough that state and result matter."""
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval().requires_grad_(False)


def moving_clip(frames: int = 6, height: int = 9, width: int = 13) -> Tensor:
    return torch.rand(2, frames, 3, height, width, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize('normalised', [False, True])
@pytest.mark.parametrize('centred', [False, True])
def test_steps_give_what_the_network_gives_of_a_clip(normalised: bool, centred: bool) -> None:
    network = lively(RLSP(num_feat=8, num_layer=4, upscale=3, normalised=normalised, centred=centred)).double()
    clip = moving_clip().double()
    whole, steps = network(clip), run_steps(RecurrentStep(network), clip)
    assert (whole - steps).abs().max() <= 1e-6
    alone = torch.stack([network(clip[:, [index]])[:, 0] for index in range(clip.shape[1])], 1)
    assert (whole - alone).abs().max() > 1e-3, 'the state and the neighbours are of no account: nothing is tested'


def test_in_single_precision_of_the_shipped_weights() -> None:
    from vsrkd_plugin.inspection.opening import open_model

    network = open_model('zoo:rlsp_x4').network
    clip = torch.nn.functional.interpolate(moving_clip(8, 6, 8).flatten(0, 1), scale_factor=4, mode='bicubic')
    clip = clip.clamp(0, 1).view(2, 8, 3, 24, 32)
    with torch.no_grad():
        assert (network(clip) - run_steps(RecurrentStep(network), clip)).abs().max() <= 1e-6


def test_a_clip_of_one_frame_and_one_whose_size_is_odd() -> None:
    network = lively(RLSP(num_feat=4, num_layer=3, upscale=2, normalised=True))
    clip = moving_clip(1, 5, 7)
    assert torch.allclose(network(clip), run_steps(RecurrentStep(network), clip), atol=1e-6)


def test_a_grown_student_steps_as_well() -> None:
    student = ProgressiveStudent(network={'type': 'RLSP', 'num_feat': 4, 'num_layer': 5, 'upscale': 2})
    network, clip = lively(student), moving_clip(3)
    assert can_step(network)
    assert torch.allclose(network(clip), run_steps(RecurrentStep(network), clip), atol=1e-6)


def test_a_window_has_no_step() -> None:
    network = TDAN(num_feat=8, num_extract_block=1, num_block=1, upscale=2)
    assert not can_step(network)
    with pytest.raises(ValueError, match='TDAN cannot be called for one frame at a time'):
        RecurrentStep(network)


def test_a_network_of_another_range_is_not_stepped() -> None:
    network = RLSP(num_feat=4, num_layer=3, upscale=2)
    comply(network, {'value_range': (0, 255)})
    assert not can_step(network)


def test_the_state_is_input_and_output_of_an_export(tmp_path) -> None:
    pytest.importorskip('onnxscript', reason='needs the extra onnx')
    onnxruntime = pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    network = lively(RLSP(num_feat=4, num_layer=3, upscale=2, normalised=True))
    step, clip = RecurrentStep(network).eval(), moving_clip(4)[:1]
    given = clip[:, [0, 0, 1]], *(torch.rand_like(state) for state in step.initial_state(clip[:, 0]))
    h, w = (torch.export.Dim(name, min=4, max=4096) for name in ('height', 'width'))
    shapes = ({3: h, 4: w}, ({2: h, 3: w}, {2: h, 3: w}))
    path = tmp_path / 'step.onnx'
    torch.onnx.export(step, given, str(path), dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    other = torch.rand(1, 3, 3, 11, 17), torch.rand(1, 4, 11, 17), torch.rand(1, 4, 11, 17)
    names = [entry.name for entry in session.get_inputs()]
    outputs = session.run(None, {name: value.numpy() for name, value in zip(names, other, strict=True)})
    for output, expected in zip(outputs, step(*other), strict=True):
        assert (torch.from_numpy(output) - expected).abs().max() <= 1e-6 * max(1, expected.abs().max())
