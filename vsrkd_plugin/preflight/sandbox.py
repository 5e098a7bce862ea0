"""Trying what options name without a trace: building it, telling in one line why that fails, leaving all as it was."""

import logging
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vsrkd_plugin.config.registries import registered
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.run.progress import shown
from vsrkd_plugin.run.training_states import newest_state


@contextmanager
def unnoticed() -> Iterator[None]:
    """Keep random states, logging and warnings as they are; tell of no progress.

    A network that logs while it is built would set up BasicSR's logger too early, and the run would have no log file.
    """
    from basicsr.utils import logger as basicsr_logger

    log = logging.getLogger('basicsr')
    ready, handlers, propagate = dict(basicsr_logger.initialized_logger), list(log.handlers), log.propagate
    disabled, numpy_state, python_state = logging.root.manager.disable, np.random.get_state(), random.getstate()
    logging.disable(logging.CRITICAL)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), shown(False):
            warnings.simplefilter('ignore')  # whatever there is to say is said when the run builds them
            yield
    finally:
        logging.disable(disabled)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        basicsr_logger.initialized_logger.clear()
        basicsr_logger.initialized_logger.update(ready)
        log.handlers[:], log.propagate = handlers, propagate


def build_or_tell(build: Callable[..., Any], arguments: dict[str, Any], place: str) -> Any:
    """What `build` makes of a copy of `arguments`.

    Raises:
        UserError: it cannot; `place` names the key of the options.
    """
    try:
        return build(**deepcopy(arguments))
    except Exception as error:  # whatever a constructor raises, the options are what is wrong
        raise UserError(f'{place}: {build.__name__} cannot be built: {first_line(error)}') from error


def split_type(options: dict[str, Any], what: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What is registered as the `type` of `options` among the networks, losses or data sets; and the other options."""
    arguments = {key: value for key, value in options.items() if key != 'type'}
    return registered(what, options['type'], f'{what}, type'), arguments


def resumes(opt: dict[str, Any]) -> bool:
    """Whether a training goes on from a state that is there."""
    if not opt['is_train']:
        return False
    return bool(opt['path'].get('resume_state')) or (
        opt['auto_resume'] and newest_state(Path(opt['path']['training_states'])) is not None
    )
