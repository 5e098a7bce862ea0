"""What validation, a test and the report will do with each data set, tried beforehand.

Without it a data set that does not suit the networks is met at the first validation, or in the report: after hours.
"""

import inspect
from typing import Any

import numpy as np
from torch import nn

from vsrkd_plugin.config.registries import Model, find_registered
from vsrkd_plugin.errors import UserError, unexpected
from vsrkd_plugin.metrics.clips import BORDER
from vsrkd_plugin.metrics.means import measure
from vsrkd_plugin.preflight.clip_trials import clips_of, try_clips
from vsrkd_plugin.preflight.data_sets import DataSets, roots_are_there
from vsrkd_plugin.preflight.image_trials import Images, images_of, try_report, try_validation
from vsrkd_plugin.preflight.trial import Trial, described

_STOCK_MODEL = 'SRModel'


def check_validation(opt: dict[str, Any], networks: dict[str, nn.Module], data_sets: DataSets) -> None:
    """Try every data set for validation or test with the networks that it will be put through, and the metrics.

    Data sets and models that are neither ours nor BasicSR's are not tried; a folder that is not there is told elsewhere
    (`check_files`). To be called where random states and warnings are taken care of (`unnoticed`).

    Args:
        opt: options that passed `validate` and `complete`.
        networks: by key (`network_g`, `network_t`), built as the run builds them.
        data_sets: those of the options.

    Raises:
        UserError: a data set does not suit a network, or a metric cannot be calculated.
    """
    model = Model.of(opt)
    if not _validates_as_known(model):
        return
    validates = not opt['is_train'] or bool(opt.get('val'))
    shown = ('network_t', 'network_g', *(f'network_{label}' for label in opt.get('compare') or []))
    in_report = [key for key in shown if key in networks and opt['is_train']]
    reports: list[tuple[Trial, Images]] = []
    for phase, options in opt['datasets'].items():
        place = f'datasets, {phase}'
        if phase.split('_')[0] == 'train' or data_sets.cls(phase) is None or not roots_are_there(options, place):
            continue
        trials = {key: Trial(place, options, key, networks[key], opt[key]) for key in ('network_g', *in_report)}
        if model.is_video:
            if clips := clips_of(data_sets, phase, place):
                for trial in trials.values():
                    try_clips(trial, clips)
        elif images := images_of(data_sets, phase, place):
            if validates:
                try_validation(trials['network_g'], images, model.name != _STOCK_MODEL)
                _check_borders(opt, images, place)
            for key in in_report:
                # Of the student validation has tried the other sizes.
                reports.append((trials[key], images.first if validates and key == 'network_g' else images))
    for trial, images in reports:  # behind: the report pads for stock SRModel's networks too, whose validation does not
        try_report(trial, images)
    if validates:
        _check_metrics(opt, model)


def _check_borders(opt: dict[str, Any], images: Images, place: str) -> None:
    """Something is left of an image when the borders are cut off; of none at all every mean would be nan."""
    factor = images.factors[0] if images.factors else images.scale or 1
    sides = [factor * min(size) for size in images.sizes]
    for name, metric in ((opt.get('val') or {}).get('metrics') or {}).items():
        border = metric.get('crop_border')
        if isinstance(border, int) and sides and 2 * border >= max(sides):
            cut = f'cuts off {border} pixels at each edge, but images of {place} have {max(sides)}'
            raise UserError(f'val, metrics, {name}, crop_border: {cut}; expected less than half of it')


def _validates_as_known(model: Model) -> bool:
    """Whether the model is one of ours, stock SRModel, or a user's that inherits how one of ours validates."""
    known = find_registered('model', model.kind)
    if known is None or not (model.ours or model.name == _STOCK_MODEL):
        return False
    return all(getattr(model.cls, name) is getattr(known, name) for name in ('feed_data', 'test', 'nondist_validation'))


def _check_metrics(opt: dict[str, Any], model: Model) -> None:
    """Calculate BasicSR's PSNR and SSIM as the options say; other metrics may load a network."""
    metrics = (opt.get('val') or {}).get('metrics') or {}
    filled_in = {} if model.name == _STOCK_MODEL else {'crop_border': BORDER}
    image = np.arange(48 * 48 * 3).reshape(48, 48, 3).astype(np.uint8)
    for name, options in metrics.items():
        border = options.get('crop_border', 0)
        if not isinstance(border, int) or isinstance(border, bool) or border < 0:
            raise UserError(f'val, metrics, {name}, crop_border: {unexpected("a whole number >= 0", border)}')
        metric = find_registered('metric', options['type'])
        if inspect.isfunction(metric) and metric.__module__ == 'basicsr.metrics.psnr_ssim':
            try:
                measure(image, image[::-1].copy(), {**filled_in, **options})
            except Exception as error:  # whatever a metric raises of its options, validation would meet it
                text = f'val, metrics, {name}: {options["type"]} cannot be calculated: {described(error)}'
                raise UserError(text) from error
