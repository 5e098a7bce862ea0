"""Any checkpoint as a network that can be used."""

from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.model_file import ModelHeader, write_model

register()
COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 2, 'upscale': 2,
           'act_type': 'prelu'}  # fmt: skip
RLSP = {'type': 'RLSP', 'num_feat': 8, 'num_layer': 3, 'upscale': 2}


def make(options: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(dict(options)).eval()


def test_by_its_header(tmp_path: Path) -> None:
    network = make(COMPACT)
    header = ModelHeader(COMPACT, (2,), 3, contract={'value_range': [0, 255]}, value_range=(0, 255))
    write_model(network.state_dict(), header, tmp_path / 's.safetensors')
    model = open_model(str(tmp_path / 's.safetensors'))
    x = torch.rand(1, 3, 7, 9)
    with torch.no_grad():
        torch.testing.assert_close(model.adapter(x, 2), network(x * 255) / 255)  # it keeps to its contract
    assert model.name == 'SRVGGNetCompact' and not model.is_video
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_by_its_weights(tmp_path: Path) -> None:
    network = make(COMPACT)
    torch.save({'params': network.state_dict()}, tmp_path / 's.pth')
    said: list[str] = []
    model = open_model(str(tmp_path / 's.pth'), say=said.append)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model.adapter(x, 2), network(x))
    assert dict(model.header.network) == COMPACT and model.header.scales == (2,) and said


def test_a_video_network_by_its_header(tmp_path: Path) -> None:
    network = make(RLSP)
    write_model(network.state_dict(), ModelHeader(RLSP, (2,), 3, is_video=True), tmp_path / 's.pth')
    model = open_model(str(tmp_path / 's.pth'))
    assert model.is_video and model.adapter(torch.rand(1, 3, 3, 16, 16)).shape == (1, 3, 3, 32, 32)


@pytest.mark.parametrize('name', ['vdsr_x234', 'vdsr_s_x234', 'rlsp_x4'])
def test_of_the_zoo(name: str) -> None:
    model = open_model(f'zoo:{name}', say=lambda text: pytest.fail(f'its header was not enough: {text}'))
    assert model.header.scales == ((4,) if name == 'rlsp_x4' else (2, 3, 4))
    assert model.is_video == (name == 'rlsp_x4')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'type': 'NoSuchNet'}, r'its NoSuchNet cannot be built .*--import'),
        ({'num_feat': 9}, r's\.pth: .* has shape'),
        ({'num_conv': 3}, r's\.pth: (body.*has shape|lacks)'),
        ({'colour': 1}, r'its SRVGGNetCompact cannot be built'),
    ],
)
def test_a_header_of_another_network_is_told(change: dict, message: str, tmp_path: Path) -> None:
    write_model(make(COMPACT).state_dict(), ModelHeader({**COMPACT, **change}, (2,), 3), tmp_path / 's.pth')
    with pytest.raises(UserError, match=message):
        open_model(str(tmp_path / 's.pth'))
