"""`inspect`: what a checkpoint is, as a teacher; what degrades pictures."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from vsrkd_plugin.config.validating import checked_contract
from vsrkd_plugin.data.lr_images import read_own_lr_images
from vsrkd_plugin.errors import UserError, first_line
from vsrkd_plugin.inspection.blur_spectrum import WINDOW
from vsrkd_plugin.inspection.describing import in_words
from vsrkd_plugin.inspection.describing_inputs import inputs_in_words
from vsrkd_plugin.inspection.inputs import DegradationEstimate, estimate_degradation
from vsrkd_plugin.inspection.teacher import Inspection, inspect_teacher
from vsrkd_plugin.preflight.sandbox import unnoticed


def run(args: argparse.Namespace) -> int:
    """Print what `args.teacher` is, and what degrades the pictures in `args.inputs`; gives the exit status.

    Raises:
        UserError: neither is given; the teacher, or the pictures, cannot be read.
    """

    def say(text: str) -> None:
        print(f'inspect: {text} …', file=sys.stderr, flush=True)

    if args.teacher is None and args.inputs is None:
        raise UserError('inspect: expected TEACHER (a checkpoint), --inputs FOLDER (LR pictures), or both')
    # Pictures first: a folder that cannot be read is told before a teacher has been measured.
    pictures = None if args.inputs is None else estimated(args.inputs, say)
    teacher = None if args.teacher is None else inspected(args, say)
    if args.json:
        told = {} if teacher is None else teacher.as_json()
        if pictures is not None:
            told = {**told, 'inputs': {'path': args.inputs, **pictures.as_json()}}
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    if teacher is not None:
        print(in_words(teacher))
    if pictures is not None:
        print(inputs_in_words(args.inputs, pictures))
    return 0


def estimated(folder: str, say: Callable[[str], None]) -> DegradationEstimate:
    """What degrades the pictures in a folder and in those in it; those that cannot be read are told and left out."""
    say(f'reading {folder}')
    # Of no scale: any that is as large as an estimate needs.
    images = read_own_lr_images(folder, {1: WINDOW}, 3, seed=0, key='--inputs')
    return estimate_degradation(images, say)


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
