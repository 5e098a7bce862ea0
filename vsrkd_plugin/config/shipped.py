"""The options files that come with the package: found by their names where no such file is there."""

import os
import re
import sys
from pathlib import Path

from vsrkd_plugin.errors import UserError, nearest

SCHEMA = 'vsrkd_options.schema.json'  # by which editors check them; named in their first lines, without a folder
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / 'options', _PACKAGE.parent / 'options')  # of an installed package; of a checkout


def options_folder() -> Path:
    """The folder of the options files and their schema.

    Raises:
        UserError: there is none, so the package is not whole.
    """
    for folder in _FOLDERS:
        if (folder / SCHEMA).is_file():
            return folder
    raise UserError(f'{_FOLDERS[0]}: the options files of the package are gone; install vsrkd_plugin again')


def shipped_options() -> dict[str, Path]:
    """The options files, by their names (`dfkd_vdsr.yml`), in the order of the alphabet."""
    return {file.name: file for file in sorted(options_folder().glob('*.yml'))}


def description(file: Path) -> str:
    """What an options file is for: the first sentence of the comment at its top."""
    words: list[str] = []
    for line in file.read_text(encoding='utf-8').splitlines():
        if line.startswith('# yaml-language-server'):
            continue
        if not re.match('# [^ ]', line):
            break
        words.append(line.removeprefix('# '))
    return re.split(r'\.(?= [A-Z])|\.$', as_copied(' '.join(words)), maxsplit=1)[0]


def as_copied(text: str) -> str:
    """An options file's text as it stands in a user's folder, where the files that it names are not in `options/`."""
    return re.sub(r'\boptions/(\w+\.yml)', r'\1', text)


def find_options_file(path: str) -> Path:
    """The file at `path`; where there is none, the one of that name that comes with the package, which is said.

    A name may lack `.yml`, or have `options/` in front, as documentation writes it.

    Raises:
        UserError: neither is there.
    """
    file = Path(path)
    if os.path.lexists(file):
        return file
    name, known = f'{re.sub(r"[.]ya?ml$", "", file.name)}.yml', shipped_options()
    by_name = file.parent in (Path('.'), Path('options'))
    if by_name and os.path.lexists(name):  # it may have been changed: not the package's one instead
        raise UserError(f'{path}: no such options file; there is {name} in this folder')
    if by_name and name in known:
        if int(os.environ.get('RANK') or 0) == 0:
            print(f'{path} is not in this folder: taking the one of the package, {known[name]}', file=sys.stderr)
        return known[name]
    alike = name if name in known else nearest(name, known)
    hint = f'; the package has {alike} (-opt {alike})' if alike else '; `vsrkd init` lists those of the package'
    raise UserError(f'{path}: no such options file{hint}')
