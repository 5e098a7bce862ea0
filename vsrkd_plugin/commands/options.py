"""Options of a training for commands that make something of its networks without training."""

import argparse
import os
from typing import Any

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.networks import check_networks


def checked_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options file of `args`, validated, completed, its networks tried."""
    opt = load_options(args.opt, args.force_yml)
    validate(opt, True)
    complete(opt, os.path.abspath('.'), True)
    check_networks(opt)
    return opt


def distillation_plan(opt: dict[str, Any], command: str) -> DistillationPlan:
    """The plan of a distillation's options.

    Raises:
        UserError: options of another model.
    """
    if not Model.of(opt).distils:
        raise UserError(f'{command}: expected options of a DataFreeDistillationModel, got {opt["model_type"]}')
    return DistillationPlan.from_options(opt)
