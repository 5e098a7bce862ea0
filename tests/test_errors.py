"""What is said of an error: one line, whatever the error is."""

import pytest

from vsrkd_plugin.errors import first_line


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (ValueError('one\ntwo'), 'one'),
        (ValueError('\n\n  two  \nthree'), 'two'),
        (EOFError(), 'EOFError'),
        (KeyError(''), "KeyError ''"),
        (KeyError(101), 'KeyError 101'),
        (RuntimeError(' \n '), 'RuntimeError'),
        (ValueError('é' * 300), 'é' * 199 + '…'),
        (ValueError('é' * 200), 'é' * 200),
    ],
)
def test_first_line(error: BaseException, expected: str) -> None:
    assert first_line(error) == expected


def test_first_line_is_cut_where_it_is_asked() -> None:
    assert first_line(ValueError('abcdef'), limit=4) == 'abc…'
