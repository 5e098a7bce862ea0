"""ncnn (`.param` with a `.bin` beside it), converted by pnnx; sizes stay free."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.deploy.export.libraries import required
from vsrkd_plugin.deploy.export.tracing import quiet
from vsrkd_plugin.errors import UserError, first_line

EXTRA = 'ncnn'
SUFFIX = '.param'
PRECISIONS = ('fp32', 'fp16')
INPUT, OUTPUT = 'data', 'output'  # as Real-ESRGAN-ncnn-vulkan and its like ask for
_PATIENCE = 600  # seconds that pnnx may take
_SIDES = (24, 30), (40, 36)  # of the pictures that pnnx sees: what differs in them stays free


def write(exportable: Exportable, path: Path, precision: str, folder: Path) -> Draft:
    """Write `.param` and `.bin`; one picture `(c, h, w)` at a time, of a size that the network itself takes.

    Args:
        exportable: what is exported.
        path: the file's final name.
        precision: one of `PRECISIONS`: of the weights.
        folder: where it is written.

    Raises:
        UserError: a library is missing, it has a state, or pnnx cannot convert it.
    """
    required('pnnx', EXTRA)
    runtime = required('ncnn', EXTRA)
    name = exportable.header.network['type']
    if len(exportable.inputs) > 1:
        raise UserError(f'{name}: ncnn is for networks of pictures; a recurrent one can be had --to onnx')
    param, weights = folder / path.name, (folder / path.name).with_suffix('.bin')
    _convert(exportable, folder, precision, param, weights)
    text = param.read_text(encoding='utf-8')
    kinds = [line.split()[0] for line in text.splitlines()[2:]]
    if unknown := sorted({kind for kind in kinds if '.' in kind or '::' in kind}):
        raise UserError(f'{name}: ncnn has no operation for {", ".join(unknown)}')
    for old, new in (('in0', INPUT), ('out0', OUTPUT)):
        text = re.sub(rf'(?<=\s){old}(?=\s)', new, text)
    param.write_text(text, encoding='utf-8')
    net = _opened(runtime, param, weights)

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        results = []
        for picture in inputs[0]:
            with net.create_extractor() as extractor:
                extractor.input(INPUT, runtime.Mat(np.ascontiguousarray(picture)).clone())
                status, output = extractor.extract(OUTPUT)
                if status:
                    raise RuntimeError(f'ncnn gives status {status}')
                results.append(np.array(output))
        return [np.stack(results)]

    files = {param: path, weights: path.with_suffix('.bin')}
    return Draft(files, f'ncnn {runtime.__version__}', run, any_size=not exportable.pads)


def _convert(exportable: Exportable, folder: Path, precision: str, param: Path, weights: Path) -> None:
    """Have pnnx write `param` and `weights`."""
    sizes = [tuple(exportable.fitting(side) for side in sides) for sides in _SIDES]
    traced, (channels,) = folder / 'traced.pt', exportable.inputs['input']
    (inputs,) = exportable.samples(1, *sizes[0])
    with quiet(), torch.no_grad():
        torch.jit.trace(exportable.copied(pads=False), inputs, check_trace=False).save(traced)
    shapes = [f'[1,{channels},{height},{width}]' for height, width in sizes]
    # The rest that it writes, code among it, goes away with the folder; none of it is run.
    command = [
        str(Path(sys.executable).with_name('pnnx')), traced.name, f'inputshape={shapes[0]}', f'inputshape2={shapes[1]}',
        f'ncnnparam={param.name}', f'ncnnbin={weights.name}', f'fp16={int(precision == "fp16")}',
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f'pnnx cannot be run ({first_line(error)})') from error
    if done.returncode or not param.is_file() or not weights.is_file():
        said = (done.stderr or done.stdout).strip().splitlines() or ['no reason told']
        raise UserError(f'{exportable.header.network["type"]}: pnnx cannot convert it ({said[-1]})')


def _opened(runtime: Any, param: Path, weights: Path) -> Any:
    net = runtime.Net()
    net.opt.num_threads = 1
    # Nothing but what the file says: by themselves these round to half precision.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise UserError(f'{param.name}: ncnn cannot read what pnnx made')
    return net
