"""The command `basicsr` (alias `vsrkd`): stock BasicSR's pipelines with this plugin registered."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vsrkd_plugin.errors import TrainingInterrupted, TrainingStopped, UserError
from vsrkd_plugin.memory import keep_freed_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit status: 0, 1 (training stopped), 2 (bad input), 128 + a signal."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    try:
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
        command.set_defaults(run=_pipeline, is_train=name == 'train')
    synthesis = commands.add_parser('synthesize', help='fill a bank with inputs and what the teacher says of them')
    _add_options(synthesis)
    synthesis.add_argument('-n', type=int, required=True, metavar='N', help='pairs in all, shared out among the scales')
    synthesis.add_argument('-o', required=True, metavar='BANK.lmdb', help='the bank; one that is there is gone on with')
    synthesis.add_argument('--batch', type=int, help='pairs made at a time; default: 16 images, 2 clips')
    synthesis.add_argument(
        '--shard', metavar='K/N', help='make the K-th of N shards, BANK.K-of-N.lmdb; N machines share the work so'
    )
    _add_import(synthesis)
    synthesis.set_defaults(run=_synthesize)
    compression = commands.add_parser('compress', help="make a student from its teacher's channels, without training")
    _add_options(compression)
    compression.add_argument('-o', required=True, metavar='STUDENT.pth', help='the checkpoint to write')
    _add_import(compression)
    compression.set_defaults(run=_compress)
    info = commands.add_parser('info', help='versions, devices, precision, what is registered')
    _add_import(info)
    info.set_defaults(run=_info)
    report = commands.add_parser('report', help='make the report of an experiment again, or compare several')
    report.add_argument(
        'folder', metavar='FOLDER', help='experiments/NAME; or a folder of experiments: quality against operations'
    )
    _add_import(report)
    report.set_defaults(run=_report)
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument('-opt', required=True, metavar='FILE', help='options file (YAML)')
    command.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='change options: train:total_iter=100')


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument('--import', dest='imports', nargs='+', metavar='MODULE', help='modules of yours to register')


def _pipeline(args: argparse.Namespace) -> int:
    from vsrkd_plugin import compat
    from vsrkd_plugin.config.completing import complete
    from vsrkd_plugin.config.loading import load_options
    from vsrkd_plugin.config.preflight import check_files
    from vsrkd_plugin.config.validating import validate
    from vsrkd_plugin.interruption import graceful
    from vsrkd_plugin.registration import register_all

    opt = load_options(args.opt, args.force_yml)
    register_all(args.imports)
    validate(opt, args.is_train)
    compat.init_distributed(args.launcher or ('pytorch' if 'LOCAL_RANK' in os.environ else 'none'))
    root = os.path.abspath(args.root)
    complete(opt, root, args.is_train, getattr(args, 'auto_resume', False), args.debug)
    check_files(opt)

    from basicsr.utils import set_random_seed

    set_random_seed(opt['manual_seed'] + opt['rank'])
    if not args.is_train:
        from basicsr.test import test_pipeline

        compat.run_with_options(test_pipeline, opt, args.opt, root)
        compat.close_distributed()
        return 0

    from basicsr.train import train_pipeline

    compat.set_copy_options(lambda _file, folder: _write_options(opt, folder))
    with graceful():
        compat.run_with_options(train_pipeline, opt, args.opt, root)
    compat.close_distributed()
    if opt['rank'] == 0:
        from vsrkd_plugin.reports.folder import make_report

        make_report(Path(opt['path']['experiments_root']))
    return 0


def _shard(text: str | None) -> tuple[int, int]:
    """Which of how many; without `text` what torchrun says."""
    if text is None:
        return int(os.environ.get('RANK', 0)) + 1, int(os.environ.get('WORLD_SIZE', 1))
    which, _, of = text.partition('/')
    if not (which.isdecimal() and of.isdecimal() and 1 <= int(which) <= int(of)):
        raise UserError(f'--shard: expected K/N with 1 <= K <= N, such as 1/4, got {text}')
    return int(which), int(of)


def _synthesize(args: argparse.Namespace) -> int:
    import torch

    from vsrkd_plugin.synthesizing import fill_bank

    if torch.cuda.is_available():  # under torchrun each process has a GPU of its own
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count())
    fill_bank(_checked_options(args), Path(args.o), args.n, args.batch, _shard(args.shard))
    return 0


def _compress(args: argparse.Namespace) -> int:
    from vsrkd_plugin.compressing import compress

    compress(_checked_options(args), Path(args.o))
    return 0


def _checked_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a training, for commands that make something of its networks without training."""
    from vsrkd_plugin.config.completing import complete
    from vsrkd_plugin.config.loading import load_options
    from vsrkd_plugin.config.preflight_networks import check_networks
    from vsrkd_plugin.config.validating import validate
    from vsrkd_plugin.registration import register_all

    opt = load_options(args.opt, args.force_yml)
    register_all(args.imports)
    validate(opt, True)
    complete(opt, os.path.abspath('.'), True)
    check_networks(opt)
    return opt


def _write_options(opt: dict[str, Any], folder: str) -> None:
    """What ran, `--force_yml` included, into the experiment folder."""
    if opt['rank'] != 0:
        return
    import shlex

    import yaml

    from vsrkd_plugin.checkpoints import write_text_atomically

    text = yaml.safe_dump(opt, sort_keys=False, allow_unicode=True)
    command = ' '.join(shlex.quote(part) for part in [Path(sys.argv[0]).name, *sys.argv[1:]])
    write_text_atomically(
        f'# The options of this run, completed. Command:\n#   {command}\n{text}', Path(folder, 'options.yml')
    )


def _info(args: argparse.Namespace) -> int:
    from vsrkd_plugin.info import describe
    from vsrkd_plugin.registration import register_all

    register_all(args.imports)
    print(describe())
    return 0


def _report(args: argparse.Namespace) -> int:
    import logging

    from vsrkd_plugin.registration import register_all
    from vsrkd_plugin.reports.comparing import compare_experiments, is_collection
    from vsrkd_plugin.reports.folder import make_report

    register_all(args.imports)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    folder = Path(args.folder)
    (compare_experiments if is_collection(folder) else make_report)(folder)
    return 0
