"""The commands and their arguments."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from vsrkd_plugin import __version__

_EXAMPLES = """\
examples:
  vsrkd distill teacher.pth -o runs/mine     # a student from a teacher's file alone
  vsrkd inspect teacher.pth                  # what a checkpoint is
  vsrkd init dfkd_vdsr.yml                   # an options file to change, copied here
  vsrkd train -opt dfkd_vdsr.yml             # train as it says
  vsrkd COMMAND --help                       # all of a command, with an example

(vsrkd and basicsr are the same program.)"""


def program() -> str:
    """The name that it was called by."""
    name = Path(sys.argv[0]).stem
    return name if name in ('basicsr', 'vsrkd') else 'basicsr'


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line, as all errors are told."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{program()}: error: {message} ({self.prog} -h tells more)\n')


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    top = _Parser(
        prog=program(),
        description='BasicSR with data-free distillation (vsrkd_plugin).',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument('--version', action='version', version=f'vsrkd_plugin {__version__}')
    # What `torch.distributed.launch` gives each process; it is in the environment too, where torchrun puts it.
    top.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)
    top.set_defaults(run=None, needs_nothing=False)
    commands = top.add_subparsers(metavar='COMMAND')
    _add_training(commands)
    _add_distill(commands)
    _add_upscale(commands)
    _add_export(commands)
    _add_inspect(commands)
    _add_synthesize(commands)
    _add_compress(commands)
    _add_report(commands)
    _add_init(commands)
    _add_info(commands)
    return top


def _add(commands: Any, name: str, text: str, *examples: str, **settings: Any) -> argparse.ArgumentParser:
    """A command, whose help ends with its examples."""
    return commands.add_parser(
        name,
        help=text,
        description=f'{text[0].upper()}{text[1:]}.',
        epilog='\n  '.join(['examples:' if len(examples) > 1 else 'example:', *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **settings,
    )


def _add_training(commands: Any) -> None:
    told = {
        'train': (
            'train as an options file says',
            'basicsr train -opt dfkd_vdsr.yml',
            'basicsr train -opt dfkd_vdsr.yml --auto_resume   # go on after an interruption',
            'basicsr train -opt dfkd_vdsr.yml --force_yml train:total_iter=40 name=short',
        ),
        'test': (
            'test a model file, or as an options file says',
            'basicsr test -m student.pth                     # on the bundled photographs',
            'basicsr test -m student.pth -i datasets/Set5',
            'basicsr test -opt test_vdsr_set5.yml',
            'basicsr test -opt test_vdsr_set5.yml --force_yml path:pretrain_network_g=zoo:vdsr_x234',
        ),
    }
    for name, (text, *examples) in told.items():
        command = _add(commands, name, text, *examples, allow_abbrev=False)
        _add_options(command, required=name == 'train')
        command.add_argument('--root', default='.', help='where experiments/ and results/ go; default: here')
        command.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), help='default: found out by itself')
        command.add_argument('--debug', action='store_true', help="BasicSR's debug mode: log and save often")
        _add_import(command)
        if name == 'train':
            command.add_argument('--auto_resume', action='store_true', help='go on from the newest readable state')
        else:
            command.add_argument('-m', dest='model', metavar='MODEL', help='in place of -opt: a model file, zoo:NAME')
            command.add_argument('-i', nargs='+', metavar='FOLDER', help='of -m: HR images, or folders of clips')
            command.set_defaults(auto_resume=False)
        command.set_defaults(run=_command('train'), is_train=name == 'train')


def _add_synthesize(commands: Any) -> None:
    synthesis = _add(
        commands,
        'synthesize',
        "fill a bank with inputs and the teacher's outputs",
        'vsrkd synthesize -opt dfkd_vdsr.yml -n 20000 -o bank.lmdb',
    )
    _add_options(synthesis)
    synthesis.add_argument('-n', type=int, required=True, metavar='N', help='samples in all, over all scales')
    synthesis.add_argument(
        '-o', required=True, type=_named, metavar='BANK.lmdb', help='the bank; one that is there is gone on with'
    )
    synthesis.add_argument('--batch', type=int, help='samples made at a time; default: 16 images, 2 clips')
    synthesis.add_argument(
        '--shard', metavar='K/N', help='make the K-th of N shards, BANK.K-of-N.lmdb; N machines share the work so'
    )
    _add_import(synthesis)
    synthesis.set_defaults(run=_command('synthesize'))


def _add_compress(commands: Any) -> None:
    compression = _add(
        commands,
        'compress',
        "make a student from its teacher's channels, without training",
        'vsrkd compress -opt dfkd_vdsr.yml -o student.pth',
    )
    _add_options(compression)
    compression.add_argument('-o', required=True, type=_named, metavar='STUDENT.pth', help='the checkpoint to write')
    _add_import(compression)
    compression.set_defaults(run=_command('compress'))


def _add_info(commands: Any) -> None:
    info = _add(
        commands,
        'info',
        'versions, devices, precision, what is registered',
        'basicsr info',
        'basicsr info --import my_archs   # my_archs.py here registers networks of yours',
    )
    _add_import(info)
    info.set_defaults(run=_command('info'))


def _add_init(commands: Any) -> None:
    start = _add(
        commands,
        'init',
        'copy an options file of the package here, to be changed; without a name list them',
        'vsrkd init',
        'vsrkd init dfkd_your_network.yml',
    )
    start.add_argument(
        'name', nargs='?', metavar='NAME', help='of an options file of the package, with or without .yml'
    )
    start.set_defaults(run=_command('init'), needs_nothing=True)


def _add_distill(commands: Any) -> None:
    distillation = _add(
        commands,
        'distill',
        "a student from a teacher's file alone: no options file, no data",
        'vsrkd distill realesr-animevideov3.pth -o runs/anime --speedup 8 --budget 1h',
        'vsrkd distill zoo:vdsr_x234 --budget 5m',
        'vsrkd distill teacher.pth --target 25fps --size 640x360',
    )
    _add_teacher(distillation)
    distillation.add_argument('-o', type=_named, metavar='FOLDER', help='where everything goes; default: runs/TEACHER')
    distillation.add_argument(
        '--student',
        metavar='KIND',
        help="same (the teacher's family), low_rank (the same, of thin layers), compact, or a FILE.yml with network_g",
    )
    distillation.add_argument(
        '--speedup', type=float, metavar='N', help='times fewer operations than the teacher; default: 4'
    )
    distillation.add_argument(
        '--target',
        metavar='TIME',
        help='in place of --speedup: time for a picture or frame on this machine: 30ms, 25fps',
    )
    distillation.add_argument('--size', metavar='WxH', help='of the LR picture that --target is for; default: 480x270')
    distillation.add_argument('--budget', default='15m', help='time for all of it: 90s, 15m, 1h; default: 15m')
    distillation.add_argument('--inputs', nargs='+', metavar='FOLDER', help='LR pictures of yours, to learn from too')
    distillation.add_argument('--seed', type=int, default=0, help='of everything random; default: 0')
    distillation.set_defaults(run=_command('distill'), allow_restoration=False)


def _add_inspect(commands: Any) -> None:
    inspection = _add(
        commands,
        'inspect',
        'what a checkpoint is: its network, cost, and what it restores; what degrades LR pictures',
        'vsrkd inspect teacher.pth',
        'vsrkd inspect zoo:vdsr_x234 --json',
        'vsrkd inspect --inputs holiday/   # noise, blur and JPEG of pictures of yours',
    )
    _add_teacher(inspection, required=False)
    inspection.add_argument(
        '--inputs', metavar='FOLDER', help='LR pictures of one camera: what degrades them, and the options for it'
    )
    inspection.add_argument('--json', action='store_true', help='for programs')
    inspection.add_argument(
        '--allow-restoration', action='store_true', help='tell of a network that does not enlarge (a denoiser) too'
    )
    inspection.set_defaults(run=_command('inspect'))


def _add_report(commands: Any) -> None:
    report = _add(
        commands,
        'report',
        'make the report of an experiment again, or compare several',
        'vsrkd report experiments/dfkd_vdsr',
        'vsrkd report experiments   # all of them: quality against operations',
    )
    report.add_argument(
        'folder', metavar='FOLDER', help='experiments/NAME; or a folder of experiments: quality against operations'
    )
    _add_import(report)
    report.set_defaults(run=_command('report'))


def _add_upscale(commands: Any) -> None:
    command = _add(
        commands,
        'upscale',
        'enlarge a picture, a folder of pictures, a film',
        'vsrkd upscale -m runs/anime/student.pth -i holiday/ -o out/',
        'vsrkd upscale -m zoo:vdsr_s_x234 -i photo.jpg -o photo_x3.png -s 3 --memory 2G',
        'vsrkd upscale -m zoo:rlsp_x4 -i clip.mp4 -o clip_x4.mp4',
    )
    add = command.add_argument
    add('-m', dest='model', required=True, metavar='MODEL', help='a checkpoint (.pth, .safetensors), or zoo:NAME')
    add(
        '-i',
        dest='source',
        required=True,
        type=_named,
        metavar='INPUT',
        help='a picture, a folder (and those in it), or a film',
    )
    add(
        '-o',
        dest='target',
        required=True,
        type=_named,
        metavar='OUT',
        help='a folder; of one picture or film also a file',
    )
    add('-s', dest='scale', type=float, metavar='FACTOR', help="from 1, also 1.5; default: the network's largest")
    add(
        '--tile', default='auto', metavar='auto|N', help='auto: the largest that fits the memory; N: pixels of its side'
    )
    add('--memory', metavar='SIZE', help='that the process may take: 2G, 800M; default: what is free')
    add('--ext', default='auto', metavar='auto|EXT', help='format of the pictures made; default: that of each source')
    add('--suffix', default='', metavar='TEXT', help='put behind the names of the files made: _x4')
    add('--skip-existing', action='store_true', help='leave files alone that are there already')
    add('--device', metavar='DEVICE', help='cpu, cuda, cuda:1, mps; default: the GPU where there is one')
    add('--precision', default='auto', choices=('auto', 'bf16', 'fp32'), help='default: bf16 where it is faster')
    add('--codec', help='of a film; default: h264')
    add('--crf', type=int, metavar='N', help="quality of a film, lower is better; default: the codec's")
    add('--fps', metavar='N', help='frames a second of a film that is made of a folder of frames')
    _add_network(command)
    _add_import(command)
    command.set_defaults(run=_command('upscale'))


def _add_export(commands: Any) -> None:
    command = _add(
        commands,
        'export',
        'a model as a file for another runtime, verified there',
        'vsrkd export runs/anime/student.pth --to onnx --int8 -o anime_x4_int8.onnx',
    )
    command.add_argument('model', metavar='MODEL', help='a checkpoint (.pth, .safetensors), or zoo:NAME')
    command.add_argument(
        '--to',
        required=True,
        choices=('onnx', 'torch', 'ncnn', 'openvino', 'safetensors', 'pth'),
        help='onnx: .onnx; torch: .pt2 of torch.export; ncnn: .param and .bin; openvino: .xml and .bin; safetensors, '
        'pth: weights that tell what they are',
    )
    command.add_argument('-o', metavar='FILE', type=_named, help="default: the model's name, scale and precision, here")
    command.add_argument('-s', '--scale', type=int, metavar='FACTOR', help='of a model of several; a file has one')
    precision = command.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true', help='weights of half precision')
    precision.add_argument('--int8', action='store_true', help='8 bits, calibrated on made pictures (onnx, openvino)')
    command.add_argument(
        '--tune', type=int, default=0, metavar='STEPS', help='of learning to be in 8 bits, from its own fp32; try 300'
    )
    command.add_argument('--rgb', action='store_true', help='have a network of Y take RGB, chroma by bicubic')
    _add_network(command)
    _add_import(command)
    command.set_defaults(run=_command('export'))


def _add_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument(
        '-opt', required=required, metavar='FILE', help='options file (YAML); or the name of one of the package (init)'
    )
    command.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='change options: train:total_iter=100')


def _add_teacher(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument(
        'teacher',
        nargs=None if required else '?',
        metavar='TEACHER',
        help='a checkpoint (.pth, .safetensors), or zoo:NAME',
    )
    _add_network(command)
    _add_import(command)


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--network', metavar='TYPE', help='its network, where it is not found out: a registered type, or {type: …, …}'
    )
    command.add_argument(
        '--contract', metavar='{…}', help='what it takes, where it is not found out: {value_range: [0, 255]}'
    )


def _named(text: str) -> str:
    """A path; not nothing, which would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('expected a path, got an empty text')
    return text


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument('--import', dest='imports', nargs='+', metavar='MODULE', help='modules of yours to register')


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """A module of `commands`, imported when it is called: `--help` need not wait for torch."""
    return lambda args: importlib.import_module(f'vsrkd_plugin.commands.{name}').run(args)
