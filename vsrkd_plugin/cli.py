"""The command `basicsr` (alias `vsrkd`): stock BasicSR's pipelines with this plugin registered."""
import argparse
import os
import sys
from collections.abc import Sequence

from vsrkd_plugin.errors import TrainingStopped, UserError
from vsrkd_plugin.memory import keep_freed_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; gives the exit status: 0, 1 (training stopped), 2 (bad input)."""
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='basicsr', description='BasicSR with data-free distillation (vsrkd_plugin).')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for name, text in (('train', 'train as an options file says'), ('test', 'test as an options file says')):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.add_argument('-opt', required=True, metavar='FILE', help='options file (YAML)')
        command.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE', help='change options: train:total_iter=100')
        command.add_argument('--import', dest='imports', nargs='+', metavar='MODULE', help='modules of yours to register')
        command.add_argument('--root', default='.', help='where experiments/ and results/ go; default: here')
        command.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), help='default: found out by itself')
        command.add_argument('--debug', action='store_true', help="BasicSR's debug mode: log and save often")
        if name == 'train':
            command.add_argument('--auto_resume', action='store_true', help='go on from the newest readable state')
        command.set_defaults(run=_pipeline, is_train=name == 'train')
    return parser


def _pipeline(args: argparse.Namespace) -> int:
    from vsrkd_plugin import compat
    from vsrkd_plugin.config.completing import complete
    from vsrkd_plugin.config.loading import load_options
    from vsrkd_plugin.registration import register_all

    opt = load_options(args.opt, args.force_yml)
    register_all(args.imports)
    compat.init_distributed(args.launcher or ('pytorch' if 'LOCAL_RANK' in os.environ else 'none'))
    root = os.path.abspath(args.root)
    complete(opt, root, args.is_train, getattr(args, 'auto_resume', False), args.debug)

    from basicsr.utils import set_random_seed

    set_random_seed(opt['manual_seed'] + opt['rank'])
    if args.is_train:
        from basicsr.train import train_pipeline as pipeline
    else:
        from basicsr.test import test_pipeline as pipeline
    compat.run_with_options(pipeline, opt, args.opt, root)
    return 0
