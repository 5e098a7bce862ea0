"""`export`: a model as a file for another runtime, verified there."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from vsrkd_plugin import __version__
from vsrkd_plugin.commands.inspect import named
from vsrkd_plugin.deploy.export.exporting import Request, export
from vsrkd_plugin.deploy.export.table import in_words
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.preflight.sandbox import unnoticed
from vsrkd_plugin.run.whole_files import check_writable


def run(args: argparse.Namespace) -> int:
    """Write the file of `args`, print what it costs; gives the exit status."""

    def say(text: str) -> None:
        print(f'export: {text} …', file=sys.stderr, flush=True)

    precision = 'int8' if args.int8 else 'fp16' if args.fp16 else 'fp32'
    request = Request(
        args.to, Path(args.o).expanduser() if args.o else None, precision, args.scale, args.rgb, args.tune
    )
    if request.path:
        check_writable(request.path.parent, f'-o {request.path}')
    with unnoticed():
        model = open_model(args.model, *named(args), say)
        model = replace(model, header=replace(model.header, version=__version__))
        path, rows = export(model, request, say)
    luma = model.header.channels == 1 and not args.rgb
    print(f'{path}: verified; takes {"Y" if luma else "RGB"} in [0, 1]\n')
    print(in_words(rows, args.scale or model.header.scales[0]))
    return 0
