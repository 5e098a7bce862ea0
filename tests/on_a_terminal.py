"""Running commands as a person sees them: on a pseudo-terminal; and what a terminal would then show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_on_a_terminal(line: list[str], folder: Path, columns: int = 100) -> tuple[int, str]:
    """Exit status and all that a command writes, stdout and stderr on one terminal."""
    if sys.platform == 'win32':
        pytest.skip('Windows has no pseudo-terminals')
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 40, columns, 0, 0))
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'TERM': 'xterm'}
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=folder, env=env)
    os.close(theirs)
    written = b''
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(timeout=120), written.decode()


def as_shown(written: str) -> list[str]:
    """The lines that a terminal holds in the end, of text with carriage returns and the cursor moved up."""
    lines, row, column = [''], 0, 0
    position = 0
    while position < len(written):
        char = written[position]
        position += 1
        if char == '\r':
            column = 0
        elif char == '\n':
            row, column = row + 1, column
            if row == len(lines):
                lines.append('')
        elif written.startswith('[A', position) and char == '\x1b':
            row, position = max(0, row - 1), position + 2
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + char + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
