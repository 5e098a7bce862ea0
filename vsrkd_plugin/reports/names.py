"""Names of files and data sets as text that every kind of file can hold."""

import re

_UNFIT = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]')  # the last: of names that are not UTF-8


def printable(text: str) -> str:
    """The text without control characters and without what UTF-8 cannot hold; a mark stands in their place."""
    return _UNFIT.sub('\N{REPLACEMENT CHARACTER}', text)


def short_name(name: str, scale: int) -> str:
    """A data set's name without the `_x<scale>` that tells our options' entries apart."""
    return printable(name.removesuffix(f'_x{scale}'))
