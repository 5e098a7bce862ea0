"""A program of `torch.export` (`.pt2`): runs without this package, without BasicSR, without the network's class."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.deploy.export.tracing import quiet, trace
from vsrkd_plugin.run.model_file import KEY

SUFFIX = '.pt2'
PRECISIONS = ('fp32', 'fp16')


def write(exportable: Exportable, path: Path, precision: str, folder: Path) -> Draft:
    """Write a `.pt2` file; `fp16` keeps its weights in half precision and computes in fp32.

    Args:
        exportable: what is exported.
        path: the file's final name.
        precision: one of `PRECISIONS`.
        folder: where it is written.

    Raises:
        UserError: the network cannot be exported with any size.
    """
    module = exportable.copied()
    if precision == 'fp16':
        _keep_in_half(module)
    traced = trace(exportable, module)
    _clean(traced.program)
    temporary = folder / path.name
    with quiet():
        told = json.dumps(exportable.file_header(precision).as_json())
        torch.export.save(traced.program, temporary, extra_files={KEY: told})
        loaded = torch.export.load(temporary).module()

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = loaded(*map(torch.from_numpy, inputs))
        return [value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return Draft({temporary: path}, f'torch {torch.__version__.partition("+")[0]}', run, traced.any_batch)


def _clean(program: Any) -> None:
    """Take out of a program what is of its tracing alone."""
    for node in reversed(list(program.graph.nodes)):
        node.meta.pop('stack_trace', None)  # with the places of files on this machine
        # What was so at the size that was traced (that a crop cuts nothing off, say) need not be so at others, which
        # give the right result all the same: verified, afterwards, at several.
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


class _InHalf(nn.Module):
    """A parametrisation: a weight that is kept in half precision and read as fp32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float()


def _keep_in_half(module: nn.Module) -> None:
    for part in list(module.modules()):
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter.dtype == torch.float32:
                parameter.data = parameter.data.half()
                nn.utils.parametrize.register_parametrization(part, name, _InHalf(), unsafe=True)
