"""A folder of frames through an exported recurrent network, by onnxruntime alone: no PyTorch, no BasicSR.

    vsrkd export zoo:rlsp_x4 --to onnx -o rlsp_x4.onnx
    python examples/film_with_onnxruntime.py rlsp_x4.onnx frames/ out/

Memory does not grow with the film: three frames and the network's state are all that is kept.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

model, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
files = sorted(Path(source).glob('*.png'))
Path(target).mkdir(parents=True, exist_ok=True)


def read(index: int) -> np.ndarray:
    """A frame, RGB `(3, h, w)` in [0, 1]; before the first and behind the last one these are repeated."""
    pixels = np.asarray(cv2.imread(str(files[min(max(index, 0), len(files) - 1)])))
    return pixels[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255


window = [read(-1), read(0), read(1)]
names = [entry.name for entry in session.get_inputs()]  # the frames, then the state: zeros at first
state = [np.zeros((1, entry.shape[1], *window[0].shape[1:]), np.float32) for entry in session.get_inputs()[1:]]
for index, file in enumerate(files):
    output, *state = session.run(None, dict(zip(names, [np.stack(window)[None], *state], strict=True)))
    picture = (output[0].clip(0, 1) * 255).round().astype(np.uint8)
    cv2.imwrite(str(Path(target) / file.name), np.ascontiguousarray(picture.transpose(1, 2, 0)[..., ::-1]))
    window = [*window[1:], read(index + 2)]
