"""OpenVINO's own format (`.xml` with a `.bin` beside it)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.deploy.export.libraries import required
from vsrkd_plugin.deploy.export.onnx import takes_any_batch, to_onnx
from vsrkd_plugin.deploy.quantise import quantise_onnx
from vsrkd_plugin.run.model_file import KEY

EXTRA = 'openvino'
SUFFIX = '.xml'
PRECISIONS = ('fp32', 'fp16', 'int8')


def write(exportable: Exportable, path: Path, precision: str, folder: Path) -> Draft:
    """Write `.xml` and `.bin`; arguments and errors as of `onnx.write`. `fp16` is that of the weights alone."""
    openvino = required('openvino', EXTRA)
    graph = to_onnx(exportable, EXTRA, prelu=True)
    any_batch = takes_any_batch(graph)
    if precision == 'int8':
        # By onnxruntime's quantiser: NNCF's loses ten times as much (docs/export.md), and is no faster.
        graph = quantise_onnx(graph, exportable, outputs=False)
    model = openvino.Core().read_model(graph.SerializeToString())
    model.set_rt_info(json.dumps(exportable.file_header(precision).as_json()), [KEY])
    temporary = folder / path.name
    openvino.save_model(model, temporary, compress_to_fp16=precision == 'fp16')
    files = {temporary: path, temporary.with_suffix('.bin'): path.with_suffix('.bin')}
    request = compiled(openvino.Core().read_model(temporary)).create_infer_request()

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = request.infer(list(inputs))
        return [np.array(found[index]) for index in range(len(found))]

    return Draft(files, f'OpenVINO {openvino.__version__.partition("-")[0]}', run, any_batch)


def compiled(model: Any, threads: int = 1) -> Any:
    """A model ready to run on the CPU in fp32 (as far as it is not in 8 bits)."""
    openvino = required('openvino', EXTRA)
    settings = {'INFERENCE_NUM_THREADS': threads, 'INFERENCE_PRECISION_HINT': 'f32'}
    return openvino.Core().compile_model(model, 'CPU', settings)
