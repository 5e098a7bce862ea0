"""Checkpoints of any origin are read without being run; ours are written whole or not at all."""

import os
import pickle
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.checkpoints import load_weights, read_weights


def _network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.Conv2d(channels, 1, 3))


def _assert_same(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(weights) == list(expected)
    for key, value in expected.items():
        assert torch.equal(weights[key], value), key


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: {'params': state},
        lambda state: {'params_ema': state, 'iter': 3},
        lambda state: {'epoch': 1, 'state_dict': state},
        lambda state: {'params': None, 'model': {'net': state}},
        lambda state: {'state_dict': {f'module.{key}': value for key, value in state.items()}},
    ],
)
@pytest.mark.parametrize('zipped', [True, False])
def test_usual_wrappings(tmp_path: Path, wrap: Callable[[dict], dict], zipped: bool) -> None:
    state = _network().state_dict()
    torch.save(wrap(state), tmp_path / 'net.pth', _use_new_zipfile_serialization=zipped)
    _assert_same(read_weights(tmp_path / 'net.pth'), state)


def test_the_entry_that_was_validated_is_loaded_unless_another_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw, average = {'w': torch.ones(1)}, {'w': torch.zeros(1)}
    torch.save({'params': raw, 'params_ema': average}, tmp_path / 'net.pth')
    _assert_same(read_weights(tmp_path / 'net.pth'), average)
    _assert_same(read_weights(tmp_path / 'net.pth', None), average)
    _assert_same(read_weights(tmp_path / 'net.pth', 'params'), raw)
    _assert_same(read_weights(tmp_path / 'net.pth', 'params_ema'), average)
    network = nn.Module()
    network.w = nn.Parameter(torch.full((1,), 3.0))
    caplog.set_level('INFO', 'basicsr')
    for key, entry, value in ((None, 'params_ema', 0), ('params', 'params', 1)):
        assert load_weights(network, tmp_path / 'net.pth', key) == entry
        assert network.w.item() == value
        assert caplog.messages[-1] == f'Module: loaded {entry} of {tmp_path / "net.pth"}.'


@pytest.mark.parametrize(
    ('content', 'key', 'there'),
    [
        ({'params': 1, 'params_ema': 1, 'iter': 3}, 'parms', 'params, params_ema'),
        ({'params': 1}, 'params_ema', 'params'),
        ({'params': {}, 'state_dict': 1}, 'params', 'state_dict'),
        ({'teacher': 1, 'epoch': 2}, 'params', 'teacher'),
        ({'model': {'params_ema': 1}}, 'params', 'model'),
    ],
)
def test_a_named_entry_that_is_not_there_is_no_other_one(
    tmp_path: Path, content: dict[str, Any], key: str, there: str
) -> None:
    state = _network().state_dict()

    def filled(value: Any) -> Any:  # 1 stands for a state dict
        return {name: filled(each) for name, each in value.items()} if isinstance(value, dict) else state

    torch.save(
        {name: value if name in ('iter', 'epoch') else filled(value) for name, value in content.items()},
        tmp_path / 'net.pth',
    )
    with pytest.raises(
        UserError, match=rf"net\.pth: has no weights under '{key}' .*; expected one of {there}$"
    ) as caught:
        read_weights(tmp_path / 'net.pth', key)
    assert '\n' not in str(caught.value)


def test_a_named_entry_of_a_file_without_entries_is_the_file(tmp_path: Path) -> None:
    """As users of BasicSR write `param_key_g: params` for any file."""
    network = _network()
    torch.save(network.state_dict(), tmp_path / 'net.pth')
    _assert_same(read_weights(tmp_path / 'net.pth', 'params'), network.state_dict())
    torch.save({'model': {'params': network.state_dict()}}, tmp_path / 'net.pth')
    for key in ('params', 'model', 'model/params'):
        assert load_weights(_network(), tmp_path / 'net.pth', key) == 'model/params'


@pytest.mark.parametrize('zipped', [True, False])
def test_pickled_module_of_a_class_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    module = types.ModuleType('somebodys_networks')
    exec(  # a class of a module that exists while it is saved only
        'from torch import nn\n'
        'class Net(nn.Module):\n'
        '    def __init__(self):\n'
        '        super().__init__()\n'
        '        self.body = nn.ModuleList([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)])\n'
        '        self.register_buffer("grid", nn.Parameter().new_zeros(4), persistent=False)\n',
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, 'somebodys_networks', module)
    network = module.Net()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.save({'epoch': 1, 'model': network}, tmp_path / 'net.pth', _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, 'somebodys_networks')
    weights = read_weights(tmp_path / 'net.pth')
    _assert_same(weights, network.state_dict())  # without the buffer that is not to be saved
    assert not any(value.requires_grad for value in weights.values())


def test_original_vdsr_file(shared_data: Path) -> None:
    files = [shared_data / 'teachers' / name for name in ('vdsr_291_pickled_module.pth', 'vdsr_291.pth')]
    if not all(file.is_file() for file in files):
        pytest.skip(f'needs {files[0]} and {files[1]}')
    assert 'vdsr' not in sys.modules
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pickled = read_weights(files[0])
    plain = read_weights(files[1])
    assert len(plain) == 20
    assert pickled.keys() == plain.keys()
    for key, value in plain.items():
        assert torch.equal(pickled[key], value), key
    from vsrkd_plugin.archs.vdsr_arch import VDSR

    load_weights(VDSR(), files[0])


class _Attack:
    """A pickle that calls `function(*args)` when it is read."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('place', [lambda attack: attack, lambda attack: {'model': attack}, lambda attack: [attack]])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, place: Callable, zipped: bool) -> None:
    trap = tmp_path / 'trap'
    calls = [
        _Attack(os.system, f'touch {trap}'),
        _Attack(eval, f'open({str(trap)!r}, "w")'),
        _Attack(subprocess.call, ['touch', str(trap)]),
        _Attack(Path.touch, trap),
    ]
    for attack in calls:
        torch.save(place(attack), tmp_path / 'evil.pth', _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=r'evil\.pth'):
            read_weights(tmp_path / 'evil.pth')
        assert not trap.exists()
    with open(tmp_path / 'evil.pth', 'rb') as file:  # the trap works: read as Python would, it snaps
        if not zipped:
            for _ in range(3):
                pickle.load(file)  # torch's header
            pickle.load(file)
            assert trap.exists()


def test_weights_beside_an_attack_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    trap, state = tmp_path / 'trap', _network().state_dict()
    torch.save({'params': state, 'config': _Attack(os.system, f'touch {trap}')}, tmp_path / 'mixed.pth')
    _assert_same(read_weights(tmp_path / 'mixed.pth'), state)
    assert not trap.exists()


@pytest.mark.parametrize(
    'target', [(b'torch', b'FloatStorage'), (b'torch._utils', b'_rebuild_tensor_v2'), (b'collections', b'OrderedDict')]
)
def test_a_pickle_cannot_set_attributes_of_what_it_names(tmp_path: Path, target: tuple[bytes, bytes]) -> None:
    # Opcode BUILD with a (None, {name: value}) state sets attributes of any object, a class or a function too.
    module, name = target
    evil = b'\x80\x02c' + module + b'\n' + name + b'\nN}X\x08\x00\x00\x00injectedK\x01s\x86b.'
    header = [pickle.dumps(part, 2) for part in (torch.serialization.MAGIC_NUMBER, 1001, {'little_endian': True})]
    (tmp_path / 'evil.pth').write_bytes(b''.join(header) + evil + pickle.dumps([], 2))
    with pytest.raises(UserError):
        read_weights(tmp_path / 'evil.pth')
    assert not hasattr(torch.FloatStorage, 'injected')
    assert not hasattr(torch._utils._rebuild_tensor_v2, 'injected')


def test_a_torchscript_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.script(nn.Conv2d(1, 1, 3)).save(str(tmp_path / 'net.pt'))
    monkeypatch.setattr(torch.jit, 'load', lambda *_args, **_kwargs: pytest.fail('the program was loaded'))
    with pytest.raises(UserError, match='TorchScript'):
        read_weights(tmp_path / 'net.pt')


def test_a_forged_module_that_holds_itself(tmp_path: Path) -> None:
    network = nn.Module()
    network._modules['again'] = network
    torch.save(network, tmp_path / 'net.pth')
    with pytest.raises(UserError, match='module'):
        read_weights(tmp_path / 'net.pth')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.9, 0.99])
def test_truncated_file(tmp_path: Path, share: float, zipped: bool) -> None:
    file = tmp_path / 'net.pth'
    torch.save({'params': _network(64).state_dict()}, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r'net\.pth: cannot be read as a checkpoint'):
        read_weights(file)


@pytest.mark.parametrize('content', [b'not a checkpoint\n', b'c', b'\x80\x02.', b'\x89PNG\r\n\x1a\n', bytes(1000)])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(UserError, match=r'file\.pth: cannot be read as a checkpoint') as caught:
        read_weights(tmp_path / 'file.pth')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content', [3, [], {}, {'params': {}}, {'iter': 3}, {'params': {'lr': 1.0}}])
def test_checkpoint_without_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(UserError, match=r'file\.pth: holds no state dict'):
        read_weights(tmp_path / 'file.pth')


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no such checkpoint file'):
        read_weights(tmp_path / 'none.pth')


def test_load_weights(tmp_path: Path) -> None:
    file, network = tmp_path / 'net.pth', _network()
    torch.save({'params': network.state_dict()}, file)
    other = _network()
    nn.init.zeros_(other[0].weight)
    load_weights(other, file)
    _assert_same(dict(other.state_dict()), dict(network.state_dict()))


def test_wrong_shape(tmp_path: Path) -> None:
    torch.save(_network(4).state_dict(), tmp_path / 'net.pth')
    network = _network(3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    message = r'0\.weight has shape \(4, 1, 3, 3\), but the Sequential .* \(3, 1, 3, 3\)'
    for strict in (True, False):
        with pytest.raises(UserError, match=message):
            load_weights(network, tmp_path / 'net.pth', strict=strict)
    _assert_same(dict(network.state_dict()), before)


def test_missing_and_extra_keys(tmp_path: Path) -> None:
    state, file = _network().state_dict(), tmp_path / 'net.pth'
    less = {key: value + 1 for key, value in state.items() if not key.startswith('2.')}
    torch.save(less, file)
    with pytest.raises(UserError, match=r'lacks 2\.weight \(2 keys missing\) of the Sequential'):
        load_weights(_network(), file)
    network = _network()
    load_weights(network, file, strict=False)
    assert torch.equal(network[0].weight, state['0.weight'] + 1)
    assert torch.equal(network[2].weight, state['2.weight'])

    torch.save({**state, 'tail.weight': torch.ones(1)}, file)
    with pytest.raises(UserError, match=r'holds tail\.weight \(1 keys more\) that the Sequential'):
        load_weights(_network(), file)
    load_weights(_network(), file, strict=False)


@pytest.mark.parametrize('key', ['g_ema', 'generator', 'netG', 'net_g', 'model_state_dict'])
def test_the_generator_of_a_gan_s_training_is_read(key: str, tmp_path: Path) -> None:
    generator, discriminator = {'a.weight': torch.ones(2)}, {'b.weight': torch.zeros(2)}
    torch.save({'discriminator': discriminator, 'netD': discriminator, key: generator}, tmp_path / 'gan.pth')
    assert read_weights(tmp_path / 'gan.pth').keys() == generator.keys()


@pytest.mark.parametrize('suffix', ['.onnx', '.pt2', '.xml', '.param'])
def test_an_exported_program_is_not_called_damaged(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f'a{suffix}').write_bytes(b'\x08\x0a')
    with pytest.raises(UserError, match=f'a{suffix}: a program for other runtimes'):
        read_weights(str(tmp_path / f'a{suffix}'))


def test_a_folder_and_a_training_state_are_named_as_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='is a folder; expected a file'):
        read_weights(str(tmp_path))
    network = torch.nn.Conv2d(1, 1, 1).state_dict()
    torch.save({'student': network, 'ema': network}, tmp_path / '4.state')
    with pytest.raises(UserError, match=r'several networks; .* It is a training state: its network is in models'):
        read_weights(str(tmp_path / '4.state'))
