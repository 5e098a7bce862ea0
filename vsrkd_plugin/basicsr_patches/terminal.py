"""What stock BasicSR shows on a terminal while it works; each patch says what goes wrong without it."""

import logging
from typing import Any

from vsrkd_plugin.run.progress import Progress, progress

VALIDATION_BAR = True  # where options do not say `val, pbar`
logger = logging.getLogger('basicsr')
_training: list[Progress[Any]] = []  # the bar of the training that runs in this process, if one does


def mend_network_dumps() -> None:
    """Symptom: at the start of a training, or of a test, pages of modules push what matters off the terminal.

    They go to the log file alone.
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    @master_only
    def print_network(self: Any, net: Any) -> None:
        bare = self.get_bare_model(net)
        kind, number = type(bare).__name__, sum(parameter.numel() for parameter in bare.parameters())
        wrapped = '' if bare is net else f'{type(net).__name__} - '
        logger.info('Network: %s%s, with parameters: %s', wrapped, kind, f'{number:,d}')
        dump = logger.makeRecord(logger.name, logging.INFO, __file__, 0, '%s', (bare,), None)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler) and logger.isEnabledFor(logging.INFO):
                handler.handle(dump)

    BaseModel.print_network = print_network


def mend_training_progress() -> None:
    """Symptom: between two lines of the log nobody sees whether a training goes on, nor when it will be over."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.logger import MessageLogger

    stock_init, stock_call, stock_update = (
        MessageLogger.__init__,
        MessageLogger.__call__,
        BaseModel.update_learning_rate,
    )

    def init(self: Any, opt: dict[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
        """It is made when all else is built, just before the first iteration."""
        stock_init(self, opt, start_iter, tb_logger)
        end_training()
        # Without a terminal the lines of the log tell as much.
        bar = progress(int(opt['train']['total_iter']), 'training', 'step', initial=start_iter, lines=False)
        _training.append(bar.__enter__())

    def call(self: Any, log_vars: dict[str, Any]) -> None:
        if _training:
            losses = [name for name in log_vars if name.startswith('l_')]
            losses.sort(key=lambda name: name != 'l_kd')  # what a distillation is about stands first
            _training[-1].note(', '.join(f'{name} {log_vars[name]:.4f}' for name in losses[:2]))
        stock_call(self, log_vars)

    def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
        """What stock calls first in an iteration: those before it are done."""
        if _training:
            _training[-1].update(current_iter - 1 - _training[-1].done)
        stock_update(self, current_iter, warmup_iter)

    MessageLogger.__init__, MessageLogger.__call__ = init, call
    BaseModel.update_learning_rate = update_learning_rate


def end_training(last: int | None = None) -> None:
    """Take the bar of the training down; `last` is the number of the last iteration, where it came to its end."""
    while _training:
        bar = _training.pop()
        if last is not None:
            bar.update(last - bar.done)
        bar.__exit__(None, None, None)


class StockBar:
    """In the place of `tqdm` in stock's models.

    Symptom: stock draws its own bars, whose carriage returns fill log files, and whose lines are torn by what is
    logged.
    """

    def __init__(self, total: int, unit: str) -> None:
        self._progress = progress(total, 'validating', unit)
        self._progress.__enter__()

    def update(self, number: int = 1) -> None:
        self._progress.update(number)

    def set_description(self, text: str) -> None:
        """Stock tells which picture it was."""
        self._progress.note(text.removeprefix('Test '))

    def close(self) -> None:
        self._progress.__exit__(None, None, None)


def mend_validation_bars() -> None:
    """Have stock's models show `StockBar`s."""
    from basicsr.models import hifacegan_model, sr_model, video_base_model, video_recurrent_model

    for module in (hifacegan_model, sr_model, video_base_model, video_recurrent_model):
        module.tqdm = StockBar
