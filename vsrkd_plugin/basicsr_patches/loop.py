"""The patches of stock BasicSR 1.4.2's pipelines; each says what goes wrong without it.

`apply` runs once, before a pipeline. All patches of this package can go with the first BasicSR release that mends the
symptom; 1.4.2 is the newest one on PyPI today.
"""

import functools
import itertools
import logging
import os
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vsrkd_plugin.basicsr_patches import checkpoints, distributed, loaders, terminal, validation
from vsrkd_plugin.run.run_record import OPTIONS

logger = logging.getLogger('basicsr')
_applied = False
_LOG = re.compile(r'train_.*\.log')
_writers: list[Any] = []  # TensorBoard's, of the run in this process


def apply() -> None:
    """Mend stock BasicSR in this process; a second call does nothing."""
    global _applied
    if _applied:
        return
    _applied = True
    checkpoints.mend_resume()
    checkpoints.mend_saving()
    checkpoints.mend_loading()
    distributed.mend_distributed()
    _mend_folders()
    loaders.mend_loaders()
    validation.mend_validation()
    terminal.mend_network_dumps()
    terminal.mend_training_progress()
    terminal.mend_validation_bars()
    _mend_interruption()
    _mend_writers()
    _mend_messages()


def run_with_options(pipeline: Callable[[str], None], opt: dict[str, Any], opt_file: str, root: str) -> None:
    """Run stock `train_pipeline` or `test_pipeline` on options that are loaded and validated already.

    Symptoms: the stock parser loads YAML unsafely, takes `1e-4` for a string and runs `--force_yml` through `exec`; a
    run that ends with an error leaves threads behind, and TensorBoard without what was logged last.
    """
    module: Any = sys.modules[pipeline.__module__]
    args = types.SimpleNamespace(opt=opt_file)
    stock = module.parse_options
    module.parse_options = lambda *_args, **_kwargs: (opt, args)
    try:
        pipeline(root)
    finally:
        module.parse_options = stock
        terminal.end_training()
        loaders.end_threads()
        while _writers:
            _writers.pop().close()


def set_copy_options(write: Callable[[str, str], None]) -> None:
    """Have `train_pipeline` call `write(opt_file, experiment_folder)` for copying the options file.

    Symptoms: the copy lacks what `--force_yml` changed, so the folder does not say what ran; options that a state does
    not fit, and with which nothing is trained, take the place of those that it was trained with.
    """
    import basicsr.train

    def copy(opt_file: str, folder: str) -> None:
        if checkpoints.progress.state is None:
            write(opt_file, folder)
        else:
            checkpoints.progress.copy_options = functools.partial(write, opt_file, folder)

    basicsr.train.copy_opt_file = copy


def _mend_folders() -> None:
    """Symptoms: where an experiment's folder is a link, to a larger disk say, the link is renamed and the new run fills
    the disk that the link led away from; two runs within a second end in a traceback; each run that is killed before
    its first state leaves an archive of nothing."""
    import basicsr.train
    from basicsr.utils import misc

    in_place = False  # whether the experiment's folder was one in which nothing was trained

    def mkdir_and_rename(path: str) -> None:
        nonlocal in_place
        path = os.path.realpath(path)
        if Path(path).parent.name != 'tb_logger':  # it is made behind the experiment's own
            in_place = os.path.exists(path) and _is_unused(path)
        if os.path.exists(path) and not in_place:
            archived = f'{path}_archived_{misc.get_time_str()}'
            others = (f'{archived}_{number}' for number in itertools.count(2))
            while os.path.lexists(archived):
                archived = next(others)
            print(f'Path already exists. Rename it to {archived}', flush=True)
            os.rename(path, archived)
        os.makedirs(path, exist_ok=True)

    misc.mkdir_and_rename = basicsr.train.mkdir_and_rename = mkdir_and_rename


def _is_unused(folder: str) -> bool:
    """Whether there is nothing in an experiment's folder but what a training writes before it trains."""
    files = (file.name for file in Path(folder).rglob('*') if file.is_symlink() or not file.is_dir())
    return all(name == OPTIONS or _LOG.fullmatch(name) for name in files)


def _mend_interruption() -> None:
    """Symptom: Ctrl+C and SIGTERM lose everything since the last checkpoint.

    `update_learning_rate` is what stock calls first in an iteration: the one before it is complete.
    """
    from basicsr.data.data_sampler import EnlargedSampler
    from basicsr.models.base_model import BaseModel

    from vsrkd_plugin.run.interruption import stop_if_asked

    stock_epoch, stock_update = EnlargedSampler.set_epoch, BaseModel.update_learning_rate

    def set_epoch(self: Any, epoch: int) -> None:
        checkpoints.progress.epoch = epoch
        stock_epoch(self, epoch)

    def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
        progress = checkpoints.progress
        if progress.validate == current_iter - 1:  # of the state that is gone on from: it was saved before
            for val_loader in progress.val_loaders:
                self.validation(
                    val_loader, progress.validate, _writers[-1] if _writers else None, self.opt['val']['save_img']
                )
        progress.validate = None
        stop_if_asked(self, progress.epoch, current_iter - 1)
        checkpoints.progress.last = checkpoints.progress.epoch, current_iter
        stock_update(self, current_iter, warmup_iter)

    EnlargedSampler.set_epoch = set_epoch
    BaseModel.update_learning_rate = update_learning_rate


def _mend_writers() -> None:
    """Symptom: see `run_with_options`; stock closes TensorBoard's writer only where all went well."""
    import basicsr.train

    stock = basicsr.train.init_tb_loggers

    def init_tb_loggers(opt: dict[str, Any]) -> Any:
        writer = stock(opt)
        if writer is not None:
            _writers.append(writer)
        return writer

    basicsr.train.init_tb_loggers = init_tb_loggers


def _mend_messages() -> None:
    """Symptoms: the last log line of a training says `eta: -1 day, 23:59:59`; with several validation sets every
    validation warns that only SRModel supports them, which its subclasses do too."""
    from basicsr.utils.logger import MessageLogger

    stock = MessageLogger.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        self.max_iters += 1  # stock takes one too many off
        if checkpoints.progress.copy_options is not None:  # the state is loaded
            checkpoints.progress.copy_options()
            checkpoints.progress.copy_options = None

    MessageLogger.__init__ = init
    logger.addFilter(lambda record: not str(record.msg).startswith('Multiple validation datasets'))
