"""A model as a file of a target: written beside its place, verified, put there; and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from vsrkd_plugin.deploy.export import ncnn, onnx, openvino, torch_export, weights
from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import (
    Exportable,
    chosen_scale,
    of_image_model,
    of_recurrent_model,
)
from vsrkd_plugin.deploy.export.table import Row, measure
from vsrkd_plugin.deploy.export.verifying import verify, verify_weights
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.deploy.quantise import layers_of
from vsrkd_plugin.deploy.quantise_aware import tune
from vsrkd_plugin.errors import UserError, one_of
from vsrkd_plugin.run.whole_files import begun_folder
from vsrkd_plugin.run.zoo import resolve_weights

WEIGHTS = {'safetensors': '.safetensors', 'pth': '.pth'}
_GRAPHS: Mapping[str, ModuleType] = {'onnx': onnx, 'torch': torch_export, 'ncnn': ncnn, 'openvino': openvino}
TARGETS = (*_GRAPHS, *WEIGHTS)


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        target: one of `TARGETS`.
        path: the file; None: the model's name, its scale and precision, here.
        precision: `fp32`, `fp16` or `int8`.
        scale: of a model of several.
        rgb: have a network of Y take RGB.
        tune: steps of quantisation-aware distillation before `int8`.
    """

    target: str
    path: Path | None = None
    precision: str = 'fp32'
    scale: int | None = None
    rgb: bool = False
    tune: int = 0

    def checked_path(self, model_path: str, scale: int) -> Path:
        """The file to write.

        Raises:
            UserError: another suffix than the target's, no such folder, the model itself; a precision that the target
                has not.
        """
        suffix = WEIGHTS.get(self.target) or _GRAPHS[self.target].SUFFIX
        known = weights.PRECISIONS if self.target in WEIGHTS else _GRAPHS[self.target].PRECISIONS
        if self.precision not in known:
            raise UserError(f'--{self.precision}: {self.target} has {one_of(known)} alone')
        if self.scale is not None and self.target in WEIGHTS:
            raise UserError(f'-s {self.scale}: {self.target} holds the weights of all scales; leave it out')
        if self.tune < 0 or (self.tune and self.precision != 'int8'):
            raise UserError('--tune: expected a number of steps, with --int8')
        stem = Path(model_path.removeprefix('zoo:')).stem
        factor = '' if self.target in WEIGHTS or f'x{scale}' in stem.split('_') else f'_x{scale}'
        precision = '' if self.precision == 'fp32' else f'_{self.precision}'
        path = self.path or Path(f'{stem}{factor}{precision}{suffix}')
        if path.suffix != suffix:
            raise UserError(f'{path}: {self.target} is written to a file that ends in {suffix}')
        if not path.absolute().parent.is_dir():
            raise UserError(f'{path}: there is no folder {path.parent}')
        if path.is_dir():
            raise UserError(f'{path}: is a folder')
        source = resolve_weights(model_path)
        if path.exists() and source.exists() and path.samefile(source):
            raise UserError(f'{path}: is the model itself; name another file (-o)')
        beside = path.with_suffix('.bin')  # the weights of these two
        if self.target in ('openvino', 'ncnn') and beside.exists():
            is_model = source.exists() and beside.samefile(source)
            if is_model or not path.exists():
                what = 'is the model itself' if is_model else 'is there already'
                raise UserError(f'{beside}, which is written beside {path.name}, {what}; name another file (-o)')
        return path


def export(model: Model, request: Request, say: Callable[[str], None] = lambda text: None) -> tuple[Path, list[Row]]:
    """Write a file of a model; an older file of its name is replaced once the new one is verified.

    Args:
        model: whose header says the version that writes.
        request: what is wanted.
        say: is told what is being done.

    Returns:
        The file, and a line for the network and for the file: size, time, difference.

    Raises:
        UserError: bad input (above), a library is missing, the network cannot be exported, or the file is not what the
            network is. Then nothing is left under the file's name.
    """
    scale = chosen_scale(model, request.scale) if request.target not in WEIGHTS else model.header.scales[0]
    path = request.checked_path(model.path, scale)
    if request.rgb and (model.is_video or model.header.channels != 1 or request.target in WEIGHTS):
        raise UserError('--rgb: is for networks of Y and files with a graph (onnx, torch, ncnn, openvino)')
    try:
        with begun_folder(path) as folder:
            if request.target in WEIGHTS:
                return path, [_write_weights(model, path, request.precision, folder, scale)]
            exportable = of_recurrent_model(model) if model.is_video else of_image_model(model, scale, request.rgb)
            return path, _write_graph(exportable, request, path, folder, say)
    except OSError as error:
        raise UserError(f'{path}: cannot be written ({error.strerror or error})') from error


def _write_weights(model: Model, path: Path, precision: str, folder: Path, scale: int) -> Row:
    draft = weights.write(model, path, precision, folder, scale)
    deviation = verify_weights(model, draft.run, precision, scale)
    row = Row(path.name, draft.runtime, precision, draft.size, None, deviation.maximum)
    draft.publish()
    return row


def _write_graph(
    exportable: Exportable, request: Request, path: Path, folder: Path, say: Callable[[str], None]
) -> list[Row]:
    target: Any = _GRAPHS[request.target]
    precision, written = request.precision, exportable
    say(f'tracing the {exportable.header.network["type"]}' + (', calibrating 8 bits' if precision == 'int8' else ''))
    if request.tune:
        written = tune(exportable, layers_of(onnx.to_onnx(exportable)), request.tune, say, target is not openvino)
    draft: Draft = target.write(written, path, precision, folder)
    say(f'verifying it in {draft.runtime}')
    deviation = verify(exportable, draft.run, precision, draft.any_batch, draft.any_size)
    say('measuring its speed')
    rows = measure(exportable, draft, path, precision, deviation.maximum)
    draft.publish()
    return rows
