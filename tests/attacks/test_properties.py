"""Whatever is changed in options, checkpoints, states and banks: it is noticed in one line, or makes no difference."""

import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.run.model_file import ModelHeader, read_header, write_model
from vsrkd_plugin.run.training_states import read_state
from vsrkd_plugin.synthesis.bank.file import BankFile, read_meta
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter

from .forking import attack

ROOT = Path(__file__).resolve().parents[2]
# The same examples in each run, so that nobody's change is held up by another's luck; `slow` draws afresh, and more.
FEW = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
OPTIONS_MANY = settings(MANY, max_examples=300)


# Options


@pytest.fixture(scope='module')
def shipped(tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]) -> tuple[Path, dict[str, Any]]:
    """A folder, and `dfkd_vdsr.yml` as it is shipped, but for its sizes and pictures."""
    folder = tmp_path_factory.mktemp('options')
    options = load_options(str(ROOT / 'options' / 'dfkd_vdsr.yml'))
    images = make_images(folder / 'images')
    for label, feat in (('t', 8), ('g', 4)):
        options[f'network_{label}'].update(num_feat=feat, num_block=4)
    options['network_z'].update(num_latent=8, num_feat=8)
    for name in ('val_x2', 'val_x3', 'val_x4'):
        options['datasets'][name]['dataroot_gt'] = str(images)
    torch.save({'params': VDSR(num_feat=8, num_block=4).state_dict()}, folder / 'teacher.pth')
    options['path']['pretrain_network_t'] = str(folder / 'teacher.pth')
    options['synthesis']['sources'][0].update(num_images=8)
    options['datasets']['train']['batch_size_per_gpu'] = 2
    options['train'].update(total_iter=2)
    options['train']['growth'].update(start=3, every=1)
    options['val'].update(val_freq=2)
    options['num_gpu'] = 0
    return folder, options


def _places(options: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(options, dict | list):
        for key in options if isinstance(options, dict) else range(len(options)):
            yield from _places(options[key], (*path, key))


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**6, -(10**9), 10**30, 2**63]),
    st.floats(-2, 2),
    st.sampled_from([float('nan'), float('inf'), -float('inf'), 1e-300, 1e300]),
    st.text(max_size=8),
    st.sampled_from(
        ['auto', 'fp32', 'teacher', 'VDSR', 'EDSR', 'RLSP', 'zoo:vdsr_x234', 'l1', 'x2', '/', '.', '~', '4']
    ),
    st.lists(st.one_of(st.integers(-1, 9), st.text(max_size=3), st.floats(allow_nan=False)), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(-1, 9), max_size=2),
)


@st.composite
def _changes(draw: Any) -> list[tuple[str, int, Any]]:
    """Up to three changes: how, where (of all places), what with."""
    one = st.tuples(
        st.sampled_from(['put', 'put', 'put', 'drop', 'rename', 'copy', 'add']), st.integers(0, 9999), _VALUES
    )
    return draw(st.lists(one, min_size=1, max_size=3))


def _changed(options: dict[str, Any], changes: list[tuple[str, int, Any]]) -> dict[str, Any]:
    options = copy.deepcopy(options)
    for how, where, value in changes:
        places = list(_places(options))
        *path, key = places[where % len(places)]
        section: Any = options
        for step in path:
            section = section[step]
        if how == 'put' or (how == 'rename' and isinstance(section, list)):
            section[key] = value
        elif how == 'drop':
            del section[key]
        elif how == 'rename':
            section[f'{key}_'] = section.pop(key)
        elif how == 'copy':  # of another place
            source: Any = options
            for step in places[(where * 31) % len(places)]:
                source = source[step]
            section[key] = copy.deepcopy(source)
        elif isinstance(section, dict):
            section[str(value)] = value
        else:
            section.append(value)
    return options


def _runs_or_is_told(shipped: tuple[Path, dict[str, Any]], changes: list[tuple[str, int, Any]]) -> None:
    folder, options = shipped
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name, 'place')
        place.mkdir()
        text = yaml.safe_dump(_changed(options, changes), sort_keys=False, allow_unicode=True)
        (place / 'a.yml').write_text(text, encoding='utf-8')
        # Some values are valid and long, which is not what is looked for.
        short = ['train:total_iter=2'] if isinstance(_changed(options, changes).get('train'), dict) else []
        done = attack(['train', '-opt', 'a.yml', *(['--force_yml', *short] if short else [])], place, 120)
        told = [
            line for line in done.errors.splitlines() if line.startswith(('basicsr: error: ', 'basicsr: stopped: '))
        ]
        assert done.status in (0, 1, 2), (done.status, done.errors[-2000:])
        assert len(told) == (done.status != 0), done.errors[-2000:]
        assert 'Traceback' not in done.errors + done.output
        if done.status == 2:
            assert not any(made.startswith('experiments/') and made.endswith('.log') for made in done.made), done.made


@given(_changes())
@FEW
def test_changed_options_run_or_are_told(shipped: tuple[Path, dict[str, Any]], changes: Any) -> None:
    _runs_or_is_told(shipped, changes)


@pytest.mark.slow
@given(_changes())
@OPTIONS_MANY
def test_many_changed_options_run_or_are_told(shipped: tuple[Path, dict[str, Any]], changes: Any) -> None:
    _runs_or_is_told(shipped, changes)


# Files


def _in_a_child(work: Callable[[], None]) -> str:
    """What becomes of work in a process of its own, which a damaged file may end: '' or what went wrong."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            work()
        except BaseException as error:
            os.write(write, f'{type(error).__name__}: {error}'[:4000].encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, 'rb') as told:
        text = told.read().decode(errors='replace')
    _, status = os.waitpid(child, 0)
    return text or (f'ended by signal {os.WTERMSIG(status)}' if os.WIFSIGNALED(status) else '')


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(_same(found[k], expected[k]) for k in found)
        )
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(_same(*pair) for pair in zip(found, expected, strict=True))
    if isinstance(expected, torch.Tensor):
        return torch.equal(found, expected)
    return bool(found == expected)


def _samples(file: Path) -> Any:
    """All samples of a bank, in the order in which they are drawn."""
    kind = SampleSpec(1, {2: 6})
    batch = BankFile([file], kind, turn=False).next(200, 2)
    return [batch.lr, batch.target, read_meta(file)]


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """Kind → a whole file of it, and how it is read."""
    folder = tmp_path_factory.mktemp('whole')
    network = VDSR(num_feat=4, num_block=3)
    header = ModelHeader({'type': 'VDSR', 'num_feat': 4, 'num_block': 3}, (2, 3), 1)
    for name in ('a.pth', 'a.safetensors'):
        write_model(network.state_dict(), header, folder / name)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 1, 5, 5), scale=2).sum().backward()
    optimizer.step()
    state = {'epoch': 1, 'iter': 5, 'optimizers': [optimizer.state_dict()], 'schedulers': [{'last_epoch': 5}]}
    torch.save(state, folder / '5.state')
    kind = SampleSpec(1, {2: 6}, None, None, None)
    writer = BankWriter(folder / 'a.lmdb', kind, teacher='VDSR', capacity=40)
    for _ in range(8):
        writer.add(torch.rand(5, 1, 6, 6), torch.rand(5, 1, 12, 12), 2)
    writer.close()
    weights: Callable[[Path], Any] = lambda file: (read_weights(file), read_header(file))  # noqa: E731
    return {
        'pth': (folder / 'a.pth', weights),
        'safetensors': (folder / 'a.safetensors', weights),
        'state': (folder / '5.state', read_state),
        'bank': (folder / 'a.lmdb', _samples),
    }


def _noticed_or_harmless(
    files: dict[str, tuple[Path, Callable[[Path], Any]]], kind: str, place: float, bit: int, cut: bool
) -> None:
    whole, read = files[kind]
    expected = read(whole)
    with tempfile.TemporaryDirectory(dir=whole.parent) as folder:
        spoilt = Path(folder, whole.name)
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, spoilt)
        content = spoilt / 'data.mdb' if whole.is_dir() else spoilt
        before = content.read_bytes()
        at = int(place * (len(before) - 1))
        content.write_bytes(before[:at] if cut else before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :])

        def work() -> None:
            try:
                found = read(spoilt)
            except UserError as error:
                assert whole.name in str(error), error
                return
            assert _same(found, expected), 'something else was read'

        assert not (told := _in_a_child(work)), (
            f'{"cut" if cut else f"bit {bit}"} at byte {at:,} of {len(before):,}: {told}'
        )


_DAMAGE = {'place': st.floats(0, 1), 'bit': st.integers(0, 7), 'cut': st.sampled_from([False, False, False, True])}
KINDS = ('pth', 'safetensors', 'state', 'bank')


@pytest.mark.parametrize('kind', KINDS)
@given(**_DAMAGE)
@FEW
def test_damage_is_noticed_or_harmless(files: Any, kind: str, place: float, bit: int, cut: bool) -> None:
    _noticed_or_harmless(files, kind, place, bit, cut)


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
@given(**_DAMAGE)
@MANY
def test_much_damage_is_noticed_or_harmless(files: Any, kind: str, place: float, bit: int, cut: bool) -> None:
    _noticed_or_harmless(files, kind, place, bit, cut)
