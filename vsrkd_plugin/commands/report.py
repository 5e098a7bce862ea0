"""`report`: an experiment's report made again, or several experiments compared."""

import argparse
import logging
from pathlib import Path

from vsrkd_plugin.reports.comparing import compare_experiments, is_collection
from vsrkd_plugin.reports.folder import make_report


def run(args: argparse.Namespace) -> int:
    """Report on `args.folder`; gives the exit status."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    folder = Path(args.folder)
    if is_collection(folder):
        compare_experiments(folder)
    else:
        make_report(folder)
    return 0
