"""`torch.export` of an `Exportable`, sizes and batch dynamic."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vsrkd_plugin.deploy.export.exportable import Exportable
from vsrkd_plugin.errors import UserError, first_line

_SIDES = 26, 29  # of the picture that is traced; unlike, and unlike any scale or number of channels


@dataclass(frozen=True)
class Traced:
    """A traced module.

    Attributes:
        program: an `ExportedProgram`.
        any_batch: whether the batch is dynamic; else it is 1.
    """

    program: Any
    any_batch: bool


def trace(exportable: Exportable, module: nn.Module | None = None) -> Traced:
    """Trace with dynamic height and width, and a dynamic batch where the network's code allows it.

    Raises:
        UserError: it cannot be traced with a dynamic size.
    """
    if not hasattr(torch.export.Dim, 'DYNAMIC'):
        raise UserError(f'export: needs torch 2.6 or later, this is {torch.__version__}')
    height, width = (exportable.fitting(max(side, exportable.min_size) + 1) for side in _SIDES)
    failures = []
    for batch in (2, 1):
        (inputs,) = exportable.samples(1, height, width, batch)
        dynamic = torch.export.Dim.DYNAMIC
        first = {0: dynamic} if batch > 1 else {}
        sizes = [{**first, value.ndim - 2: dynamic, value.ndim - 1: dynamic} for value in inputs]
        try:
            with quiet(), torch.no_grad():
                program = torch.export.export(
                    module or exportable.module,
                    inputs,
                    dynamic_shapes=_nested(module or exportable.module, sizes),
                    strict=False,
                    prefer_deferred_runtime_asserts_over_guards=True,
                )
            return Traced(program, batch > 1)
        except Exception as error:  # whatever a network's own code makes of sizes that are symbols
            failures.append(error)
    name = exportable.header.network['type']
    raise UserError(f'{name} cannot be exported for images of any size ({first_line(failures[-1])})') from failures[-1]


def _nested(module: nn.Module, sizes: list[dict[int, Any]]) -> tuple:
    """Sizes in the form of the arguments of `forward`, whose last may take any number."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(sizes)
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*sizes[:named], tuple(sizes[named:]))


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters warn developers of."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
