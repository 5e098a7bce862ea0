"""Weights with a header that tells what they are: `.safetensors`, and `.pth` as plain BasicSR reads it."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.model import Model
from vsrkd_plugin.run.checkpoints import load_weights
from vsrkd_plugin.run.model_file import write_model

PRECISIONS = ('fp32', 'fp16')


def write(model: Model, path: Path, precision: str, folder: Path, scale: int) -> Draft:
    """Write weights, all scales of them; the format is that of the suffix.

    Args:
        model: of pictures or clips.
        path: the file's final name.
        precision: of the weights: one of `PRECISIONS`.
        folder: where it is written.
        scale: that it is run at, to compare.
    """
    temporary = folder / path.name
    dtype = torch.float16 if precision == 'fp16' else torch.float32
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in model.network.state_dict().items()
    }
    write_model(weights, replace(model.header, precision=precision), temporary)
    adapter = copy.deepcopy(model.adapter)
    load_weights(adapter.network, temporary, 'params' if path.suffix == '.pth' else None)

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [adapter(torch.from_numpy(value), scale).numpy() for value in inputs]

    return Draft({temporary: path}, f'torch {torch.__version__.partition("+")[0]}', run)
