"""The patches of stock BasicSR 1.4.2's validation of images; each says what goes wrong without it."""

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

from vsrkd_plugin.basicsr_patches.terminal import VALIDATION_BAR
from vsrkd_plugin.metrics.means import Means, compares, finite_means, measure
from vsrkd_plugin.run.whole_files import write_png

logger = logging.getLogger('basicsr')


class _Record:
    """What one validation measured: metric → values, image after image."""

    def __init__(self, metrics: dict[str, dict[str, Any]]) -> None:
        self.metrics = metrics
        self.images: list[str] = []
        self.values: dict[str, list[float]] = {name: [] for name in metrics}

    def add(self, options: dict[str, Any], value: float) -> None:
        """Note a value. Stock calculates by the very options of `val.metrics`, so that these tell the metric's name."""
        for name, own in self.metrics.items():
            if own is options:
                self.values[name].append(value)

    def means(self) -> Means:
        """Means over the images; none of a model that measures in a way of its own."""
        values = {name: found for name, found in self.values.items() if len(found) == len(self.images)}
        return finite_means({'': values}, self.images, 'images')


def mend_validation() -> None:
    """Symptoms: a set without GT is compared with the GT of the set before it, or ends in a traceback, also where NIQE
    would do without; one black or tiny image makes a set's mean infinite or nan, which is the best one for ever then,
    or ends in a traceback; what validation measured is only in the log's text; where the disk is full, OpenCV leaves
    half a picture and says nothing.
    """
    from basicsr.models import sr_model
    from basicsr.models.base_model import BaseModel

    SRModel = sr_model.SRModel
    stock_feed, stock_validate = SRModel.feed_data, SRModel.nondist_validation
    stock_log, stock_update = SRModel._log_validation_metric_values, BaseModel._update_best_metric_result
    current: list[_Record] = []  # the validation that runs now, if one does

    def feed_data(self: Any, data: dict[str, Any]) -> None:
        if hasattr(self, 'gt'):
            del self.gt
        if current and 'lq_path' in data:
            current[-1].images.append(Path(data['lq_path'][0]).stem)
        stock_feed(self, data)

    def calculate_metric(data: dict[str, Any], options: dict[str, Any]) -> float:
        value = measure(data['img'], data.get('img2'), options)
        if current:
            current[-1].add(options, value)
        return value

    def nondist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        stock = self.opt['val']
        dataset = dataloader.dataset
        if stock.get('metrics') is not None and 'gt' not in dataset[0]:
            left = {name: options for name, options in stock['metrics'].items() if not compares(options)}
            logger.info('%s has no GT: %s.', dataset.opt['name'], ', '.join(left) + ' alone' if left else 'no metrics')
            self.opt['val'] = {**stock, 'metrics': left or None}
        self.opt['val'] = {'pbar': VALIDATION_BAR, **self.opt['val']}
        vars(self).pop('metric_results', None)  # of the set before, which may have had other metrics
        current.append(_Record(self.opt['val'].get('metrics') or {}))
        try:
            stock_validate(self, dataloader, current_iter, tb_logger, save_img)
        finally:
            self.opt['val'] = stock
            current.pop()

    def update_best(self: Any, dataset_name: str, metric: str, val: float, current_iter: Any) -> None:
        if math.isfinite(val):
            stock_update(self, dataset_name, metric, val, current_iter)

    def log_values(self: Any, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        if current:
            means = current[-1].means()
            self.left_out = means.left_out
            for metric, value in means.by_method[''].items() if means.left_out else ():
                self.metric_results[metric] = value
                update_best(self, dataset_name, metric, value, current_iter)
        values = {name: float(value) for name, value in self.metric_results.items()}
        stock_log(self, current_iter, dataset_name, None)
        for text in getattr(self, 'left_out', ()):
            logger.warning('Validation %s: %s', dataset_name, text)
        if tb_logger:
            for name, value in values.items():
                if math.isfinite(value):
                    tb_logger.add_scalar(f'metrics/{dataset_name}/{name}', value, current_iter)
        if self.is_train:
            # After the last iteration stock counts one more than were trained.
            iteration = min(int(current_iter), int(self.opt['train']['total_iter']))
            finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
            line = {'iteration': iteration, 'dataset': dataset_name, 'metrics': finite}
            if getattr(self, 'left_out', None):
                line['left_out'] = self.left_out
            with open(Path(self.opt['path']['experiments_root'], 'metrics.jsonl'), 'a', encoding='utf-8') as file:
                file.write(json.dumps(line, allow_nan=False) + '\n')

    def imwrite(img: Any, file_path: str, params: Any = None, auto_mkdir: bool = True) -> None:
        write_png(img, file_path)

    for name, module in list(sys.modules.items()):
        if name.startswith('basicsr.models.') and hasattr(module, 'imwrite'):
            vars(module)['imwrite'] = imwrite
    sr_model.calculate_metric = calculate_metric
    SRModel.feed_data = feed_data
    SRModel.nondist_validation = nondist_validation
    SRModel._log_validation_metric_values = log_values
    BaseModel._update_best_metric_result = update_best
