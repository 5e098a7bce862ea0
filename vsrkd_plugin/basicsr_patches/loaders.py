"""Stock BasicSR's loading of training data; each patch says what goes wrong without it."""

import itertools
import logging
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import torch

_PATIENCE = 30.0  # seconds that the end of a run waits for a thread that is loading a sample

_RANKS_APART = 1_000_003  # seeds of processes, so that epochs of one are not those of the next
_threads: 'weakref.WeakSet[threading.Thread]' = weakref.WeakSet()  # that load ahead, of whatever loader


def mend_loaders() -> None:
    """Symptoms: the number of epochs counts a batch that is dropped, so that a training may end, and say that it is
    complete, long before `total_iter`; one that goes on with longer epochs, of fewer processes say, does nothing more;
    `prefetch_mode: cpu` hangs for ever when the loader raises, and its threads never end, which can abort
    the process at its end; a training set shorter than a batch trains zero iterations and says 'End of training'; a
    training that is gone on with sees its epoch from the beginning again, and the end of it less often; to begin an
    epoch draws from torch's random state, which a training that is gone on with does once more: its dropout differs.
    """
    import basicsr.train

    from vsrkd_plugin.basicsr_patches.checkpoints import progress
    from vsrkd_plugin.errors import UserError

    _mend_prefetching()
    _mend_epochs()
    stock = basicsr.train.create_train_val_dataloader

    def create_train_val_dataloader(opt: dict[str, Any], log: logging.Logger) -> tuple:
        result = stock(opt, log)
        if len(result[0]) == 0:
            raise UserError(
                f'datasets, train: {len(result[0].dataset)} images make no batch of '
                f'{opt["datasets"]["train"]["batch_size_per_gpu"]}; lower batch_size_per_gpu or raise '
                'dataset_enlarge_ratio'
            )
        progress.val_loaders = result[2]
        per_epoch = len(result[0])
        if progress.state is not None:  # it may have had longer or shorter epochs
            progress.state['epoch'] = progress.state['iter'] // per_epoch
        epochs = -(-int(opt['train']['total_iter']) // per_epoch)
        result[1].batch = result[0].batch_size
        # Else each epoch draws the seed of its processes from torch's random state, which a resumed one does once more.
        result[0].generator = result[1].generator = torch.Generator()
        result[1].first_seed = int(opt.get('manual_seed') or 0) + _RANKS_APART * opt['rank']
        return (*result[:3], epochs, *result[4:])

    basicsr.train.create_train_val_dataloader = create_train_val_dataloader


def _mend_epochs() -> None:
    """The first epoch after a resume leaves out what the interrupted one had already."""
    from basicsr.data.data_sampler import EnlargedSampler

    from vsrkd_plugin.basicsr_patches.checkpoints import progress

    stock_epoch, stock_iter = EnlargedSampler.set_epoch, EnlargedSampler.__iter__

    def set_epoch(self: Any, epoch: int) -> None:
        stock_epoch(self, epoch)
        if generator := getattr(self, 'generator', None):
            generator.manual_seed(self.first_seed + epoch)
        done, progress.resumed, batch = progress.resumed, None, getattr(self, 'batch', None)
        iterations = 0 if done is None or not batch else done - epoch * (self.num_samples // batch)
        self.skipped = max(iterations, 0) * (batch or 0)

    def samples(self: Any) -> Iterator[int]:
        return itertools.islice(stock_iter(self), getattr(self, 'skipped', 0), None)

    EnlargedSampler.set_epoch = set_epoch
    EnlargedSampler.__iter__ = samples


def _mend_prefetching() -> None:
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    stock = PrefetchGenerator.__init__

    def init(self: Any, generator: Any, num_prefetch_queue: int) -> None:
        self.ended = threading.Event()  # before stock starts the thread
        stock(self, generator, num_prefetch_queue)
        _threads.add(self)

    def put(self: Any, item: Any) -> None:
        while not self.ended.is_set():
            try:
                self.queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def run(self: Any) -> None:
        try:
            for item in self.generator:
                put(self, item)
                if self.ended.is_set():
                    return
            put(self, None)
        except Exception as error:  # handed to the reader, which raises it
            put(self, error)
        finally:
            self.generator = None  # ends the worker processes, too

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

    PrefetchGenerator.__init__ = init
    PrefetchGenerator.run = run
    PrefetchGenerator.__next__ = read


def end_threads() -> None:
    """End the threads that load ahead, whatever they have not handed over."""
    threads = [thread for thread in _threads if thread.is_alive()]
    for thread in threads:
        thread.ended.set()  # type: ignore[attr-defined]
    for thread in threads:
        thread.join(_PATIENCE)
