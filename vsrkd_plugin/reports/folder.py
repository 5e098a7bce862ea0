"""From an experiment folder to its report: `basicsr report FOLDER`, and the end of every training."""

import json
import logging
import math
import os
import shlex
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import input_channels
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.adapters.video_sr import VideoSRAdapter
from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.data.images import BUNDLED
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.clips import evaluate_clips
from vsrkd_plugin.reports.complexity import LR_SIDE, Adapter, measure_complexity
from vsrkd_plugin.reports.evaluation import Evaluation, choose_crops, evaluate, metric_options
from vsrkd_plugin.reports.experiment import Experiment, read_experiment
from vsrkd_plugin.reports.film import write_film
from vsrkd_plugin.reports.html import to_html
from vsrkd_plugin.reports.kept_outputs import KeptOutputs, drop_oldest, folder_of
from vsrkd_plugin.reports.likeness import on_made_images
from vsrkd_plugin.reports.names import printable, short_name
from vsrkd_plugin.reports.perceptual import Metric, load_metrics
from vsrkd_plugin.reports.picture import Curve, draw_report
from vsrkd_plugin.reports.student_files import write_student
from vsrkd_plugin.reports.telling import headline, is_bold
from vsrkd_plugin.reports.writing import log_tables, to_json, to_markdown
from vsrkd_plugin.run.checkpoints import load_weights, weights_are_there, write_text_atomically

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
    networks, described = _build_networks(experiment, device)

    of_results, of_made = (networks | _keeping(experiment, networks, rounded) for rounded in (True, False))
    evaluation = Evaluation()
    perceptual = {} if _is_video(opt) else load_metrics(device, experiment.notes)
    curves = []
    shown: list[dict[str, Any]] = []
    for dataset_opt in _validation_sets(opt):
        outcome = _evaluate(opt, dataset_opt, of_results, device, perceptual)
        evaluation.extend(outcome)
        if outcome.results:
            shown.append(dataset_opt | {'scale': outcome.results[0]['scale']})
            curves += _curve(experiment, dataset_opt, outcome)

    of_images = {method: network for method, network in of_made.items() if isinstance(network, ImageSRAdapter)}
    made = []
    if of_images.keys() == {'teacher', 'student'}:
        made = [_rounded(on_made_images(of_images, scale, device)) for scale in opt.get('scales') or []]
    _tell_kept(experiment, of_results, of_made)
    logger.info('Report: measuring the cost of the networks')
    first: dict[str, Any] = shown[0] if shown else {'scale': _fallback_scale(opt)}
    complexity = measure_complexity(networks, int(first['scale']), device, first.get('interpolate', False))
    results = [
        _rounded(result) | ({'frames': _rounded(result['frames'])} if 'frames' in result else {})
        for result in evaluation.results
    ]
    report = json.loads(
        to_json({'results': results, 'made': made, 'complexity': complexity, 'training': experiment.training})
    )  # so that what is returned is what is written

    name = printable(str(opt.get('name', experiment.folder.name)))
    try:
        _write(experiment, name, report, described, evaluation, curves)
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
    film = write_film(folder, evaluation.films)
    page = to_markdown(report, name, described, command, notes, film.name if film else None)
    write_text_atomically(page, folder / 'report.md')
    windows, over_time = choose_crops(evaluation.windows), choose_crops(evaluation.over_time, MOST_OVER_TIME)
    page = to_html(report, name, described, command, notes, windows, over_time, curves, film)
    write_text_atomically(page, folder / 'report.html')
    subtitle = headline(report, described).rstrip('.')
    draw_report(folder / 'report.png', name, subtitle, choose_crops(evaluation.crops), curves, is_bold(report))


def _keeping(experiment: Experiment, networks: dict[str, Adapter], rounded: bool) -> dict[str, Adapter]:
    """The teacher of images, its outputs kept for the next report; nothing of an experiment without one."""
    teacher, opt = networks.get('teacher'), experiment.options
    if not isinstance(teacher, ImageSRAdapter):
        return {}
    key = _teacher_key(opt)
    options = (opt[key], opt.get(f'contract_{key[-1]}'))
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
    return evaluate(samples, dataset_opt, of_images, metrics, device, perceptual)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Metrics, or lists of them by frame, with as many digits as they are worth."""

    def short(value: Any, digits: int) -> Any:
        return [round(v, digits) for v in value] if isinstance(value, list) else round(value, digits)

    return values | {key: short(values[key], digits) for key, digits in DIGITS.items() if key in values}


def _device(opt: dict[str, Any]) -> torch.device:
    wanted = opt.get('num_gpu', 0) not in (0, None) and torch.cuda.is_available()
    return torch.device('cuda', torch.cuda.current_device()) if wanted else torch.device('cpu')


def _is_video(opt: dict[str, Any]) -> bool:
    return Model.of(opt).is_video


def _build_networks(experiment: Experiment, device: torch.device) -> tuple[dict[str, Adapter], dict[str, str]]:
    """Teacher (if there was one) and student, and a description of each."""
    opt, paths = experiment.options, experiment.options.get('path') or {}
    networks, described = {}, {}
    key = _teacher_key(opt)
    label = key.removeprefix('network_')
    weights = paths.get(f'pretrain_network_{label}')
    stored = ((opt.get('synthesis') or {}).get('bank') or {}).get('path')
    if stored and not (weights and weights_are_there(_from_root(weights, opt))):
        logger.info('Report: without the teacher; stored banks stood for it, and its weights are not there')
    elif Model.of(opt).adapts and not (weights and weights_are_there(_from_root(weights, opt))):
        logger.info('Report: without the network before the adaptation; it started at random, or its weights are gone')
    elif opt.get(key):
        if not weights:
            raise UserError(f'{experiment.folder / "options.yml"}: network_t, but no path, pretrain_network_t')
        weights = _from_root(weights, opt)
        param_key, strict = paths.get(f'param_key_{label}'), paths.get(f'strict_load_{label}', True)
        networks['teacher'] = _build_network(opt, key, weights, param_key, strict)
        if Model.of(opt).adapts:
            experiment.notes.append(
                'The teacher in this report is the network before the adaptation, the student the adapted one.'
            )
    networks['student'] = _build_network(opt, 'network_g', str(experiment.student_file), None, True)
    for role, options in (('teacher', opt.get(key)), ('student', opt['network_g'])):
        if role in networks and options:
            settings = ', '.join(f'{k}={v}' for k, v in options.items() if k not in ('type', 'precision', 'start'))
            described[role] = f'{options["type"]}({settings})'
            networks[role].to(device).eval()
    return networks, described


def _teacher_key(opt: dict[str, Any]) -> str:
    """The options of what the trained network is held against: of an adaptation, itself before."""
    return 'network_g' if Model.of(opt).adapts else 'network_t'


def _build_network(opt: dict[str, Any], key: str, weights: str, param_key: str | None, strict: bool) -> Adapter:
    from basicsr.utils.registry import ARCH_REGISTRY

    settings = deepcopy(opt[key])
    try:
        network = ARCH_REGISTRY.get(settings.pop('type'))(**settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'options.yml, {key}: cannot be built: {str(error).strip(chr(34))}') from error
    if hasattr(network, 'precision'):
        network.precision = 'fp32'  # figures of the weights, not of the number format they were trained in
    load_weights(network, weights, param_key, strict)
    try:
        comply(network, opt.get(f'contract_{key[-1]}') or {}, opt[key])
        if _is_video(opt):
            # Tried with a size that suits every network of BasicSR's, and that complexity is measured with.
            return VideoSRAdapter(network, _fallback_scale(opt), settings, lr_size=LR_SIDE)
        return ImageSRAdapter(network, input_channels(network, settings))
    except ValueError as error:
        raise UserError(f'options.yml, {key}: {opt[key]["type"]} {error}') from error


def _validation_sets(opt: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {'name': key, 'phase': 'val'}
        | {k: _from_root(v, opt) if k.startswith('dataroot_') else deepcopy(v) for k, v in dataset.items()}
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


def _from_root(value: Any, opt: dict[str, Any]) -> Any:
    """A path as the training saw it: relative ones lie below its root, wherever the report is made."""
    if isinstance(value, list):
        return [_from_root(entry, opt) for entry in value]
    if not isinstance(value, str) or value == BUNDLED or not opt.get('root_path'):
        return value
    below = Path(opt['root_path'], value)
    return str(below) if below.exists() else value


def _fallback_scale(opt: dict[str, Any]) -> int:
    scales = opt.get('scales') or [opt.get('scale') or 1]
    if _is_video(opt) and 'scales' not in opt:  # a training with data: each data set has the network's scale
        scales = [next(iter(opt['datasets'].values()))['scale']]
    return int(scales[0] if isinstance(scales, list) else scales)


def _curve(experiment: Experiment, dataset_opt: dict[str, Any], outcome: Evaluation) -> list[Curve]:
    """The curve of a data set; none if it was never validated on."""
    metrics = (experiment.options.get('val') or {}).get('metrics') or {}
    key = next((name for name, metric in metrics.items() if metric.get('type') == 'calculate_psnr'), 'psnr')
    by_iteration = experiment.validations.get(dataset_opt['name'], {})
    points = [(i, values[key]) for i, values in by_iteration.items() if math.isfinite(values.get(key, math.nan))]
    if not points:
        return []
    scale = outcome.results[0]['scale']
    levels = {r['method']: r['psnr'] for r in outcome.results if r['method'] != 'student' and math.isfinite(r['psnr'])}
    return [Curve(f'{short_name(dataset_opt["name"], scale)} x{scale}', points, levels)]


def _shown_folder(experiment: Experiment) -> str:
    """The folder's path relative to the training's root, if it lies below it."""
    folder, root = experiment.folder.resolve(), experiment.options.get('root_path')
    if root and folder.is_relative_to(Path(root).resolve()):
        return os.fspath(folder.relative_to(Path(root).resolve()))
    return str(folder)
