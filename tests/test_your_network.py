"""What `docs/your_network.md` shows is run: each network passes what is tried before a training."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY

from vsrkd_plugin.adapters.complying import comply
from vsrkd_plugin.adapters.contract import NetworkContract
from vsrkd_plugin.adapters.image_sr import ImageSRAdapter
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.schema import ContractOptions
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.distillation.init_from_teacher.chain import chain_of
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.networks import check_networks
from vsrkd_plugin.registration import register

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'your_network.md').read_text(encoding='utf-8')
PYTHON = '\n\n'.join(re.findall(r'```python\n(.*?)```', PAGE, re.S))
OPTIONS = [yaml.safe_load(block) for block in re.findall(r'```yaml\n(.*?)```', PAGE, re.S)]
NAMES = re.findall(r'^class (\w+)', PYTHON, re.M)


@pytest.fixture(autouse=True)
def networks() -> Iterator[None]:
    register()
    before = dict(ARCH_REGISTRY._obj_map)
    exec(PYTHON, {'__name__': 'my_archs'})
    yield
    ARCH_REGISTRY._obj_map.clear()
    ARCH_REGISTRY._obj_map.update(before)


def _check(folder: Path, options: dict[str, Any]) -> None:
    """Try a distillation of a teacher into itself, whose LR patches are 39x39."""
    torch.manual_seed(0)
    torch.save(build_network(dict(options['network_t'])).state_dict(), folder / 'teacher.pth')
    opt = load_options(str(ROOT / 'options' / 'dfkd_vdsr.yml'))
    del opt['train']['growth'], opt['val']
    opt['train']['init'] = 'random'
    opt['datasets'] = {'train': opt['datasets']['train']}
    opt |= {'scales': [2], 'num_gpu': 0, 'path': {'pretrain_network_t': str(folder / 'teacher.pth')}}
    opt |= copy.deepcopy(options) | {'network_g': dict(options['network_t'])}
    if 'contract_t' in options:
        opt['contract_g'] = dict(options['contract_t'])
    opt['synthesis'] = {'hr_size': 78, 'sources': [{'type': 'procedural', 'num_images': 2}]}
    del opt['network_z']
    validate(opt, True)
    complete(opt, str(folder), True)
    check_networks(opt)


def test_all_is_there() -> None:
    assert NAMES == ['MyNet', 'MyByteNet', 'MyWindowNet', 'MyScalesNet', 'MyRefiner', 'MyChain'] and len(OPTIONS) == 6
    table = set(re.findall(r'`(\w+)`', ''.join(re.findall(r'^\|([^|]*)\|', PAGE, re.M))))
    assert table == ContractOptions.known().keys() == set(NetworkContract.__dataclass_fields__)


@pytest.mark.parametrize('name', NAMES)
def test_by_attributes(tmp_path: Path, name: str) -> None:
    _check(tmp_path, {'network_t': {'type': name}})


@pytest.mark.parametrize('options', OPTIONS, ids=lambda options: str(options.get('contract_t')))
def test_by_options(tmp_path: Path, options: dict[str, Any]) -> None:
    _check(tmp_path, options)
    network = build_network(dict(options['network_t']))
    contract = NetworkContract.of(comply(network, options.get('contract_t')))
    for key, value in options.get('contract_t', {}).items():
        assert getattr(contract, key) == (tuple(value) if isinstance(value, list) else value)
    assert ImageSRAdapter(network, 3)(torch.rand(1, 3, 13, 11), 2).shape == (1, 3, 26, 22)


def test_the_chain_is_that_of_the_network() -> None:
    for said in (None, {'chain': ['head', 'body', 'tail']}):
        network = comply(build_network({'type': 'MyChain'}), said)
        assert chain_of(network).layers == [network.head, network.body[0], network.tail]
    comply(network, {'chain': ['head', 'neck']})
    with pytest.raises(ValueError, match=r"^chain: MyChain has no module 'neck'$"):
        chain_of(network)


def test_what_is_not_said_is_told(tmp_path: Path) -> None:
    """A network of windows that says nothing, and one that does not say that it serves several scales."""
    ARCH_REGISTRY.get('MyWindowNet').size_multiple = ARCH_REGISTRY.get('MyWindowNet').min_size = 1
    message = r'^network_t: does not fit scale 2: .*; try contract_t: {size_multiple: 8}$'
    with pytest.raises(UserError, match=message):
        _check(tmp_path, {'network_t': {'type': 'MyWindowNet'}})
    ARCH_REGISTRY.get('MyScalesNet').multi_scale = False
    _check(tmp_path, {'network_t': {'type': 'MyScalesNet'}})  # its default is the scale
    with pytest.raises(UserError, match=r'^network_t: does not fit scale 3: .*; try contract_t: {multi_scale: true}$'):
        _check(tmp_path, {'network_t': {'type': 'MyScalesNet'}, 'scales': [3]})
