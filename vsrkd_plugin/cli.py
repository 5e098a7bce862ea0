"""The command `basicsr` (alias `vsrkd`): stock BasicSR's pipelines with this plugin registered."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vsrkd_plugin.errors import TrainingInterrupted, TrainingStopped, UserError
from vsrkd_plugin.run.allocator import keep_freed_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit status: 0, 1 (training stopped), 2 (bad input), 128 + a signal."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    try:
        from vsrkd_plugin.registration import register_all
        from vsrkd_plugin.run.progress import shown
        from vsrkd_plugin.run.subnormals import subnormals_as_zero

        with subnormals_as_zero(), shown(int(os.environ.get('RANK', 0)) == 0):  # of several processes the first tells
            register_all(args.imports)
            return args.run(args)
    except UserError as error:
        print(f'basicsr: error: {error}', file=sys.stderr)
        return 2
    except TrainingStopped as error:
        print(f'basicsr: stopped: {error}', file=sys.stderr)
        return 1
    except TrainingInterrupted as error:
        print(f'basicsr: {error}', file=sys.stderr)
        return 128 + error.signal_number
    except KeyboardInterrupt:  # where nothing is to be saved
        print('basicsr: interrupted', file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='basicsr', description='BasicSR with data-free distillation (vsrkd_plugin).')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for name, text in (('train', 'train as an options file says'), ('test', 'test as an options file says')):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        _add_options(command)
        command.add_argument('--root', default='.', help='where experiments/ and results/ go; default: here')
        command.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), help='default: found out by itself')
        command.add_argument('--debug', action='store_true', help="BasicSR's debug mode: log and save often")
        _add_import(command)
        if name == 'train':
            command.add_argument('--auto_resume', action='store_true', help='go on from the newest readable state')
        else:
            command.set_defaults(auto_resume=False)
        command.set_defaults(run=_command('train'), is_train=name == 'train')
    synthesis = commands.add_parser('synthesize', help="fill a bank with inputs and the teacher's outputs")
    _add_options(synthesis)
    synthesis.add_argument('-n', type=int, required=True, metavar='N', help='samples in all, over all scales')
    synthesis.add_argument('-o', required=True, metavar='BANK.lmdb', help='the bank; one that is there is gone on with')
    synthesis.add_argument('--batch', type=int, help='samples made at a time; default: 16 images, 2 clips')
    synthesis.add_argument(
        '--shard', metavar='K/N', help='make the K-th of N shards, BANK.K-of-N.lmdb; N machines share the work so'
    )
    _add_import(synthesis)
    synthesis.set_defaults(run=_command('synthesize'))
    compression = commands.add_parser('compress', help="make a student from its teacher's channels, without training")
    _add_options(compression)
    compression.add_argument('-o', required=True, metavar='STUDENT.pth', help='the checkpoint to write')
    _add_import(compression)
    compression.set_defaults(run=_command('compress'))
    info = commands.add_parser('info', help='versions, devices, precision, what is registered')
    _add_import(info)
    info.set_defaults(run=_command('info'))
    distillation = commands.add_parser(
        'distill', help="a student from a teacher's file alone: no options file, no data"
    )
    _add_teacher(distillation)
    distillation.add_argument('-o', metavar='FOLDER', help='where everything goes; default: runs/TEACHER')
    distillation.add_argument(
        '--student', metavar='KIND', help="same (the teacher's family), compact, or a FILE.yml with network_g"
    )
    distillation.add_argument(
        '--speedup', type=float, default=4, metavar='N', help='times fewer operations than the teacher; default: 4'
    )
    distillation.add_argument('--budget', default='15m', help='time for all of it: 90s, 15m, 1h; default: 15m')
    distillation.add_argument('--inputs', nargs='+', metavar='FOLDER', help='LR pictures of yours, to learn from too')
    distillation.add_argument('--seed', type=int, default=0, help='of everything random; default: 0')
    distillation.set_defaults(run=_command('distill'), allow_restoration=False)
    inspection = commands.add_parser('inspect', help='what a checkpoint is: its network, cost, and what it restores')
    _add_teacher(inspection)
    inspection.add_argument('--json', action='store_true', help='for programs')
    inspection.add_argument(
        '--allow-restoration', action='store_true', help='tell of a network that does not enlarge (a denoiser) too'
    )
    inspection.set_defaults(run=_command('inspect'))
    _add_export(commands)
    report = commands.add_parser('report', help='make the report of an experiment again, or compare several')
    report.add_argument(
        'folder', metavar='FOLDER', help='experiments/NAME; or a folder of experiments: quality against operations'
    )
    _add_import(report)
    report.set_defaults(run=_command('report'))
    return parser


def _add_export(commands: Any) -> None:
    command = commands.add_parser(
        'export',
        help='a model as a file for another runtime, verified there',
        epilog='example: vsrkd export runs/anime/student.pth --to onnx --int8 -o anime_x4_int8.onnx',
    )
    command.add_argument('model', metavar='MODEL', help='a checkpoint (.pth, .safetensors), or zoo:NAME')
    command.add_argument(
        '--to',
        required=True,
        choices=('onnx', 'torch', 'ncnn', 'openvino', 'safetensors', 'pth'),
        help='onnx: .onnx; torch: .pt2 of torch.export; ncnn: .param and .bin; openvino: .xml and .bin; safetensors, '
        'pth: weights that tell what they are',
    )
    command.add_argument('-o', metavar='FILE', help="default: the model's name, scale and precision, here")
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


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument('-opt', required=True, metavar='FILE', help='options file (YAML)')
    command.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='change options: train:total_iter=100')


def _add_teacher(command: argparse.ArgumentParser) -> None:
    command.add_argument('teacher', metavar='TEACHER', help='a checkpoint (.pth, .safetensors), or zoo:NAME')
    _add_network(command)
    _add_import(command)


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--network', metavar='TYPE', help='its network, where it is not found out: a registered type, or {type: …, …}'
    )
    command.add_argument(
        '--contract', metavar='{…}', help='what it takes, where it is not found out: {value_range: [0, 255]}'
    )


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument('--import', dest='imports', nargs='+', metavar='MODULE', help='modules of yours to register')


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """A module of `commands`, imported when it is called: `--help` need not wait for torch."""
    return lambda args: importlib.import_module(f'vsrkd_plugin.commands.{name}').run(args)
