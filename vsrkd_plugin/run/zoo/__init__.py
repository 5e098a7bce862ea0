"""Weights that come with the package, each beside its model card; options name them `zoo:NAME`."""

import difflib
import os
from pathlib import Path

from vsrkd_plugin.errors import UserError

PREFIX = 'zoo:'
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The names of the weights in the zoo."""
    return sorted(file.stem for file in _FOLDER.glob('*.pth'))


def resolve_weights(path: str | os.PathLike) -> Path:
    """A checkpoint's place on disk: `zoo:NAME` in the package, anything else a path (`~` expanded).

    Raises:
        UserError: the zoo has no weights of that name.
    """
    text = os.fspath(path)
    if not text.startswith(PREFIX):
        return Path(text).expanduser()
    name = text.removeprefix(PREFIX)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f'; did you mean {PREFIX}{near[0]}?' if near else ''
        raise UserError(f'{text}: no such weights in the zoo, which has {", ".join(names()) or "none"}{hint}')
    return _FOLDER / f'{name}.pth'
