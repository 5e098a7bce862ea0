"""`init`: an options file of the package copied into the current folder, to be changed; or the list of them."""

import argparse
import shutil
import sys
import textwrap
from pathlib import Path

from vsrkd_plugin.config.shipped import SCHEMA, as_copied, description, options_folder, shipped_options
from vsrkd_plugin.errors import UserError, nearest

_KINDS = {
    'dfkd': 'Distillation without data (vsrkd train -opt NAME):',
    'train': 'Training of teachers with data of yours (vsrkd train -opt NAME):',
    'usrda': 'Adaptation to a camera of which there are no pairs (vsrkd train -opt NAME):',
    'test': 'Test on data of yours (vsrkd test -opt NAME):',
}


def run(args: argparse.Namespace) -> int:
    """Copy `args.name` here, or list what there is; gives the exit status."""
    if args.name is None:
        print(listing(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    else:
        for line in copy_options(args.name, Path()):
            print(line)
    return 0


def listing(width: int | None = None) -> str:
    """The options files of the package, one a line, each with what it is for.

    Args:
        width: that lines are cut to, in characters; None for whole ones.
    """
    found = shipped_options()
    column = max(map(len, found)) + 2
    lines: list[str] = []
    for kind, title in _KINDS.items():
        lines += ['', title]
        for name, file in found.items():
            if name.partition('_')[0] == kind:
                text = description(file)
                if width is not None:
                    text = textwrap.shorten(text, max(20, width - column - 2), placeholder=' …')
                lines.append(f'  {name:<{column}}{text}')
    return '\n'.join(
        [*lines[1:], '', '`vsrkd init NAME` copies one here; dfkd_your_network.yml is for a teacher of yours.']
    )


def copy_options(name: str, folder: Path) -> list[str]:
    """Copy an options file of the package, and the schema by which editors check it, which it names.

    Args:
        name: `dfkd_vdsr.yml`, or without `.yml`.
        folder: where to; what is there stays as it is.

    Returns:
        What to tell: the files that were written, and what to do with them.

    Raises:
        UserError: no such file in the package; one of that name is there; it cannot be written.
    """
    known = shipped_options()
    wanted = name if name.endswith('.yml') else f'{name}.yml'
    if wanted not in known:
        alike = nearest(wanted, known)
        hint = f'; do you mean {alike}?' if alike else ''
        raise UserError(f'init {name}: no options file of the package{hint} (`vsrkd init` lists them)')
    _write_anew(as_copied(known[wanted].read_text(encoding='utf-8')), folder / wanted)
    schema, ours = folder / SCHEMA, (options_folder() / SCHEMA).read_text(encoding='utf-8')
    told = [f'{folder / wanted}: {description(known[wanted])}.']
    if not schema.exists():
        _write_anew(ours, schema)
        told.append(f'{schema}: by it editors with a YAML language server complete and check the options.')
    elif schema.read_text(encoding='utf-8', errors='replace') != ours:
        told.append(f'{schema}: is of another version, and was left as it is; delete it and call init again.')
    command = 'test' if wanted.startswith('test_') else 'train'
    return [*told, f'Change what you like, then: vsrkd {command} -opt {wanted}']


def _write_anew(text: str, file: Path) -> None:
    """A text file that was not there before; whole or not at all."""
    try:
        with open(file, 'x', encoding='utf-8') as opened:
            try:
                opened.write(text)
                opened.flush()
            except BaseException:
                file.unlink()
                raise
    except FileExistsError as error:
        raise UserError(f'{file}: is there already, and was left as it is') from error
    except OSError as error:
        raise UserError(f'{file}: cannot be written ({error.strerror})') from error
