"""ONNX: dynamic batch and size, what it holds in the file's metadata; fp16 by the library's converter."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import BATCH, HEIGHT, WIDTH, Exportable
from vsrkd_plugin.deploy.export.libraries import required
from vsrkd_plugin.deploy.export.tracing import quiet, trace
from vsrkd_plugin.deploy.quantise import layers_of, quantise_onnx
from vsrkd_plugin.run.model_file import KEY

EXTRA = 'onnx'
SUFFIX = '.onnx'
PRECISIONS = ('fp32', 'fp16', 'int8')
_OPSET = 18  # the oldest that the exporter writes without converting


def write(exportable: Exportable, path: Path, precision: str, folder: Path) -> Draft:
    """Write an ONNX file.

    Args:
        exportable: what is exported.
        path: the file's final name.
        precision: one of `PRECISIONS`.
        folder: where it is written.

    Raises:
        UserError: a library is missing, or the network cannot be exported with any size.
    """
    runtime = required('onnxruntime', EXTRA)
    # PReLU's substitute is not among what the converter to fp16 takes, and what computes in fp16 has a fast PReLU.
    model = to_onnx(exportable, prelu=precision == 'fp16')
    any_batch = takes_any_batch(model)
    if precision == 'int8':
        model = quantise_onnx(model, exportable)
    elif precision == 'fp16':
        model = to_fp16(model, layers_of(model).ends)
    write_metadata(model, exportable, precision)
    temporary = folder / path.name
    temporary.write_bytes(model.SerializeToString())
    run = partial(run_session, session(temporary.read_bytes(), threads=1))
    return Draft({temporary: path}, f'onnxruntime {runtime.__version__}', run, any_batch)


def to_onnx(exportable: Exportable, extra: str = EXTRA, prelu: bool = False) -> Any:
    """An `onnx.ModelProto` in fp32, with any batch and size.

    Args:
        exportable: what is exported.
        extra: that has the libraries.
        prelu: keep PReLU; else it is written as other operations, which onnxruntime does faster, and faster still
            between convolutions of 8 bits.

    Raises:
        UserError: the library is missing, or the network cannot be exported with any size.
    """
    required('onnxscript', extra)
    required('onnx', extra)
    traced = trace(exportable, exportable.module if prelu else _without_prelu(exportable.copied()))
    with quiet(), torch.no_grad():
        exported = torch.onnx.export(
            traced.program,
            (),
            input_names=list(exportable.inputs),
            output_names=list(exportable.outputs),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]  # traces of the stack, with the places of files on this machine
    del model.graph.value_info[:]  # with names of sizes that the exporter made up
    batch = BATCH if traced.any_batch else 1
    for value in model.graph.input:
        _name_sizes(value, batch, HEIGHT, WIDTH)
    for value in model.graph.output:
        factor = exportable.factors[value.name]
        _name_sizes(value, batch, *(side if factor == 1 else f'{factor}*{side}' for side in (HEIGHT, WIDTH)))
    return model


def write_metadata(model: Any, exportable: Exportable, precision: str) -> None:
    """What the file holds: the header as JSON under `vsrkd`, and by names of its own what scripts ask for."""
    header = exportable.file_header(precision)
    told = {
        'network': header.network['type'],
        'scale': str(exportable.scale),
        'channels': str(header.channels),
        'colour': 'Y' if header.channels == 1 else 'RGB',
        'value_range': json.dumps(list(header.value_range)),
        'precision': precision,
        'version': header.version,
        KEY: json.dumps(header.as_json()),
    }
    del model.metadata_props[:]
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = KEY, header.version


def takes_any_batch(model: Any) -> bool:
    """Whether a model's first input has a batch that is not fixed."""
    return bool(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)


def session(model: bytes, threads: int = 0) -> Any:
    """An onnxruntime session of a model on the CPU; `threads` 0: as many as it likes."""
    runtime = required('onnxruntime', EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return runtime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def run_session(opened: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a session."""
    return opened.run(None, dict(zip((entry.name for entry in opened.get_inputs()), inputs, strict=True)))


def to_fp16(model: Any, in_float: Sequence[str]) -> Any:
    """The model with its weights and its computing in half precision; inputs and outputs stay fp32.

    Args:
        model: fp32; is changed.
        in_float: names of nodes that stay in fp32.
    """
    required('onnxruntime', EXTRA)
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        model = convert_float_to_float16(
            model, keep_io_types=True, disable_shape_infer=False, node_block_list=list(in_float)
        )
    _remove_detours(model)
    return model


def _remove_detours(model: Any) -> None:
    """Take out casts from fp32 to fp16 and back, which round: the converter has them between nodes that stay fp32."""
    from onnx import TensorProto

    def casts(kind: int) -> list[Any]:
        return [node for node in model.graph.node if node.op_type == 'Cast' and node.attribute[0].i == kind]

    narrowed = {node.output[0]: node.input[0] for node in casts(TensorProto.FLOAT16)}
    results = {value.name for value in model.graph.output}
    renamed: dict[str, str] = {}
    for node in casts(TensorProto.FLOAT):
        source = narrowed.get(node.input[0])
        if source is None:
            continue
        model.graph.node.remove(node)
        if node.output[0] in results:
            renamed[source] = node.output[0]
        else:
            renamed[node.output[0]] = source
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                while name in renamed:
                    name = renamed[name]
                names[index] = name
    read = results | {name for node in model.graph.node for name in node.input}
    for node in casts(TensorProto.FLOAT16):
        if node.output[0] not in read:
            model.graph.node.remove(node)


def _name_sizes(value: Any, batch: int | str, height: str, width: str) -> None:
    dimensions = value.type.tensor_type.shape.dim
    for index, name in ((0, batch), (len(dimensions) - 2, height), (len(dimensions) - 1, width)):
        if isinstance(name, str):
            dimensions[index].dim_param = name
        else:
            dimensions[index].dim_value = name


class _Slopes(nn.Module):
    """PReLU in operations that onnxruntime computes several times faster: it has no fast PReLU."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.slopes = nn.Parameter(weight.view(-1, 1, 1).clone(), requires_grad=False)
        self.rest = nn.Parameter(1 - self.slopes, requires_grad=False)
        self.is_maximum = bool((weight <= 1).all())

    def forward(self, x: Tensor) -> Tensor:
        if self.is_maximum:
            return torch.maximum(x, self.slopes * x)
        return x - self.rest * x.clamp(max=0)


def _without_prelu(module: nn.Module) -> nn.Module:
    """The module without PReLU."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.PReLU):
                parent.register_module(name, _Slopes(child.weight.detach()))
    return module
