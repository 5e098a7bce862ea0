"""What 8 bits cost and save: Set5, and time for a result of 512x512, one thread, all files by turns.

Run: `python benchmarks/export.py zoo:vdsr_s_x234 --teacher zoo:vdsr_x234 --set5 FOLDER [-s 2] [--int8 FILE.onnx]`.
Files are what `vsrkd export` writes: `--to onnx` for onnxruntime, `--to openvino` for OpenVINO where that is installed;
PyTorch's eager mode beside them. `--int8` and `--int8-openvino` take files that were made before (`--tune`). Time is
the processor's, not the clock's: on a shared machine that one tells of others too. int4 is of the weights alone,
rounded in PyTorch, a scale for each channel: its quality is told, no runtime here is faster by it.
"""

import argparse
import importlib.util
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import vsrkd_plugin  # noqa: F401 - before basicsr
from vsrkd_plugin.data.bicubic_image_dataset import BicubicImageDataset
from vsrkd_plugin.deploy.export import onnx, openvino
from vsrkd_plugin.deploy.export.exportable import Exportable, of_image_model
from vsrkd_plugin.deploy.quantise import layers_of
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.ops.colour import rgb_to_y
from vsrkd_plugin.registration import register

Run = Callable[[np.ndarray], np.ndarray]
_ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('student')
    parser.add_argument('--teacher')
    parser.add_argument('--set5', type=Path, required=True)
    parser.add_argument('-s', '--scale', type=int, default=2)
    parser.add_argument('--side', type=int, default=512, help='of the result')
    parser.add_argument('--int8', type=Path, help='an ONNX file of the student in 8 bits; default: made here')
    parser.add_argument('--int8-openvino', type=Path, help='the same for OpenVINO (.xml)')
    args = parser.parse_args()
    register()
    torch.set_num_threads(1)
    runs: dict[str, Run] = {}
    student = of_image_model(open_model(args.student), args.scale)
    if args.teacher:
        runs |= runs_of('teacher fp32', of_image_model(open_model(args.teacher), args.scale), 'fp32', {})
    runs['student fp32, eager'] = eager(student.module)
    runs |= runs_of('student fp32', student, 'fp32', {})
    runs |= runs_of('student int8', student, 'int8', {'onnx': args.int8, 'openvino': args.int8_openvino})
    layers = layers_of(onnx.to_onnx(student))
    seconds = by_turns(runs, student, args.side // args.scale)
    runs['student int4, weights alone'] = eager(in_4_bits(student, layers))
    pairs = set5_pairs(args.set5, args.scale, next(iter(student.inputs.values()))[0])
    print(f'{args.student} x{args.scale}, {args.side}x{args.side}, one thread, {processor()}\n')
    print('| | Set5 | least ms | median ms |\n|---|---|---|---|')
    for name, run in runs.items():
        least, median = (f'{value * 1000:.0f}' for value in seconds[name]) if name in seconds else ('', '')
        print(f'| {name} | {psnr(run, pairs, args.scale):.3f} | {least} | {median} |', flush=True)


def runs_of(name: str, exportable: Exportable, precision: str, made: dict[str, Path | None]) -> dict[str, Run]:
    """A network in the runtimes that are there, one thread each, as `made` before or as export writes it."""
    found: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = made.get('onnx') or Path(folder) / 'a.onnx'
        if not made.get('onnx'):
            onnx.write(exportable, file, precision, Path(folder))
        session = onnx.session(file.read_bytes(), threads=1)
        found[f'{name}, onnxruntime'] = lambda x: onnx.run_session(session, [x])[0]
        if importlib.util.find_spec('openvino') is None:
            return found
        file = made.get('openvino') or Path(folder) / 'a.xml'
        if not made.get('openvino'):
            openvino.write(exportable, file, precision, Path(folder))
        request = openvino.compiled(str(file)).create_infer_request()
        found[f'{name}, OpenVINO'] = lambda x: np.array(request.infer([x])[0])
    return found


def eager(module: nn.Module) -> Run:
    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    return run


def in_4_bits(exportable: Exportable, layers: Any) -> nn.Module:
    """The module with the weights that would be in 8 bits rounded to 4."""
    module = exportable.copied()
    for layer in layers.modules:
        weight = module.get_parameter(f'{layer.module}.weight')
        step = weight.abs().flatten(1).amax(1).clamp_min(1e-8) / 7
        zero = torch.zeros(len(step), dtype=torch.int32)
        weight.copy_(torch.fake_quantize_per_channel_affine(weight, step, zero, 0, -7, 7))
    return module


def by_turns(runs: dict[str, Run], exportable: Exportable, side: int) -> dict[str, tuple[float, float]]:
    """Least and median seconds."""
    (inputs,) = exportable.samples(1, side, side)
    x = inputs[0].numpy()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(_ROUNDS + 1):
        for name, run in runs.items():
            start = time.process_time()
            run(x)
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: (min(values), sorted(values)[len(values) // 2]) for name, values in taken.items()}


def set5_pairs(folder: Path, scale: int, channels: int) -> list[tuple[Tensor, Tensor]]:
    """LR and HR; of Y, not rounded, or of RGB in 8 bits."""
    color = 'y' if channels == 1 else 'rgb'
    opt = {'name': folder.name, 'phase': 'val', 'dataroot_gt': str(folder), 'color': color, 'scale': scale}
    dataset = BicubicImageDataset(opt)
    return [dataset.pair(index, scale) for index in range(len(dataset))]


def psnr(run: Run, pairs: list[tuple[Tensor, Tensor]], scale: int) -> float:
    """Mean PSNR on Y of results in 8 bits, `scale` pixels at the border cut."""
    values = []
    for lr, hr in pairs:
        sr = torch.from_numpy(run(lr[None].contiguous().numpy()).copy()).clamp(0, 1).mul(255).round() / 255
        both = [(image if image.shape[1] == 1 else rgb_to_y(image)).mul(255).round() for image in (sr, hr[None])]
        difference = (both[0] - both[1])[..., scale:-scale, scale:-scale]
        values.append(-10 * float(torch.log10(difference.square().mean() / 255**2)))
    return float(np.mean(values))


def processor() -> str:
    """Its name, and what it has for small numbers."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(':') for line in lines)}
    flags = [flag for flag in ('avx512_vnni', 'avx_vnni', 'avx512_bf16', 'amx_int8') if flag in told['flags'].split()]
    return f'{told["model name"]} ({", ".join(flags) or "no instructions for 8 bits"})'


if __name__ == '__main__':
    main()
