"""Options of a training for commands that make something of its networks without training."""

import argparse
import os
from typing import Any

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.preflight.networks import check_networks


def checked_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options file of `args`, validated, completed, its networks tried."""
    opt = load_options(args.opt, args.force_yml)
    validate(opt, True)
    complete(opt, os.path.abspath('.'), True)
    check_networks(opt)
    return opt
