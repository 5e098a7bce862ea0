"""What networks want and do not say is noticed before anything starts."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from tiny_training import tiny_options
from torch import Tensor, nn

from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.preflight.networks import check_networks
from vsrkd_plugin.registration import register


class _Times(nn.Module):
    """Enlarges by 2 and multiplies."""

    def __init__(self, factor: float = 1.0, broken: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.conv.weight)
        self.factor, self.broken = factor, broken

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2) * (float('nan') if self.broken else self.factor)


class _NeedsScale(_Times):
    """Cannot be called without a scale, which it says by nothing else."""

    def forward(self, x: Tensor, scale: int) -> Tensor:  # type: ignore[override]
        return F.interpolate(self.conv(x), scale_factor=scale)


@pytest.fixture
def opt(tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    register()
    for cls in (_Times, _NeedsScale):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, cls.__name__, cls)
    opt = tiny_options(tmp_path, image_folder, init='random')
    del opt['train']['growth'], opt['network_z'], opt['datasets']['val_x2'], opt['datasets']['val_x3'], opt['val']
    opt['synthesis']['sources'] = [{'type': 'procedural', 'num_images': 4, 'image_size': 16}]
    torch.save(_Times().state_dict(), tmp_path / 'teacher.pth')
    return opt | {'scales': [2], 'network_t': {'type': '_Times'}, 'network_g': {'type': '_Times'}}


def _check(opt: dict[str, Any], root: Path) -> None:
    opt = copy.deepcopy(opt)
    validate(opt, True)
    complete(opt, str(root), True)
    check_networks(opt)


def test_a_network_that_is_near(opt: dict[str, Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        _check(opt, tmp_path)


def test_a_network_that_is_near_in_no_range(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['network_t']['factor'] = 3.0
    with pytest.warns(UserWarning, match=r'^path, pretrain_network_t: on a smooth image _Times is 0\.76 away from'):
        _check(opt, tmp_path)


def test_values_that_are_not_finite(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['network_t']['broken'] = True
    with pytest.raises(UserError, match=r'^path, pretrain_network_t: on a smooth image _Times gives .* not finite$'):
        _check(opt, tmp_path)


def test_a_network_that_needs_a_scale(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['network_t']['type'] = opt['network_g']['type'] = '_NeedsScale'
    _check({**opt, 'scales': [2, 3]}, tmp_path)


def test_a_contract_that_no_network_can_keep(opt: dict[str, Any], tmp_path: Path) -> None:
    opt['contract_t'] = {'luma_only': True}
    with pytest.raises(UserError, match=r'^contract_t: luma_only: _Times has no method luma'):
        _check(opt, tmp_path)


@pytest.mark.parametrize(
    ('contract', 'message'),
    [
        ({'value_range': [1, 0]}, r'^contract_g, value_range: expected two numbers, the lower first, got \[1, 0\]$'),
        ({'size_multiple': 0}, r'^contract_g, size_multiple: expected a whole number > 0, got 0$'),
        ({'channels': 2}, r'^contract_g, channels: expected 1 or 3, got 2$'),
        ({'min_sise': 2}, r"^contract_g: unknown key 'min_sise'; did you mean 'min_size'\?$"),
    ],
)
def test_options_that_are_wrong(opt: dict[str, Any], tmp_path: Path, contract: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _check({**opt, 'contract_g': contract}, tmp_path)


def test_models_of_basicsr_heed_no_contract(opt: dict[str, Any], tmp_path: Path) -> None:
    stock = {key: opt[key] for key in ('name', 'num_gpu', 'manual_seed', 'path', 'logger')}
    stock |= {'model_type': 'SRModel', 'network_g': {'type': 'RLFN', 'num_feat': 4, 'esa_channels': 4}, 'path': {}}
    stock['datasets'] = {'train': opt['datasets']['train']}
    stock['train'] = {'total_iter': 4, 'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'pixel_opt': {'type': 'L1Loss'},
                      'scheduler': {'type': 'MultiStepLR', 'milestones': [2]}}  # fmt: skip
    message = (
        r'^model_type: SRModel gives network_g values of 0 to 1, but RLFN wants 0 to 255; expected MultiScaleSRModel'
    )
    with pytest.raises(UserError, match=message):
        _check(stock, tmp_path)
    with pytest.raises(UserError, match=r'^contract_g: is for one of .*; SRModel does not heed it$'):
        _check({**stock, 'contract_g': {'value_range': [0, 255]}}, tmp_path)
