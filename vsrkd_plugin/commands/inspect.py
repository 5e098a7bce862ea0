"""`inspect`: what a checkpoint is, as a teacher."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from vsrkd_plugin.config.validating import checked_contract
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.inspection.describing import in_words
from vsrkd_plugin.inspection.teacher import Inspection, inspect_teacher
from vsrkd_plugin.preflight.sandbox import unnoticed


def run(args: argparse.Namespace) -> int:
    """Print what `args.teacher` is; gives the exit status."""
    found = inspected(args, lambda text: print(f'inspect: {text} …', file=sys.stderr, flush=True))
    print(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if args.json else in_words(found))
    return 0


def inspected(args: argparse.Namespace, say: Any) -> Inspection:
    """The inspection of `args.teacher` by `args.network`, `args.contract` and `args.allow_restoration`."""
    with unnoticed():
        return inspect_teacher(args.teacher, *named(args), args.allow_restoration, say)


def named(args: argparse.Namespace) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The network and its contract, as `args.network` and `args.contract` say; None where they do not."""
    network = named_network(args.network) if args.network else None
    contract = checked_contract(parsed(args.contract, '--contract'), '--contract') if args.contract else None
    return network, contract


def named_network(text: str) -> dict[str, Any]:
    """`TYPE`, or `{type: TYPE, num_feat: 32}`."""
    return dict(parsed(text, '--network')) if text.lstrip().startswith('{') else {'type': text}


def parsed(text: str, argument: str) -> Mapping[str, Any]:
    """YAML of one line, `{key: value}`.

    Raises:
        UserError: it is none.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f'{argument}: cannot be read ({first_line(error)})') from error
    if not isinstance(found, dict):
        raise UserError(f'{argument}: expected {{key: value}}, got {text}')
    return found
