"""OpenVINO's files give what the network gives."""

from pathlib import Path

import numpy as np
import pytest
from deploy.export.tiny_models import COMPACT, model, pictures

from vsrkd_plugin.deploy.export import openvino as target
from vsrkd_plugin.deploy.export.exportable import of_image_model

openvino = pytest.importorskip('openvino', reason='needs the extra openvino')
pytest.importorskip('onnxscript', reason='needs the extra openvino')
pytest.importorskip('onnxruntime', reason='needs the extra onnx')


@pytest.mark.parametrize(('precision', 'least', 'most'), [('fp32', 0, 2e-6), ('fp16', 1e-6, 1e-2), ('int8', 1e-4, 0.1)])
def test_any_size(precision: str, least: float, most: float, tmp_path: Path) -> None:
    tiny = model(COMPACT)
    work = tmp_path / 'work'
    work.mkdir()
    target.write(of_image_model(tiny, 2), tmp_path / 'a.xml', precision, work).publish()
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ['a.bin', 'a.xml']
    read = openvino.Core().read_model(tmp_path / 'a.xml')
    assert 'SRVGGNetCompact' in str(read.get_rt_info('vsrkd').value)
    request, errors = target.compiled(read).create_infer_request(), []
    for shape in ((1, 3, 9, 22), (2, 3, 31, 16)):
        x = pictures(*shape)
        errors.append(np.abs(request.infer([x.numpy()])[0] - tiny.adapter(x, 2).numpy()).max())
    assert least <= max(errors) <= most
