"""From an experiment folder to its report: `basicsr report FOLDER`, and the end of every training."""

import json
import logging
import math
import os
import shlex
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.values import as_tuple
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.clips import evaluate_clips
from vsrkd_plugin.reports.complexity import Adapter, measure_complexity
from vsrkd_plugin.reports.evaluation import Evaluation, choose_crops, evaluate, metric_options
from vsrkd_plugin.reports.experiment import Experiment, fallback_scale, from_root, read_experiment
from vsrkd_plugin.reports.film import write_film
from vsrkd_plugin.reports.html import to_html
from vsrkd_plugin.reports.kept_outputs import KeptOutputs, drop_oldest, folder_of
from vsrkd_plugin.reports.likeness import on_made_images
from vsrkd_plugin.reports.names import printable, short_name
from vsrkd_plugin.reports.networks import build_networks, teacher_key
from vsrkd_plugin.reports.perceptual import Metric, load_metrics
from vsrkd_plugin.reports.picture import Curve, draw_report
from vsrkd_plugin.reports.student_files import write_student
from vsrkd_plugin.reports.telling import headline, is_bold
from vsrkd_plugin.reports.without_gt import evaluate_without_gt
from vsrkd_plugin.reports.writing import log_tables, to_json, to_markdown
from vsrkd_plugin.run.whole_files import write_text_atomically

logger = logging.getLogger('basicsr')
REPORT_FILES = ('report.html', 'report.md', 'report.json', 'report.png', 'report.mp4', 'report_clips.png')  # or some
MOST_OVER_TIME = 2  # lines of clips over time on the page
DIGITS = {'psnr': 4, 'ssim': 5, 'flicker': 4, 'agreement': 3, 'sharpness': 3, 'niqe': 3, 'sharpness_ratio': 4,
          'lpips': 4, 'dists': 4}  # fmt: skip


def make_report(folder: Path) -> dict[str, Any]:
    """Measure what a training made, and write `report.json`, `report.md`, `report.html`, `report.png` and a table
    in the log; and the student as files that tell what they hold.

    What its options name must be registered before.

    Args:
        folder: the experiment's: `options.yml`, `models/net_g_latest.pth` (or `net_g_<iteration>.pth`), and perhaps
            `metrics.jsonl` and `training.json`.

    Returns:
        The report: `results`, `complexity` and `training`, as in `report.json`.

    Raises:
        UserError: the folder lacks something, its data or weights cannot be read, or it cannot be written.
    """
    experiment = read_experiment(Path(folder))
    opt = experiment.options
    device = _device(opt)
    shown = build_networks(experiment, device)
    networks = shown.networks

    of_results, of_made = (networks | _keeping(experiment, networks, rounded) for rounded in (True, False))
    evaluation = Evaluation()
    perceptual = {} if _is_video(opt) else load_metrics(device, experiment.notes)
    curves = []
    measured: list[dict[str, Any]] = []
    for dataset_opt in _validation_sets(opt):
        outcome = _evaluate(opt, dataset_opt, of_results, device, perceptual)
        evaluation.extend(outcome)
        if outcome.results:
            measured.append(dataset_opt | {'scale': outcome.results[0]['scale']})
            curves += _curve(experiment, dataset_opt, outcome, shown.names)

    of_images = {method: network for method, network in of_made.items() if isinstance(network, ImageSRAdapter)}
    made = []
    if {'teacher', 'student'} <= of_images.keys():
        pair = {method: of_images[method] for method in ('teacher', 'student')}
        scales = as_tuple(opt.get('scales') or (opt['scale'] if Model.of(opt).adapts else None))
        made = [_rounded(on_made_images(pair, scale, device)) for scale in scales]
    _tell_kept(experiment, of_results, of_made)
    logger.info('Report: measuring the cost of the networks')
    first: dict[str, Any] = measured[0] if measured else {'scale': fallback_scale(opt)}
    complexity = measure_complexity(networks, int(first['scale']), device, first.get('interpolate', False))
    results = [
        _rounded(result) | ({'frames': _rounded(result['frames'])} if 'frames' in result else {})
        for result in evaluation.results
    ]
    report = json.loads(
        to_json({
            'results': results, 'made': made, 'complexity': complexity, 'training': experiment.training,
            'names': shown.names,
        })
    )  # fmt: skip  # so that what is returned is what is written

    name = printable(str(opt.get('name', experiment.folder.name)))
    try:
        _write(experiment, name, report, shown.described, evaluation, curves)
        write_student(experiment.folder, opt, networks['student'], report)
    except OSError as error:
        raise UserError(f'{experiment.folder}: the report cannot be written there ({error.strerror})') from error
    log_tables(report, name)
    logger.info(
        'Report written: %s, and %s for a browser', experiment.folder / 'report.md', experiment.folder / 'report.html'
    )
    return report


def _write(
    experiment: Experiment,
    name: str,
    report: dict[str, Any],
    described: dict[str, str],
    evaluation: Evaluation,
    curves: list[Curve],
) -> None:
    """The report's files into the experiment's folder."""
    folder, notes = experiment.folder, experiment.notes
    command = f'basicsr report {shlex.quote(_shown_folder(experiment))}'
    write_text_atomically(to_json(report), folder / 'report.json')
    film = write_film(folder, evaluation.films, report['names'])
    page = to_markdown(report, name, described, command, notes, film.name if film else None)
    write_text_atomically(page, folder / 'report.md')
    windows, over_time = choose_crops(evaluation.windows), choose_crops(evaluation.over_time, MOST_OVER_TIME)
    page = to_html(report, name, described, command, notes, windows, over_time, curves, film)
    write_text_atomically(page, folder / 'report.html')
    subtitle = headline(report, described).rstrip('.')
    crops, bold = choose_crops(evaluation.crops), is_bold(report)
    draw_report(folder / 'report.png', name, subtitle, crops, curves, bold, report['names'])


def _keeping(experiment: Experiment, networks: dict[str, Adapter], rounded: bool) -> dict[str, Adapter]:
    """The teacher of images, its outputs kept for the next report; nothing of an experiment without one."""
    teacher, opt = networks.get('teacher'), experiment.options
    if not isinstance(teacher, ImageSRAdapter):
        return {}
    key = teacher_key(opt)
    options = (opt[key], opt.get(key.replace('network_', 'contract_')))
    return {'teacher': KeptOutputs(teacher, options, folder_of(experiment.folder), rounded)}


def _tell_kept(experiment: Experiment, *networks: dict[str, Adapter]) -> None:
    kept = [found['teacher'] for found in networks if isinstance(found.get('teacher'), KeptOutputs)]
    if count := sum(network.found for network in kept if isinstance(network, KeptOutputs)):
        logger.info("Report: the teacher's results of %d images were there, in %s", count, folder_of(experiment.folder))
    drop_oldest(folder_of(experiment.folder))


def _evaluate(
    opt: dict[str, Any],
    dataset_opt: dict[str, Any],
    networks: dict[str, Adapter],
    device: torch.device,
    perceptual: dict[str, Metric],
) -> Evaluation:
    samples, metrics = _build_dataset(dataset_opt), metric_options(opt.get('val'))
    if _is_video(opt):
        of_clips = {method: network for method, network in networks.items() if isinstance(network, VideoSRAdapter)}
        return evaluate_clips(samples, dataset_opt, of_clips, metrics, device)
    of_images = {method: network for method, network in networks.items() if isinstance(network, ImageSRAdapter)}
    first = samples[0] if len(samples) else {}
    if 'lq' not in first:
        logger.info('Report: data set %s is left out, it has no LR images', dataset_opt.get('name'))
        return Evaluation()
    if 'gt' not in first and first['lq'].ndim == 3:
        return evaluate_without_gt(samples, dataset_opt, of_images, device, fallback_scale(opt))
    niqe = True if Model.of(opt).adapts else None
    return evaluate(samples, dataset_opt, of_images, metrics, device, perceptual, niqe)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Metrics, or lists of them by frame, with as many digits as they are worth."""

    def short(value: Any, digits: int) -> Any:
        return [round(v, digits) for v in value] if isinstance(value, list) else round(value, digits)

    return values | {key: short(values[key], digits) for key, digits in DIGITS.items() if values.get(key) is not None}


def _device(opt: dict[str, Any]) -> torch.device:
    wanted = opt.get('num_gpu', 0) not in (0, None) and torch.cuda.is_available()
    return torch.device('cuda', torch.cuda.current_device()) if wanted else torch.device('cpu')


def _is_video(opt: dict[str, Any]) -> bool:
    return Model.of(opt).is_video


def _validation_sets(opt: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {'name': key, 'phase': 'val'}
        | {k: from_root(v, opt) if k.startswith('dataroot_') else deepcopy(v) for k, v in dataset.items()}
        for key, dataset in (opt.get('datasets') or {}).items()
        if key.startswith('val') and isinstance(dataset, dict)
    ]


def _build_dataset(dataset_opt: dict[str, Any]) -> Any:
    from basicsr.utils.registry import DATASET_REGISTRY

    dataset_opt = deepcopy(dataset_opt)
    try:
        return DATASET_REGISTRY.get(dataset_opt['type'])(dataset_opt)
    except (KeyError, OSError, AssertionError) as error:
        reason = str(error).strip('"\'')
        raise UserError(f'options.yml, datasets, {dataset_opt["name"]}: cannot be built: {reason}') from error


def _curve(
    experiment: Experiment, dataset_opt: dict[str, Any], outcome: Evaluation, names: Mapping[str, str]
) -> list[Curve]:
    """The curve of a data set; none if it was never validated on."""
    metrics = (experiment.options.get('val') or {}).get('metrics') or {}
    key = next((name for name, metric in metrics.items() if metric.get('type') == 'calculate_psnr'), 'psnr')
    by_iteration = experiment.validations.get(dataset_opt['name'], {})
    points = [(i, values[key]) for i, values in by_iteration.items() if math.isfinite(values.get(key, math.nan))]
    if not points:
        return []
    scale = outcome.results[0]['scale']
    others = [result for result in outcome.results if result['method'] != 'student' and result['psnr'] is not None]
    levels = {result['method']: result['psnr'] for result in others if math.isfinite(result['psnr'])}
    return [Curve(f'{short_name(dataset_opt["name"], scale)} x{scale}', points, levels, names)]


def _shown_folder(experiment: Experiment) -> str:
    """The folder's path relative to the training's root, if it lies below it."""
    folder, root = experiment.folder.resolve(), experiment.options.get('root_path')
    if root and folder.is_relative_to(Path(root).resolve()):
        return os.fspath(folder.relative_to(Path(root).resolve()))
    return str(folder)
