"""Model files: what is written is read; and both kinds are read by others, where this package is not there."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.run.model_file import ModelHeader, read_header, write_model

NETWORK = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2, 'upscale': 2,
           'act_type': 'prelu'}  # fmt: skip
HEADER = ModelHeader(
    network=NETWORK,
    scales=(2,),
    channels=3,
    contract={'value_range': [0, 255]},
    value_range=(0, 255),
    distilled_from='IMDN (imdn.pth)',
    version='9.9',
)
# BasicSR 1.4.2 wants a module that torchvision has no more; this package's shim is just what its users do about it.
STOCK = """
import sys, types
sys.modules['vsrkd_plugin'] = None  # an import of it raises
import torch, torchvision.transforms.functional as functional
shim = types.ModuleType('torchvision.transforms.functional_tensor')
shim.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[shim.__name__] = shim
x = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
"""


def make_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return SRVGGNetCompact(**{key: value for key, value in NETWORK.items() if key != 'type'}).eval()


def expected() -> torch.Tensor:
    with torch.no_grad():
        return make_network()(torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_is_written_is_read(suffix: str, tmp_path: Path) -> None:
    path, weights = tmp_path / f'student{suffix}', make_network().state_dict()
    write_model(weights, HEADER, path)
    assert read_header(path) == replace(HEADER, value_range=(0.0, 255.0))
    found = read_weights(path)
    assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # no temporary file is left


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    shared = torch.rand(3, 4)
    write_model({'a': shared, 'b': shared.T}, HEADER, tmp_path / 's.safetensors')
    assert torch.equal(read_weights(tmp_path / 's.safetensors')['b'], shared.T)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'student\.onnx: expected a file name that ends in \.pth or \.safetensors'):
        write_model({}, HEADER, tmp_path / 'student.onnx')


@pytest.mark.parametrize(
    'change',
    [
        {'network': 'VDSR'},
        {'network': {}},
        {'scales': []},
        {'scales': [0]},
        {'scales': ['2']},
        {'channels': 4},
        {'value_range': [1]},
        {'value_range': ['a', 'b']},
        {'contract': [1]},
        {'scales': None},
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_damaged_header_is_named(change: dict, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f'student{suffix}'
    content = {**HEADER.as_json(), **change}
    if suffix == '.pth':
        torch.save({'params': {'w': torch.zeros(1)}, 'vsrkd': content}, path)
    else:
        from safetensors.torch import save_file

        save_file({'w': torch.zeros(1)}, path, {'vsrkd': json.dumps(content)})
    with pytest.raises(UserError, match='its header cannot be read'):
        read_header(path)


def test_headers_of_later_versions_are_read(tmp_path: Path) -> None:
    content = {**HEADER.as_json(), 'colour_of_the_sky': 'blue'}
    torch.save({'params': {'w': torch.zeros(1)}, 'vsrkd': content}, tmp_path / 's.pth')
    assert read_header(tmp_path / 's.pth') == replace(HEADER, value_range=(0.0, 255.0))


def test_files_without_a_header_have_none(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.save({'params': {'w': torch.zeros(1)}}, tmp_path / 'a.pth')
    save_file({'w': torch.zeros(1)}, tmp_path / 'a.safetensors')
    assert read_header(tmp_path / 'a.pth') is None and read_header(tmp_path / 'a.safetensors') is None


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_what_is_no_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b'no such thing')
    with pytest.raises(UserError, match=f'{name}: cannot be read as a checkpoint'):
        read_header(tmp_path / name)
    with pytest.raises(UserError, match='no such checkpoint file'):
        read_header(tmp_path / 'none.pth')


def run_without_the_package(program: str, folder: Path) -> torch.Tensor:
    done = subprocess.run([sys.executable, '-c', STOCK + program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / 'y.pt', weights_only=True)


def test_plain_basicsr_loads_the_pth(tmp_path: Path) -> None:
    write_model(make_network().state_dict(), HEADER, tmp_path / 'student.pth')
    program = f"""
from basicsr.models.sr_model import SRModel
opt = {{
    'is_train': False, 'num_gpu': 0, 'dist': False, 'rank': 0, 'scale': 2, 'network_g': {NETWORK!r},
    'path': {{'pretrain_network_g': 'student.pth', 'param_key_g': 'params', 'strict_load_g': True}},
}}
model = SRModel(opt)
model.feed_data({{'lq': x}})
model.test()
torch.save(model.output, 'y.pt')
"""
    torch.testing.assert_close(run_without_the_package(program, tmp_path), expected(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', ['student.pth', 'student.safetensors'])
def test_spandrel_loads_both(name: str, tmp_path: Path) -> None:
    pytest.importorskip('spandrel', reason='the extra [spandrel] is not installed')
    write_model(make_network().state_dict(), HEADER, tmp_path / name)
    program = f"""
from spandrel import ModelLoader
model = ModelLoader('cpu').load_from_file({name!r})
assert model.scale == 2
with torch.no_grad():
    torch.save(model.model(x), 'y.pt')
"""
    torch.testing.assert_close(run_without_the_package(program, tmp_path), expected(), rtol=0, atol=1e-6)
