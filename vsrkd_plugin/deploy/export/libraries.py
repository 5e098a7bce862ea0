"""Libraries that only some targets need, imported when they are asked for."""

import importlib
from types import ModuleType

from vsrkd_plugin.errors import UserError


def required(name: str, extra: str) -> ModuleType:
    """A library of an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition('.')[0]:
            raise
        raise UserError(f"needs the library {name}: pip install 'vsrkd_plugin[{extra}]'") from error
