"""Loading of training data: errors reach the reader, threads end with the run, a set without a batch is told."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from stock_training import stock_options
from tiny_training import tiny_options
from torch.utils.data import Dataset

from vsrkd_plugin.basicsr_patches import loop
from vsrkd_plugin.cli import main
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.training_states import read_state


def test_training_set_shorter_than_a_batch(image_folder: Path) -> None:
    import logging

    import basicsr.train

    from vsrkd_plugin.registration import register

    register()
    opt = stock_options(image_folder)
    opt.update(dist=False, world_size=1, rank=0)
    opt['datasets'] = {'train': {**opt['datasets']['train'], 'phase': 'train', 'enlarge': 1, 'batch_size_per_gpu': 4}}
    with pytest.raises(UserError, match='3 images make no batch of 4'):
        basicsr.train.create_train_val_dataloader(opt, logging.getLogger('test'))
    opt['datasets']['train']['batch_size_per_gpu'] = 3
    assert len(basicsr.train.create_train_val_dataloader(opt, logging.getLogger('test'))[0]) == 1


class _Broken(Dataset):
    """Two samples, then an error."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 2:
            raise UserError('2.png: not a readable image')
        return torch.tensor(index)


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """The result of `function`, or the exception it raised; fails where it hangs."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, f'hangs: no answer within {seconds} s'
    return result[0]


def test_prefetching_hands_on_errors() -> None:
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader

    loop.apply()
    loader = PrefetchDataLoader(num_prefetch_queue=1, dataset=_Broken(), batch_size=1)
    prefetcher = CPUPrefetcher(loader)
    assert [int(_within(20, prefetcher.next)) for _ in range(2)] == [0, 1]
    error = _within(20, prefetcher.next)
    assert isinstance(error, UserError) and '2.png' in str(error)

    good = PrefetchDataLoader(num_prefetch_queue=1, dataset=[1, 2, 3], batch_size=1)
    assert _within(20, lambda: [int(item) for item in good]) == [1, 2, 3]


@pytest.mark.parametrize('workers', [0, 1])
def test_threads_that_load_ahead_end_with_the_run(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader, PrefetchGenerator

    loop.apply()
    before = threading.active_count()
    loader = PrefetchDataLoader(num_prefetch_queue=1, dataset=list(range(99)), batch_size=1, num_workers=workers)
    prefetcher = CPUPrefetcher(loader)
    assert int(prefetcher.next()) == 0
    prefetcher.reset()  # as at the start of every epoch: the thread before is left
    assert int(prefetcher.next()) == 0 and threading.active_count() > before

    def pipeline(_root: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules[__name__], 'parse_options', None, raising=False)  # stock ones are in its module
    with pytest.raises(ZeroDivisionError):
        loop.run_with_options(pipeline, {}, '', '')
    assert not [thread for thread in threading.enumerate() if isinstance(thread, PrefetchGenerator)]
    # what fed the workers' queues (a thread of multiprocessing) and the workers end by themselves soon after
    deadline = time.monotonic() + 20
    while (threading.active_count(), multiprocessing.active_children()) != (before, []):
        assert time.monotonic() < deadline, (threading.enumerate(), multiprocessing.active_children())
        time.sleep(0.05)


def test_a_resumed_epoch_leaves_out_what_was_seen(image_folder: Path) -> None:
    """The sampler goes on where the interrupted epoch was; later epochs are whole."""
    import logging

    import basicsr.train

    from vsrkd_plugin.basicsr_patches.checkpoints import progress
    from vsrkd_plugin.registration import register

    register()
    opt = stock_options(image_folder)
    opt.update(dist=False, world_size=1, rank=0)
    opt['datasets'] = {'train': {**opt['datasets']['train'], 'phase': 'train', 'enlarge': 4, 'batch_size_per_gpu': 2}}
    sampler = basicsr.train.create_train_val_dataloader(opt, logging.getLogger('test'))[1]
    orders = {}
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        orders[epoch] = list(sampler)
    assert len(orders[1]) == 12  # six iterations an epoch
    progress.resumed = 8  # two of epoch 1
    sampler.set_epoch(1)
    assert list(sampler) == orders[1][4:]
    sampler.set_epoch(2)
    assert list(sampler) == orders[2]
    progress.resumed = 12  # all of epoch 1
    sampler.set_epoch(1)
    assert list(sampler) == []
    progress.resumed = 3  # of another length of epochs: nothing is left out
    sampler.set_epoch(2)
    assert list(sampler) == orders[2]


def test_a_training_that_goes_on_within_an_epoch_has_the_same_random_state(
    tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student with dropout depends on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.yml').write_text(yaml.safe_dump(tiny_options(tmp_path, image_folder, total_iter=15)))
    assert main(['train', '-opt', 'a.yml']) == 0
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    whole = {iteration: read_state(states / f'{iteration}.state') for iteration in (6, 12, 15)}
    for iteration in (6, 9, 12, 15):
        (states / f'{iteration}.state').unlink()
    assert main(['train', '-opt', 'a.yml', '--auto_resume']) == 0
    for iteration, state in whole.items():  # the second epoch begins with iteration 11
        assert torch.equal(read_state(states / f'{iteration}.state')['torch_rng'], state['torch_rng']), iteration


def test_a_training_reaches_its_total_where_epochs_drop_a_batch(
    tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three images, two of them an epoch: stock counts 1.5 batches an epoch, and ended two thirds on its way."""
    monkeypatch.chdir(tmp_path)
    options = stock_options(image_folder)
    options['datasets']['train']['enlarge'] = 1
    options['train']['total_iter'], options['val']['val_freq'] = 12, 12
    (tmp_path / 'a.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'a.yml']) == 0
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    assert max(int(file.stem) for file in states.glob('*.state')) == 12


def test_a_training_that_goes_on_with_longer_epochs_reaches_its_total(
    tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with fewer processes: the epoch that the state tells is beyond all of those that there are now."""
    monkeypatch.chdir(tmp_path)
    options = stock_options(image_folder)
    for enlarge, total in ((1, 8), (20, 12)):
        options['datasets']['train']['enlarge'] = enlarge
        options['train']['total_iter'], options['val']['val_freq'] = total, total
        (tmp_path / 'a.yml').write_text(yaml.safe_dump(options))
        assert main(['train', '-opt', 'a.yml', '--auto_resume']) == 0
        states = tmp_path / 'experiments' / 'tiny' / 'training_states'
        assert max(int(file.stem) for file in states.glob('*.state')) == total
