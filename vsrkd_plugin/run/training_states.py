"""Training states, `<iteration>.state`: which there are, and what can be gone on from."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.run.torch_files import refuse_all_but_zip

_CONTENT = {'epoch': int, 'iter': int, 'optimizers': list, 'schedulers': list}  # of each state; models add more


def numbered_states(folder: Path) -> list[tuple[int, Path]]:
    """The files of an experiment that are named like a training state, newest first, by the iteration in the name."""
    states = [(int(file.stem), file) for file in folder.glob('*.state') if file.stem.isdecimal()]
    return sorted(states, reverse=True)


def share_of(state: Path, rank: int) -> Path:
    """Where a process that is not the first keeps what only it knows, beside a training state."""
    return state.with_suffix(f'.rank{rank}')


def read_share(state: Path, rank: int, processes: int) -> dict[str, Any]:
    """The share of a process.

    Raises:
        UserError: there is none, it cannot be read, or it is of another number of processes.
    """
    file = share_of(state, rank)
    if not file.is_file():
        raise UserError(f'{file} is not there')
    content = _read(file)
    if not isinstance(content, dict) or content.get('processes') != processes:
        raise UserError(f'{file} is not of {processes} processes')
    return content


def read_state(file: Path) -> dict[str, Any]:
    """A training state, on the CPU: `load_state_dict` moves what belongs elsewhere. No code of the file runs.

    Raises:
        UserError: no such file, not readable, or not a training state.
    """
    if not file.is_file():
        raise UserError(f'{file}: no such training state')
    state = _read(file)
    content = state if isinstance(state, dict) else {}
    if wrong := [key for key, kind in _CONTENT.items() if not isinstance(content.get(key), kind)]:
        raise UserError(f'{file}: is not a training state, it has no {", ".join(wrong)}')
    return content


def _read(file: Path) -> Any:
    try:
        refuse_all_but_zip(file)
        return torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:  # of torch, with advice of many lines to run the file
        raise UserError(f'{file}: cannot be read, it holds more than numbers, texts and tensors') from error
    except Exception as error:  # whatever else a broken file makes torch raise
        raise UserError(f'{file}: cannot be read ({first_line(error)})') from error


def newest_state(folder: Path, tell: Callable[[str], None] = lambda line: None) -> tuple[Path, dict[str, Any]] | None:
    """The newest training state of an experiment that can be gone on from; None where there is none.

    Whoever asks whether there is a state asks here, so that there is one answer.

    Args:
        folder: `training_states` of an experiment; need not exist.
        tell: called with one line for each file that is skipped: which, and why.
    """
    for file in sorted(folder.glob('*.state')):
        if not file.stem.isdecimal():
            tell(f'Skip {file}: not named <iteration>.state')
    for _, file in numbered_states(folder):
        try:
            return file, read_state(file)
        except UserError as error:
            tell(f'Skip {error}')
    return None
