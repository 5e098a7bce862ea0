"""ncnn's files give what the network gives, at any size, by the names that its programs ask for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from deploy.export.tiny_models import COMPACT, RLSP, VDSR, model, pictures

from vsrkd_plugin.deploy.export import ncnn as target
from vsrkd_plugin.deploy.export.exportable import of_image_model, of_recurrent_model
from vsrkd_plugin.errors import UserError

ncnn = pytest.importorskip('ncnn', reason='needs the extra ncnn')
pytest.importorskip('pnnx', reason='needs the extra ncnn')


@pytest.mark.parametrize(
    ('options', 'channels', 'precision'), [(COMPACT, 3, 'fp32'), (VDSR, 1, 'fp32'), (COMPACT, 3, 'fp16')]
)
def test_any_size_by_fixed_names(options: dict, channels: int, precision: str, tmp_path: Path) -> None:
    tiny = model(options, (2,) if options is COMPACT else (2, 3))
    work = tmp_path / 'work'
    work.mkdir()
    draft = target.write(of_image_model(tiny, 2), tmp_path / 'a.param', precision, work)
    draft.publish()
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    assert not net.load_param(str(tmp_path / 'a.param')) and not net.load_model(str(tmp_path / 'a.bin'))
    for height, width in ((11, 18), (32, 7)):
        x = pictures(1, channels, height, width)
        extractor = net.create_extractor()
        extractor.input('data', ncnn.Mat(x[0].numpy()).clone())
        status, output = extractor.extract('output')
        error = np.abs(np.array(output) - tiny.adapter(x, 2)[0].numpy()).max()
        assert status == 0 and (error <= 1e-5 if precision == 'fp32' else 1e-6 < error < 1e-2)


def test_what_ncnn_cannot_do_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='RLSP: ncnn is for networks of pictures'):
        target.write(of_recurrent_model(model(RLSP)), tmp_path / 'a.param', 'fp32', tmp_path)

    class Odd(torch.nn.Module):
        num_in_ch = 3

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 12, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pixel_shuffle(torch.special.erfcx(self.conv(x)), 2)

    with pytest.raises(UserError, match=r'pnnx cannot convert it|ncnn has no operation for'):
        target.write(of_image_model(model({'type': 'Odd'}, network=Odd()), 2), tmp_path / 'a.param', 'fp32', tmp_path)
