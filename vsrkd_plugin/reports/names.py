"""Names as a report shows them: of methods, and of files and data sets as text that every kind of file can hold."""

import re
from collections.abc import Mapping
from typing import Any

# Method → what it is called, in the order in which they are shown.
NAMES: Mapping[str, str] = {'bicubic': 'bicubic', 'teacher': 'teacher', 'student': 'student'}
ADAPTATION_NAMES: Mapping[str, str] = {**NAMES, 'teacher': 'not adapted', 'student': 'adapted'}

_UNFIT = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]')  # the last: of names that are not UTF-8


def printable(text: str) -> str:
    """The text without control characters and without what UTF-8 cannot hold; a mark stands in their place."""
    return _UNFIT.sub('\N{REPLACEMENT CHARACTER}', text)


def short_name(name: str, scale: int) -> str:
    """A data set's name without the `_x<scale>` that tells our options' entries apart."""
    return printable(name.removesuffix(f'_x{scale}'))


def names_of(report: Mapping[str, Any]) -> Mapping[str, str]:
    """The names of a report's methods; reports of older versions have none."""
    return report.get('names') or NAMES


def is_adaptation(report: Mapping[str, Any]) -> bool:
    """Whether what was trained is the very network that it is held against."""
    return names_of(report).get('student') == ADAPTATION_NAMES['student']


def titles(names: Mapping[str, str]) -> dict[str, str]:
    """Of all panels: LR first, HR last."""
    return {'lr': 'LR', **names, 'hr': 'HR'}
