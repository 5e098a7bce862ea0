"""8 bits after the training, without data: the libraries' own quantisers, calibrated on made pictures.

The first and the last layers stay in float, and so does what lies before and behind them (bicubic, padding, the sum
with the bicubic image): there each level of an image counts. Weights have a scale for each channel.
"""

import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.deploy.export.libraries import required
from vsrkd_plugin.errors import UserError

PICTURES, SIDE = 64, 32  # of the calibration; side in LR pixels
# The range of an activation leaves out this share of its values: what few made pictures reach at most is chance, and
# a range that holds all of it has coarser steps.
PERCENTILE = 99.99
_CONVOLUTIONS = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
_ACTIVATIONS = ('Relu', 'LeakyRelu')


@dataclass(frozen=True)
class Layer:
    """An inner convolution: the module that it is of, and whether an activation alone reads it."""

    module: str
    is_activated: bool


@dataclass(frozen=True)
class Layers:
    """Nodes of an ONNX graph by what may become of them; names.

    Attributes:
        inner: convolutions between the first and the last ones.
        activations: those that read an inner convolution, and alone.
        modules: those of the inner convolutions.
        ends: all that is not behind a first layer or leads to no layer: before the first and behind the last ones,
            which are among them.
    """

    inner: tuple[str, ...]
    activations: tuple[str, ...]
    modules: tuple[Layer, ...]
    ends: tuple[str, ...]


def layers_of(model: Any) -> Layers:
    """Sort the nodes of a graph that `deploy.export.onnx.to_onnx` made, in which parameters keep their names."""
    nodes = list(model.graph.node)
    weights = {
        entry.name for entry in model.graph.initializer if '.' in entry.name
    }  # of modules; constants have no dot
    layers = [
        node for node in nodes if node.op_type in _CONVOLUTIONS and len(node.input) > 1 and node.input[1] in weights
    ]
    names = {node.name for node in layers}
    behind = _reached(nodes, names, forwards=True)  # nodes with a layer before them
    leading = _reached(nodes, names, forwards=False)  # nodes with a layer behind them
    inner = [node for node in layers if node.name in behind and node.name in leading]
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    activations, modules = [], []
    for node in inner:
        behind_it = readers[node.output[0]]
        is_activated = len(behind_it) == 1 and behind_it[0].op_type in _ACTIVATIONS
        if is_activated:
            activations.append(behind_it[0].name)
        modules.append(Layer(node.input[1].rpartition('.')[0], is_activated))
    ends = [node.name for node in nodes if node.name not in behind or node.name not in leading]
    return Layers(tuple(node.name for node in inner), tuple(activations), tuple(modules), tuple(ends))


def _reached(nodes: Sequence[Any], layers: set[str], forwards: bool) -> set[str]:
    """Names of the nodes that lie behind (or before) a layer, it itself not counted."""
    tensors: set[str] = set()
    found = set()
    for node in nodes if forwards else reversed(nodes):
        entering, leaving = (node.input, node.output) if forwards else (node.output, node.input)
        is_reached = any(name in tensors for name in entering)
        if is_reached:
            found.add(node.name)
        if is_reached or node.name in layers:
            tensors.update(leaving)
    return found


def quantise_onnx(model: Any, exportable: Exportable, outputs: bool = True) -> Any:
    """An ONNX model in 8 bits, as onnxruntime's static quantiser makes it (QDQ, which OpenVINO reads too).

    Args:
        model: fp32, of `exportable`.
        exportable: makes the inputs of the calibration.
        outputs: of convolutions are in 8 bits too, as onnxruntime must have it. OpenVINO computes what follows a
            convolution (PReLU, a sum) before it rounds, which is faster and loses less.

    Raises:
        UserError: it has no layer between the first and the last.
    """
    required('onnxruntime', 'onnx')
    from onnx import load
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    layers = layers_of(model)
    check_layers(layers, exportable)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.samples = iter(calibration(exportable))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.samples, None)

    with tempfile.TemporaryDirectory() as folder, _silent():
        file = Path(folder) / 'int8.onnx'
        quantize_static(
            model,
            file,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[*layers.inner, *(layers.activations if outputs else ())],
            op_types_to_quantize=[*_CONVOLUTIONS, *_ACTIVATIONS],
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                'CalibPercentile': PERCENTILE,
                'OpTypesToExcludeOutputQuantization': [] if outputs else list(_CONVOLUTIONS),
            },
        )
        return load(file)


def calibration(exportable: Exportable) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of the calibration, by name."""
    side = exportable.fitting(SIDE)
    for inputs in exportable.samples(PICTURES, side, side):
        yield {name: value.numpy() for name, value in zip(exportable.inputs, inputs, strict=True)}


def check_layers(layers: Layers, exportable: Exportable) -> None:
    """Raise `UserError` where a network has nothing to quantise."""
    if not layers.inner:
        raise UserError(f'{exportable.header.network["type"]}: has no convolutions between its first and last: no int8')


@contextmanager
def _silent() -> Iterator[None]:
    """Without the libraries' words to developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
