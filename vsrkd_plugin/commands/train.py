"""`train` and `test`: stock BasicSR's pipelines on options that were checked as a whole before."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from basicsr.test import test_pipeline
from basicsr.train import train_pipeline
from basicsr.utils import set_random_seed

from vsrkd_plugin.basicsr_patches import distributed, loop
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options, overridden
from vsrkd_plugin.config.validating import require_weights, validate
from vsrkd_plugin.data.images import BUNDLED
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.ops.parallel import of_rank_0
from vsrkd_plugin.ops.precision import cpu_is_faster_in_bf16
from vsrkd_plugin.preflight.files import check_files
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.recipe.testing import options_of_test
from vsrkd_plugin.reports.experiment import told_imports
from vsrkd_plugin.reports.folder import make_report
from vsrkd_plugin.run.begun_files import clear_begun
from vsrkd_plugin.run.folder_lock import owned
from vsrkd_plugin.run.interruption import graceful
from vsrkd_plugin.run.run_record import OPTIONS
from vsrkd_plugin.run.whole_files import write_text_atomically


def run(args: argparse.Namespace) -> int:
    """Run the pipeline that `args.is_train` says; gives the exit status."""
    opt = load_options(args.opt, args.force_yml) if args.is_train else _options_of_test(args)
    validate(opt, args.is_train)
    distributed.init_distributed(args.launcher or ('pytorch' if 'LOCAL_RANK' in os.environ else 'none'))
    root = os.path.abspath(args.root)
    if args.is_train and opt.get('manual_seed') is None:
        opt['manual_seed'] = _seed_of_before(opt, root, args.auto_resume)
    complete(opt, root, args.is_train, args.auto_resume, args.debug)
    if opt.get('precision') == 'auto' and opt['world_size'] > 1 and opt['num_gpu'] == 0:
        # Each process would time it for itself, while the others do.
        opt['precision'] = of_rank_0('bf16' if cpu_is_faster_in_bf16() else 'fp32')
    check_files(opt)
    if not args.is_train:
        require_weights(opt)
    folder = Path(opt['path']['experiments_root' if args.is_train else 'results_root'])
    with owned(folder) if opt['rank'] == 0 else nullcontext():  # of several processes the first writes
        if args.is_train and opt['rank'] == 0:
            for each in (folder, *filter(Path.is_dir, folder.glob('*'))):
                clear_begun(each)
        _run(args, opt, root)
        if args.is_train and opt['rank'] == 0:
            make_report(folder)
    return 0


def _seed_of_before(opt: dict[str, Any], root: str, auto_resume: bool) -> int | None:
    """The seed that was drawn where the training that goes on began; None where none is known."""
    state = (opt.get('path') or {}).get('resume_state')
    folders = [Path(root, 'experiments', opt['name'])] if auto_resume else []
    folders += [Path(state).expanduser().parent.parent] if isinstance(state, str) else []
    for file in (folder / OPTIONS for folder in folders):
        if file.is_file() and isinstance(seed := load_options(str(file)).get('manual_seed'), int):
            return seed
    return None


def _options_of_test(args: argparse.Namespace) -> dict[str, Any]:
    """Of an options file, or such that test a model file."""
    if bool(args.opt) == bool(args.model):
        both = 'both were given' if args.opt else 'neither was given'
        raise UserError(f'test: expected an options file (-opt FILE) or a model file (-m MODEL), {both}')
    if args.opt:
        if args.i:
            raise UserError('-i: goes with a model file (-m); an options file names its own data sets')
        return load_options(args.opt, args.force_yml)
    with unnoticed():  # what is built here must not set up the log
        model = open_model(args.model)
    return overridden(options_of_test(model, args.i or [BUNDLED]), args.force_yml)


def _run(args: argparse.Namespace, opt: dict[str, Any], root: str) -> None:
    """The pipeline itself."""
    set_random_seed(opt['manual_seed'] + opt['rank'])
    if not args.is_train:
        loop.run_with_options(test_pipeline, opt, args.opt or args.model, root)
        distributed.close_distributed()
        return

    loop.set_copy_options(lambda _file, folder: _write_options(opt, folder, args.imports))
    with graceful():
        loop.run_with_options(train_pipeline, opt, args.opt, root)
    distributed.close_distributed()


def _write_options(opt: dict[str, Any], folder: str, imports: Sequence[str] | None) -> None:
    """What ran, `--force_yml` and `--import` included, into the experiment folder."""
    if opt['rank'] != 0:
        return
    text = yaml.safe_dump(opt, sort_keys=False, allow_unicode=True)
    command = ' '.join(shlex.quote(part) for part in [Path(sys.argv[0]).name, *sys.argv[1:]])
    write_text_atomically(
        f'# The options of this run, completed. Command:\n#   {command}\n{told_imports(imports)}{text}',
        Path(folder, OPTIONS),
    )
