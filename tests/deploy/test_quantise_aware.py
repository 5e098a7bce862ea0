"""Learning to be in 8 bits brings the answers in 8 bits nearer to fp32, and changes weights alone."""

import numpy as np
import pytest
import torch
from deploy.export.tiny_models import COMPACT, RLSP, model
from torch.nn.utils import parametrize

from vsrkd_plugin.deploy.export import onnx as target
from vsrkd_plugin.deploy.export.exportable import Exportable, of_image_model, of_recurrent_model
from vsrkd_plugin.deploy.quantise import Layers, layers_of, quantise_onnx
from vsrkd_plugin.deploy.quantise_aware import _Rounded, tune
from vsrkd_plugin.errors import UserError

pytest.importorskip('onnx', reason='needs the extra onnx')
pytest.importorskip('onnxruntime', reason='needs the extra onnx')
pytest.importorskip('onnxscript', reason='needs the extra onnx')


def error_in_8_bits(written: Exportable, expected: Exportable) -> float:
    session = target.session(quantise_onnx(target.to_onnx(written), written).SerializeToString())
    errors = []
    for (x,) in expected.samples(6, 40, 40):
        errors.append(np.square(target.run_session(session, [x.numpy()])[0] - expected.module(x).numpy()).mean())
    return float(np.mean(errors))


def test_it_comes_nearer_and_the_network_stays() -> None:
    exportable = of_image_model(model({**COMPACT, 'num_conv': 3}), 2)
    before = {name: value.clone() for name, value in exportable.module.state_dict().items()}
    said: list[str] = []
    tuned = tune(exportable, layers_of(target.to_onnx(exportable)), 120, said.append)
    assert all(torch.equal(value, before[name]) for name, value in exportable.module.state_dict().items())
    assert tuned.module.state_dict().keys() == before.keys()
    assert not any(parametrize.is_parametrized(module) or module._forward_hooks for module in tuned.module.modules())
    assert said[-1].startswith('learning 8 bits: step 120 of 120, ')
    assert error_in_8_bits(tuned, exportable) < 0.8 * error_in_8_bits(exportable, exportable)


def test_a_state_is_not_for_it() -> None:
    nothing = Layers((), (), (), ())
    with pytest.raises(UserError, match='--tune: is for networks of pictures'):
        tune(of_recurrent_model(model(RLSP)), nothing, 1, print)
    with pytest.raises(UserError, match='no convolutions between its first and last'):
        tune(of_image_model(model(COMPACT), 2), nothing, 1, print)


@pytest.mark.parametrize('kind', [torch.nn.Conv2d, torch.nn.ConvTranspose2d])
def test_each_output_channel_has_its_own_scale(kind: type[torch.nn.Conv2d]) -> None:
    """Of a transposed convolution output channels come second."""
    layer, axis = kind(3, 5, 3), int(kind is torch.nn.ConvTranspose2d)
    factors = torch.logspace(-3, 0, 5).view([5 if place == axis else 1 for place in range(4)])
    weight = (layer.weight * factors).detach()
    error = (_Rounded(axis)(weight) - weight).abs().transpose(0, axis).flatten(1).amax(1)
    assert (error <= weight.abs().transpose(0, axis).flatten(1).amax(1) / 127 * 0.51).all()
