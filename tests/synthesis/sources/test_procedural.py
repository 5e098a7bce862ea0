import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vsrkd_plugin.synthesis.sources import procedural
from vsrkd_plugin.synthesis.sources.dead_leaves import render_levels
from vsrkd_plugin.synthesis.sources.procedural import FIRST_IMAGES, GROWTH, ProceduralSource

SIZES = {2: 24, 3: 16, 4: 12}


def _source(**changes) -> ProceduralSource:
    arguments = {'channels': 1, 'lr_sizes': SIZES, 'seed': 3, 'num_images': 80, 'image_size': 32}
    return ProceduralSource(**arguments | changes)


@pytest.mark.parametrize('channels', [1, 3])
def test_shape_and_range(channels):
    source = _source(channels=channels)
    for scale, size in SIZES.items():
        sample = source.next(8, scale).lr
        assert sample.shape == (8, channels, size, size)
        assert sample.dtype == torch.float32
        assert not sample.requires_grad
        assert sample.min() >= 0 and sample.max() <= 1
        assert source.preview(scale, 3).lr.shape == (3, channels, size, size)
    assert source.step(None, 8, 2) == {}
    assert source.optimizers == []


def test_same_seed_same_samples_whatever_the_global_state():
    one, other = _source(), _source()
    for k in range(4):
        torch.manual_seed(k)
        state = torch.get_rng_state()
        expected = one.next(4, 2).lr
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(99)
        assert torch.equal(other.next(4, 2).lr, expected)
    assert not torch.equal(_source(seed=4).next(4, 2).lr, _source().next(4, 2).lr)


def test_timing_of_the_thread_does_not_matter(monkeypatch):
    quick = _source(num_images=120)
    quick._pool.wait_for(120)

    def slow(*args):
        time.sleep(0.005)
        return render_levels(*args)

    monkeypatch.setattr(procedural, 'render_levels', slow)
    late = _source(num_images=120)
    for _ in range(35):
        assert torch.equal(late.next(4, 3).lr, quick.next(4, 3).lr)


def test_samples_draw_from_a_growing_part_of_the_pool():
    source = _source(num_images=100)
    assert [source.available(k) for k in (0, 1, 10, 10**6)] == [FIRST_IMAGES, FIRST_IMAGES + GROWTH, 84, 100]
    source._pool.wait_for(100)
    source._pool.levels[FIRST_IMAGES:] = 255  # white: only a sample that may not would see it
    source._pool.levels[:FIRST_IMAGES] = 0
    assert source.next(512, 4).lr.max() <= 0.4
    for _ in range(30):
        last = source.next(512, 4).lr
    assert last.max() > 0.5


@pytest.mark.parametrize('world_size', [2, 3])
def test_slices_of_the_ranks_make_the_joint_batch(world_size):
    ranks = [_source(rank=rank, world_size=world_size) for rank in range(world_size)]
    alone = _source()
    for scale in (2, 4, 3):
        together = torch.cat([source.next(5, scale).lr for source in ranks])
        assert torch.equal(together, alone.next(5 * world_size, scale).lr)


def test_state_goes_on_bit_for_bit(tmp_path):
    source = _source()
    for _ in range(5):
        source.next(4, 2)
    torch.save(source.state_dict(), tmp_path / 'state.pth')
    expected = [source.next(4, scale).lr for scale in (2, 3, 4)]
    resumed = _source()
    resumed.load_state_dict(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert resumed.state_dict()['drawn'] == 5
    for scale, sample in zip((2, 3, 4), expected, strict=True):
        assert torch.equal(resumed.next(4, scale).lr, sample)


def test_preview_leaves_the_random_state():
    source, other = _source(), _source()
    first = source.preview(2).lr
    assert torch.equal(source.next(4, 2).lr, other.next(4, 2).lr)
    assert torch.equal(source.preview(2).lr, first)
    assert source.state_dict()['drawn'] == 1


def test_crops_are_the_pixels_of_the_images_in_eight_orientations():
    source = _source(channels=2, num_images=1, lr_sizes={2: 5}, image_size=6)
    source._pool.wait_for(1)
    image = source._pool.levels[0].float() / 255
    # Contrast 1, brightness 0; every window in every orientation.
    draws = torch.tensor(
        [
            [0, (y + 0.5) / 2, (x + 0.5) / 2, (turn + 0.5) / 8, 0, 0]
            for y in range(2)
            for x in range(2)
            for turn in range(8)
        ],
        dtype=torch.float64,
    )
    crops = {tuple(crop.flatten().mul(255).round().int().tolist()) for crop in source._crop(draws, 5, 1)}
    expected = set()
    for y in range(2):
        for x in range(2):
            window = image[:, y : y + 5, x : x + 5]
            for quarters in range(4):
                turned = torch.rot90(window, quarters, (1, 2))
                expected |= {tuple(crop.flatten().mul(255).round().int().tolist()) for crop in (turned, turned.flip(2))}
    assert crops == expected


def test_full_white_and_black_stay_in_range():
    source = _source()
    source._pool.wait_for(80)
    for level in (0, 255):
        source._pool.levels.fill_(level)
        sample = source.next(256, 4).lr
        assert sample.min() >= 0 and sample.max() <= 1


def test_error_of_the_thread_is_raised_by_sample(monkeypatch):
    def fail(seed, indices, *args):
        if indices[0] > 0:
            raise OSError('disk on fire')
        return render_levels(seed, indices, *args)

    monkeypatch.setattr(procedural, 'render_levels', fail)
    source = _source()
    for _ in range(2):
        with pytest.raises(RuntimeError, match='disk on fire'):
            source.next(4, 2)
    assert source.state_dict()['drawn'] == 0


def test_dropped_source_ends_its_thread(monkeypatch):
    started = threading.Event()

    def slow(*args):
        started.set()
        time.sleep(0.02)
        return render_levels(*args)

    monkeypatch.setattr(procedural, 'render_levels', slow)
    source = _source(num_images=100_000)
    thread = source._pool.thread
    assert started.wait(5)
    del source
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


_ENDS_WHILE_RENDERING = """
import atexit, sys, time, torch
atexit.register(lambda: print(time.time()))  # the last one that is called
from vsrkd_plugin.synthesis.sources.procedural import ProceduralSource

sources = [ProceduralSource(channels=3, lr_sizes={2: 48}, seed=seed, num_images=1000) for seed in range(4)]
x, weight, end = torch.rand(16, 64, 48, 48), torch.rand(64, 64, 3, 3), time.monotonic() + 0.3
while time.monotonic() < end:  # a training: both threads come and go in native code
    torch.nn.functional.conv2d(x, weight)
print(time.time())
if sys.argv[1] == 'dropped':
    del sources
if sys.argv[1] == 'raises':
    raise ValueError('broken')
"""


def test_a_process_ends_at_once_while_images_are_rendered():
    """A thread in native code would abort it (134), in most cases, if nobody waited for it."""

    def run(how: str) -> subprocess.CompletedProcess:
        line = [sys.executable, '-c', _ENDS_WHILE_RENDERING, how]
        return subprocess.run(line, capture_output=True, text=True, timeout=120)

    codes = {'ends': 0, 'raises': 1, 'dropped': 0}
    with ThreadPoolExecutor() as executor:
        for done, code in zip(executor.map(run, codes), codes.values(), strict=True):
            assert done.returncode == code, done.stderr[-2000:]
            began, joined = map(float, done.stdout.split())
            assert joined - began < 3


def test_every_module_is_imported_without_what_only_unix_has():
    code = (
        'import os, sys, pkgutil, importlib, torch, torchvision, tqdm, yaml\n'
        'del os.register_at_fork, os.fork\n'
        'for name in ("fcntl", "resource", "termios", "pwd"):\n'
        '    sys.modules[name] = None\n'
        'import vsrkd_plugin\n'
        'for module in pkgutil.walk_packages(vsrkd_plugin.__path__, "vsrkd_plugin."):\n'
        '    if not module.name.endswith("__main__"):\n'
        '        importlib.import_module(module.name)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_cache_gives_the_same_pool_without_rendering(tmp_path, monkeypatch):
    first = _source(cache_dir=tmp_path / 'new')
    first._pool.thread.join()
    assert len(list((tmp_path / 'new').iterdir())) == 1
    monkeypatch.setattr(procedural, 'render_levels', None)
    second = _source(cache_dir=tmp_path / 'new')
    assert torch.equal(second.next(8, 2).lr, first.next(8, 2).lr)


def test_broken_cache_is_rendered_anew(tmp_path):
    first = _source(cache_dir=tmp_path)
    first._pool.thread.join()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    second = _source(cache_dir=tmp_path)
    assert torch.equal(second.next(8, 2).lr, first.next(8, 2).lr)


def test_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / 'file').write_text('')
    source = _source(cache_dir=tmp_path / 'file')
    source._pool.thread.join()
    assert source.next(4, 2).lr.shape == (4, 1, 24, 24)


@pytest.mark.parametrize(
    'changes',
    [
        {'image_size': 20},
        {'lr_sizes': {}},
        {'lr_sizes': {2: 0}},
        {'channels': 0},
        {'num_images': 0},
        {'seed': -1},
        {'rank': 1},
        {'rank': -1},
        {'world_size': 0},
    ],
)
def test_bad_arguments(changes):
    with pytest.raises(ValueError):
        _source(**changes)


def test_bad_sample_arguments():
    source = _source()
    with pytest.raises(ValueError, match='scale'):
        source.next(4, 8)
    with pytest.raises(ValueError, match='batch'):
        source.next(0, 2)


def test_sampling_is_fast():
    source = _source()
    source.next(16, 2)
    start = time.process_time()
    for _ in range(20):
        source.next(16, 2)
    assert (time.process_time() - start) / 20 < 0.1  # under a thousandth of a second on an idle core


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_gives_the_crops_of_the_cpu_without_waiting():
    here, there = _source(), _source(device='cuda')
    there.next(4, 2)
    here.next(4, 2)
    torch.cuda.set_sync_debug_mode('error')
    try:
        samples = [there.next(4, 2).lr for _ in range(10)]
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for sample in samples:
        assert torch.allclose(sample.cpu(), here.next(4, 2).lr, atol=1e-6)
