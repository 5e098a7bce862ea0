"""The data sets of the options, for every check that looks at them."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from vsrkd_plugin.config.registries import find_registered
from vsrkd_plugin.data.images import BUNDLED
from vsrkd_plugin.errors import UserError, unexpected


class DataSets:
    """Builds each data set once, so that what one check has decoded another need not decode again.

    Args:
        options: those of `datasets`.
    """

    def __init__(self, options: Mapping[str, dict[str, Any]]) -> None:
        self.options = options
        self._built: dict[str, Any] = {}

    def cls(self, phase: str) -> Any:
        """The class of a data set; None of one that is not registered."""
        return find_registered('data set', self.options[phase]['type'])

    def build(self, phase: str) -> Any:
        """A data set, of a copy of its options. Raises whatever its constructor raises."""
        if phase not in self._built:
            self._built[phase] = self.cls(phase)(deepcopy(self.options[phase]))
        return self._built[phase]


def roots_of(options: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """The keys `dataroot…` of a data set, each with a folder; several times where there is a list of them.

    What is bundled has no folder and is left out.

    Args:
        options: of the data set.
        place: of the data set in the options (`datasets, val`), for errors.

    Raises:
        UserError: neither text nor a list of it.
    """
    for key, value in options.items():
        if not key.startswith('dataroot') or value is None:
            continue
        roots = value if isinstance(value, list) else [value]
        if not all(isinstance(root, str) for root in roots):
            raise UserError(f'{place}, {key}: {unexpected("a folder, or a list of folders", value)}')
        yield from ((key, root) for root in roots if root != BUNDLED)


def roots_are_there(options: Mapping[str, Any], place: str) -> bool:
    """Whether the data set's folders are there and not empty. Raises as `roots_of` does."""
    folders = [Path(root).expanduser() for _, root in roots_of(options, place)]
    return all(folder.is_dir() and any(True for _ in folder.iterdir()) for folder in folders)
