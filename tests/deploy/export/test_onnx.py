"""ONNX files of any batch and size are what their networks are, and tell what they hold."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploy.export.tiny_models import COMPACT, RLSP, VDSR, Picky, model, pictures

from vsrkd_plugin.deploy.export import onnx as target
from vsrkd_plugin.deploy.export.exportable import Exportable, of_image_model, of_recurrent_model
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.quantise import layers_of, quantise_onnx

onnx = pytest.importorskip('onnx', reason='needs the extra onnx')
pytest.importorskip('onnxruntime', reason='needs the extra onnx')
pytest.importorskip('onnxscript', reason='needs the extra onnx')
SIZES = ((1, 8, 8), (3, 13, 21), (2, 31, 6))  # none of them that of the trace


def run(graph: Any, *inputs: torch.Tensor) -> list[np.ndarray]:
    return target.run_session(target.session(graph.SerializeToString()), [value.numpy() for value in inputs])


def difference(tiny: Model, graph: Any, scale: int, channels: int) -> float:
    worst = 0.0
    for batch, height, width in SIZES:
        x = pictures(batch, channels, height, width)
        worst = max(worst, float(np.abs(run(graph, x)[0] - tiny.adapter(x, scale).numpy()).max()))
    return worst


@pytest.fixture(scope='module')
def compact() -> Model:
    tiny = model(COMPACT)
    # PReLU of slopes below and above 1: two ways to write it.
    tiny.network.body[3].weight.data[0] = 1.5
    assert (tiny.network.body[1].weight <= 1).all()
    return tiny


@pytest.fixture(scope='module')
def compact_graph(compact: Model) -> Any:
    return target.to_onnx(of_image_model(compact, 2))


def test_any_size_and_batch(compact: Model, compact_graph: Any) -> None:
    assert difference(compact, compact_graph, 2, 3) <= 1e-6
    assert [dim.dim_param or dim.dim_value for dim in compact_graph.graph.input[0].type.tensor_type.shape.dim] == [
        'n', 3, 'h', 'w',
    ]  # fmt: skip
    assert [dim.dim_param for dim in compact_graph.graph.output[0].type.tensor_type.shape.dim][2:] == ['2*h', '2*w']
    assert 'PRelu' not in {node.op_type for node in compact_graph.graph.node}


@pytest.mark.parametrize('rgb', [False, True])
def test_bicubic_of_odd_sizes_and_rgb_of_a_network_of_y(rgb: bool) -> None:
    tiny = model(VDSR, (2, 3))
    assert difference(tiny, target.to_onnx(of_image_model(tiny, 3, rgb)), 3, 3 if rgb else 1) <= 1e-6


def test_range_and_padding_of_a_picky_network() -> None:
    tiny = model({'type': 'Picky'}, network=Picky())
    graph = target.to_onnx(of_image_model(tiny, 2))
    assert difference(tiny, graph, 2, 3) <= 2e-6
    # What would be lost without the padding is large.
    x = pictures(1, 3, 13, 21)
    assert (
        np.abs(run(graph, x)[0] - run(graph, torch.nn.functional.pad(x, (0, 3, 0, 3)))[0][..., :26, :42]).max() > 1e-3
    )


def test_a_recurrent_step_has_its_state_as_input_and_output() -> None:
    tiny = model(RLSP)
    exportable = of_recurrent_model(tiny)
    graph = target.to_onnx(exportable)
    assert [entry.name for entry in graph.graph.input] == ['frames', 'state0', 'state1']
    assert [entry.name for entry in graph.graph.output] == ['output', 'next_state0', 'next_state1']
    clip, opened = pictures(2, 5, 3, 9, 14), target.session(graph.SerializeToString())
    state = [np.zeros((2, channels, 9, 14), np.float32) for (channels,) in list(exportable.inputs.values())[1:]]
    results = []
    for time in range(5):
        window = clip[:, [max(time - 1, 0), time, min(time + 1, 4)]].numpy()
        output, *state = target.run_session(opened, [window, *state])
        results.append(output)
    expected = tiny.adapter(clip)
    assert np.abs(np.stack(results, 1) - expected.numpy()).max() <= 2e-6


def test_an_eager_call_after_an_export_works_and_gives_the_same() -> None:
    tiny, x = model(VDSR, (2, 3)), pictures(1, 1, 26, 29)  # the size of the trace too
    before = tiny.adapter(x, 2)
    target.to_onnx(of_image_model(tiny, 2))
    assert torch.equal(tiny.adapter(x, 2), before)
    assert tiny.adapter(pictures(1, 3, 17, 9), 3).shape == (1, 3, 51, 27)


def test_the_file_tells_what_it_holds_and_no_place_of_this_machine(compact: Model, tmp_path: Path) -> None:
    draft = target.write(of_image_model(compact, 2), tmp_path / 'a.onnx', 'fp32', tmp_path)
    draft.publish()
    content = (tmp_path / 'a.onnx').read_bytes()
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / 'a.onnx').metadata_props}
    assert (told['network'], told['scale'], told['channels'], told['value_range']) == (
        'SRVGGNetCompact', '2', '3', '[0.0, 1.0]',
    )  # fmt: skip
    assert json.loads(told['vsrkd'])['network'] == COMPACT
    assert b'site-packages' not in content and str(Path(__file__).parents[3]).encode() not in content


def test_half_precision_keeps_the_picture_path_in_float(compact: Model, tmp_path: Path) -> None:
    def written() -> Any:
        draft = target.write(of_image_model(compact, 2), tmp_path / 'a.onnx', 'fp16', tmp_path)
        return onnx.load(next(iter(draft.files)))

    graph = written()
    kinds = {entry.name: entry.data_type for entry in graph.graph.initializer if '.' in entry.name}
    half = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16}
    assert {'adapter.network.body.2.weight', 'adapter.network.body.4.weight', 'adapter.network.body.2.bias'} <= half
    assert 'adapter.network.body.6.weight' not in half  # the last layer is added to the picture
    assert [entry.type.tensor_type.elem_type for entry in (*graph.graph.input, *graph.graph.output)] == [1, 1]
    assert 1e-7 < difference(compact, graph, 2, 3) < 5e-3
    last = compact.network.body[6]
    before = last.weight.clone(), last.bias.clone()
    last.weight.zero_(), last.bias.zero_()  # nothing is left but the enlarged picture
    assert difference(compact, written(), 2, 3) <= 1e-7
    last.weight.copy_(before[0]), last.bias.copy_(before[1])


@pytest.fixture(scope='module')
def quantised(compact: Model, compact_graph: Any) -> Any:
    return quantise_onnx(onnx.ModelProto.FromString(compact_graph.SerializeToString()), of_image_model(compact, 2))


def test_eight_bits_are_for_the_layers_between_first_and_last(
    compact: Model, compact_graph: Any, quantised: Any
) -> None:
    layers = layers_of(compact_graph)
    assert len(layers.inner) == 2  # of four convolutions
    weights = {entry.name: entry for entry in quantised.graph.initializer}
    kinds = {}
    for node in quantised.graph.node:
        if node.op_type == 'Conv':
            source = next((other for other in quantised.graph.node if node.input[1] in other.output), None)
            kinds[node.name] = source.op_type if source else 'float'
            if source:
                assert len(onnx.numpy_helper.to_array(weights[source.input[1]])) == 8  # a scale for each channel
    assert {name for name, kind in kinds.items() if kind == 'DequantizeLinear'} == set(layers.inner)
    assert sum(kind == 'float' for kind in kinds.values()) == 2
    error = difference(compact, quantised, 2, 3)
    assert 1e-4 < error < 0.1


def test_relu_goes_into_the_convolution_before_it() -> None:
    graph = target.to_onnx(of_image_model(model(VDSR, (2, 3)), 2))
    layers = layers_of(graph)
    kinds = {node.name: node.op_type for node in graph.graph.node}
    assert [kinds[name] for name in layers.activations] == ['Relu', 'Relu'] and len(layers.inner) == 2
    assert sum(kinds[name] == 'Conv' for name in layers.ends) == 3  # bicubic, the first, the last


def test_a_file_runs_without_torch(compact: Model, tmp_path: Path) -> None:
    draft = target.write(of_image_model(compact, 2), tmp_path / 'a.onnx', 'fp32', tmp_path)
    draft.publish()
    program = (
        'import sys, numpy, onnxruntime\n'
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "x = numpy.random.default_rng(0).random((2, 3, 15, 22), 'float32')\n"
        "numpy.save(sys.argv[2], session.run(None, {'input': x})[0])\n"
        "assert not {'torch', 'basicsr', 'vsrkd_plugin'} & set(sys.modules)\n"
    )
    command = [sys.executable, '-c', program, str(tmp_path / 'a.onnx'), str(tmp_path / 'out.npy')]
    subprocess.run(command, check=True, timeout=100, cwd=tmp_path)
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 15, 22), 'float32'))
    assert np.abs(np.load(tmp_path / 'out.npy') - compact.adapter(x, 2).numpy()).max() <= 1e-6


def test_a_network_that_takes_one_picture_at_a_time_is_exported_so() -> None:
    class OneByOne(torch.nn.Module):
        num_in_ch = 3

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 12, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert int(x.shape[0] / 1.0) >= 1  # a batch as a number, as windows of SwinIR count it
            return torch.nn.functional.pixel_shuffle(self.conv(x), 2)

    exportable: Exportable = of_image_model(model({'type': 'OneByOne'}, network=OneByOne()), 2)
    graph = target.to_onnx(exportable)
    shape = [dim.dim_param or dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim]
    assert shape in ([1, 3, 'h', 'w'], ['n', 3, 'h', 'w'])
    x = pictures(1, 3, 9, 30)
    assert np.abs(run(graph, x)[0] - exportable.module(x).numpy()).max() <= 1e-6
