"""Every patch of stock BasicSR 1.4.2, and nothing else. Each says what goes wrong without it.

`install_import_shim` runs when the package is imported, before basicsr can be; `apply` runs once, before a pipeline.
All of them can go with the first BasicSR release that mends the symptom; 1.4.2 is the newest one on PyPI today.
"""

import importlib.machinery
import json
import logging
import os
import pickle
import queue
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger('basicsr')
_applied = False


def install_import_shim() -> None:
    """Symptom: `import basicsr` fails with "No module named 'torchvision.transforms.functional_tensor'".

    torchvision 0.17 took that module away; basicsr wants `rgb_to_grayscale` of it. torchvision itself is imported only
    when the function is called.
    """
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules:
        return

    def rgb_to_grayscale(*args: Any, **kwargs: Any) -> Any:
        from torchvision.transforms import functional

        return functional.rgb_to_grayscale(*args, **kwargs)

    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module


def apply() -> None:
    """Mend stock BasicSR in this process; a second call does nothing."""
    global _applied
    if _applied:
        return
    _applied = True
    _mend_resume()
    _mend_saving()
    _mend_loading()
    _mend_distributed()
    _mend_loaders()
    _mend_validation()
    _mend_interruption()
    _mend_messages()


def run_with_options(pipeline: Callable[[str], None], opt: dict[str, Any], opt_file: str, root: str) -> None:
    """Run stock `train_pipeline` or `test_pipeline` on options that are loaded and validated already.

    Symptom: the stock parser loads YAML unsafely, takes `1e-4` for a string and runs `--force_yml` through `exec`.
    """
    module = sys.modules[pipeline.__module__]
    args = types.SimpleNamespace(opt=opt_file)
    stock = module.parse_options
    module.parse_options = lambda *_args, **_kwargs: (opt, args)
    try:
        pipeline(root)
    finally:
        module.parse_options = stock


def set_copy_options(write: Callable[[str, str], None]) -> None:
    """Have `train_pipeline` call `write(opt_file, experiment_folder)` where it copies the options file.

    Symptom: the copy lacks what `--force_yml` changed, so the folder does not say what ran.
    """
    import basicsr.train

    basicsr.train.copy_opt_file = write


def readable_states(folder: Path) -> list[tuple[int, Path]]:
    """The training states of an experiment, newest first, by the iteration in their name."""
    states = [(int(file.stem), file) for file in folder.glob('*.state') if file.stem.isdigit()]
    return sorted(states, reverse=True)


def _mend_resume() -> None:
    """Symptoms: resuming without a GPU crashes (`torch.cuda.current_device()`); a truncated newest state is picked for
    ever; auto-resume looks below the current directory whatever the root."""
    import basicsr.train
    import torch
    from basicsr.utils import check_resume

    from vsrkd_plugin.errors import UserError
    from vsrkd_plugin.facts import clock

    def load(path: Path) -> dict[str, Any]:
        # On the CPU: load_state_dict moves what belongs elsewhere.
        return torch.load(path, map_location='cpu', weights_only=True)

    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        unreadable = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError)
        state = None
        if opt['auto_resume']:
            for iteration, file in readable_states(Path(opt['path']['training_states'])):
                try:
                    state = load(file)
                except unreadable as error:
                    print(f'Skip {file}: not readable ({str(error).splitlines()[0]})', flush=True)
                    continue
                opt['path']['resume_state'] = str(file)
                print(f'Resume from {file}, iteration {iteration}', flush=True)
                break
        elif opt['path'].get('resume_state'):
            file = Path(opt['path']['resume_state'])
            try:
                state = load(file)
            except unreadable as error:
                raise UserError(f'path, resume_state: {file} cannot be read ({str(error).splitlines()[0]})') from error
        if state is not None:
            check_resume(opt, state['iter'])
            clock.start(state.get('seconds', 0.0))
        else:
            clock.start(0.0)
        return state

    basicsr.train.load_resume_state = load_resume_state


def _mend_saving() -> None:
    """Symptoms: a kill while saving leaves a truncated file under the final name; a disk that is full is ignored and
    training goes on without checkpoints; nothing is ever pruned."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    from vsrkd_plugin.checkpoints import save_atomically
    from vsrkd_plugin.facts import clock, write_training_facts

    @master_only
    def save_network(self: Any, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name.removeprefix('module.'): value.detach().cpu() for name, value in bare.state_dict().items()}
            for bare, key in zip((self.get_bare_model(n) for n in nets), keys, strict=True)
        }
        name = 'latest' if current_iter == -1 else current_iter
        save_atomically(content, os.path.join(self.opt['path']['models'], f'{net_label}_{name}.pth'))

    @master_only
    def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
        if current_iter == -1:
            write_training_facts(self)
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'seconds': clock.seconds(),
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            **getattr(self, 'extra_state', dict)(),
        }
        save_atomically(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))
        prune_checkpoints(self.opt)

    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


def prune_checkpoints(opt: dict[str, Any]) -> None:
    """Keep the newest `logger.keep_checkpoints` states and numbered models of an experiment; all if not set."""
    keep = opt['logger'].get('keep_checkpoints')
    if not keep:
        return
    numbered = readable_states(Path(opt['path']['training_states']))
    old = {iteration for iteration, _ in numbered[keep:]}
    for iteration, file in numbered[keep:]:
        file.unlink(missing_ok=True)
        for model in Path(opt['path']['models']).glob(f'net_*_{iteration}.pth'):
            model.unlink(missing_ok=True)
    if old:
        logger.debug('Pruned the checkpoints of iterations %s', sorted(old))


def _mend_loading() -> None:
    """Symptoms: a pickled module is refused, a plain state dict needs `param_key: ~`, a wrong shape ends in a traceback
    of fifty lines, `zoo:NAME` means nothing."""
    from basicsr.models.base_model import BaseModel

    from vsrkd_plugin.checkpoints import load_weights

    def load_network(
        self: Any, net: Any, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        net = self.get_bare_model(net)
        logger.info('Loading %s from %s.', type(net).__name__, load_path)
        load_weights(net, load_path, param_key, strict)

    BaseModel.load_network = load_network


def _mend_distributed() -> None:
    """Symptom: without a GPU, DistributedDataParallel is given `device_ids=[torch.cuda.current_device()]` and dies."""
    import torch
    from basicsr.models.base_model import BaseModel
    from torch.nn.parallel import DistributedDataParallel

    stock = BaseModel.model_to_device

    def model_to_device(self: Any, net: torch.nn.Module) -> torch.nn.Module:
        if self.opt['dist'] and self.device.type == 'cpu':
            find_unused = self.opt.get('find_unused_parameters', False)
            return DistributedDataParallel(net.to(self.device), find_unused_parameters=find_unused)
        return stock(self, net)

    BaseModel.model_to_device = model_to_device


def init_distributed(launcher: str) -> None:
    """Start torch.distributed as `torchrun` or slurm laid it out: NCCL on GPUs, gloo on CPUs.

    Symptom: stock `init_dist` is NCCL only and computes `rank % device_count()`, a division by zero without a GPU.
    """
    import torch
    import torch.distributed as dist
    from basicsr.utils.dist_util import init_dist

    if launcher == 'none' or dist.is_initialized():
        return
    if torch.cuda.is_available():
        init_dist(launcher)
    elif launcher == 'pytorch':
        dist.init_process_group('gloo')
    else:
        from vsrkd_plugin.errors import UserError

        raise UserError('--launcher slurm needs GPUs; on CPUs start the processes with torchrun')


def close_distributed() -> None:
    """Leave torch.distributed, all processes together, before the first of them ends.

    Symptom: stock leaves the group to the interpreter's end, where gloo may abort a process whose peer is gone.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _mend_loaders() -> None:
    """Symptoms: `prefetch_mode: cpu` hangs for ever when the loader raises; a training set shorter than a batch trains
    zero iterations and says 'End of training'."""
    import basicsr.train
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    from vsrkd_plugin.errors import UserError

    def run(self: Any) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
            self.queue.put(None)
        except Exception as error:  # handed to the reader, which raises it
            self.queue.put(error)

    def read(self: Any) -> Any:
        while True:
            try:
                item = self.queue.get(timeout=5)
            except queue.Empty:
                if self.is_alive():
                    continue
                raise RuntimeError('the thread that loads data ended without a word') from None
            if item is None:
                raise StopIteration
            if isinstance(item, Exception):
                raise item
            return item

    PrefetchGenerator.run = run
    PrefetchGenerator.__next__ = read

    stock = basicsr.train.create_train_val_dataloader

    def create_train_val_dataloader(opt: dict[str, Any], log: logging.Logger) -> tuple:
        result = stock(opt, log)
        if len(result[0]) == 0:
            raise UserError(
                f'datasets, train: {len(result[0].dataset)} images make no batch of '
                f'{opt["datasets"]["train"]["batch_size_per_gpu"]}; lower batch_size_per_gpu or raise '
                'dataset_enlarge_ratio'
            )
        return result

    basicsr.train.create_train_val_dataloader = create_train_val_dataloader


def _mend_validation() -> None:
    """Symptoms: a set without GT is compared with the GT of the set before it, or ends in a traceback; what validation
    measured is only in the log's text."""
    from basicsr.models.sr_model import SRModel

    stock_feed, stock_validate, stock_log = (
        SRModel.feed_data,
        SRModel.nondist_validation,
        SRModel._log_validation_metric_values,
    )

    def feed_data(self: Any, data: dict[str, Any]) -> None:
        if hasattr(self, 'gt'):
            del self.gt
        stock_feed(self, data)

    def nondist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        stock = self.opt['val']
        dataset = dataloader.dataset
        if stock.get('metrics') is not None and 'gt' not in dataset[0]:
            logger.info('%s has no GT: no metrics.', dataset.opt['name'])
            self.opt['val'] = {**stock, 'metrics': None}
        try:
            stock_validate(self, dataloader, current_iter, tb_logger, save_img)
        finally:
            self.opt['val'] = stock

    def log_values(self: Any, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        stock_log(self, current_iter, dataset_name, tb_logger)
        if self.is_train:
            # After the last iteration stock counts one more than were trained.
            iteration = min(int(current_iter), int(self.opt['train']['total_iter']))
            values = {name: float(value) for name, value in self.metric_results.items()}
            line = json.dumps({'iteration': iteration, 'dataset': dataset_name, 'metrics': values})
            with open(Path(self.opt['path']['experiments_root'], 'metrics.jsonl'), 'a', encoding='utf-8') as file:
                file.write(line + '\n')

    SRModel.feed_data = feed_data
    SRModel.nondist_validation = nondist_validation
    SRModel._log_validation_metric_values = log_values


def _mend_interruption() -> None:
    """Symptom: Ctrl+C and SIGTERM lose everything since the last checkpoint.

    `update_learning_rate` is what stock calls first in an iteration: the one before it is complete.
    """
    from basicsr.data.data_sampler import EnlargedSampler
    from basicsr.models.base_model import BaseModel

    from vsrkd_plugin.interruption import stop_if_asked

    stock_epoch, stock_update = EnlargedSampler.set_epoch, BaseModel.update_learning_rate
    current = {'epoch': 0}

    def set_epoch(self: Any, epoch: int) -> None:
        current['epoch'] = epoch
        stock_epoch(self, epoch)

    def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
        stop_if_asked(self, current['epoch'], current_iter - 1)
        stock_update(self, current_iter, warmup_iter)

    EnlargedSampler.set_epoch = set_epoch
    BaseModel.update_learning_rate = update_learning_rate


def _mend_messages() -> None:
    """Symptoms: the last log line of a training says `eta: -1 day, 23:59:59`; with several validation sets every
    validation warns that only SRModel supports them, which its subclasses do too."""
    from basicsr.utils.logger import MessageLogger

    stock = MessageLogger.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        self.max_iters += 1  # stock takes one too many off

    MessageLogger.__init__ = init
    logger.addFilter(lambda record: not str(record.msg).startswith('Multiple validation datasets'))
