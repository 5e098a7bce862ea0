"""Nothing stands under a file's name that was not verified; bad input is told in one line."""

import builtins
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from deploy.export.tiny_models import COMPACT, RLSP, VDSR, Picky, model

from vsrkd_plugin.deploy.export import exporting, torch_export, verifying
from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import Exportable, of_image_model, of_recurrent_model
from vsrkd_plugin.deploy.export.exporting import Request, export
from vsrkd_plugin.deploy.export.table import Row, in_words
from vsrkd_plugin.deploy.export.verifying import Deviation, verify
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.model_file import read_header


class _Pretended:
    """A target whose file is the network itself, less a fault."""

    SUFFIX, PRECISIONS = '.fake', ('fp32', 'int8')

    def __init__(self, fault: float = 0.0, corner: float = 0.0) -> None:
        self.fault, self.corner = fault, corner

    def write(self, exportable: Exportable, path: Path, precision: str, folder: Path) -> Draft:
        (folder / path.name).write_bytes(b'new')

        def run(inputs: Any) -> list[np.ndarray]:
            first, *rest = [
                value.numpy().copy() for value in exportable.outputs_of(tuple(map(torch.from_numpy, inputs)))
            ]
            first += self.fault
            first[..., -1, -1] += self.corner
            return [first, *rest]

        return Draft({folder / path.name: path}, 'fake 1', run)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(**faults: float) -> None:
        monkeypatch.setattr(exporting, '_GRAPHS', {'onnx': _Pretended(**faults)})

    monkeypatch.setattr('vsrkd_plugin.deploy.export.table._SIDE', 32)
    return make


@pytest.mark.parametrize(
    ('faults', 'message'),
    [
        ({'fault': 1e-3}, 'not exported: the file differs from the network'),
        ({'corner': 1e-3}, 'not exported: the file differs from the network'),
        ({'fault': float('nan')}, 'not exported: the file gives values at 48x40 that are not finite'),
    ],
)
def test_a_file_that_is_not_the_network_is_not_left(
    pretend: Any, faults: dict[str, float], message: str, tmp_path: Path
) -> None:
    pretend(**faults)
    path = tmp_path / 'a.fake'
    path.write_bytes(b'old')
    with pytest.raises(UserError, match=message):
        export(model(COMPACT), Request('onnx', path))
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_a_verified_file_replaces_the_old_one_and_its_cost_is_told(pretend: Any, tmp_path: Path) -> None:
    pretend(fault=1e-6)
    path, said = tmp_path / 'a.fake', []
    path.write_bytes(b'old')
    written, rows = export(model(COMPACT), Request('onnx', path), said.append)
    assert written == path and path.read_bytes() == b'new' and list(tmp_path.iterdir()) == [path]
    network, file = rows
    assert file.size == 3 and 5e-7 < (file.difference or 0) < 2e-6 and network.difference is None
    table = in_words(rows, 2).splitlines()
    assert '32x32 x2, one thread' in table[0] and table[3].startswith('| a.fake') and '1.' in table[3]
    assert len({len(line) for line in table}) == 1 and any('verifying' in text for text in said)


def test_a_fault_at_one_size_or_in_a_state_is_found() -> None:
    picture = of_image_model(model(COMPACT), 2)

    def at_odd_sizes(inputs: Any) -> list[np.ndarray]:
        result = picture.module(torch.from_numpy(inputs[0])).numpy()
        return [result + (0.01 if inputs[0].shape[-1] % 2 else 0)]

    with pytest.raises(UserError, match='differs'):
        verify(picture, at_odd_sizes, 'fp32')
    step = of_recurrent_model(model(RLSP))

    def forgetful(inputs: Any) -> list[np.ndarray]:
        outputs = step.module(*map(torch.from_numpy, inputs))
        return [outputs[0].numpy(), *(np.zeros_like(state.numpy()) for state in outputs[1:])]

    with pytest.raises(UserError, match='differs'):
        verify(step, forgetful, 'int8')  # by the pictures alone that come of it

    def broken(inputs: Any) -> list[np.ndarray]:
        raise RuntimeError('no kernel\nmore')

    with pytest.raises(UserError, match=r'cannot be run at 48x40 \(no kernel\)'):
        verify(picture, broken, 'fp32')
    with pytest.raises(UserError, match=r'gives \(1, 3, 48, 40\) at 48x40, expected \(1, 3, 96, 80\)'):
        verify(picture, lambda inputs: list(inputs), 'fp32')


def test_precisions_have_tolerances_in_order() -> None:
    tolerances = [verifying.TOLERANCES[precision] for precision in ('fp32', 'fp16', 'int8')]
    assert tolerances == sorted(tolerances, key=lambda tolerance: tolerance.maximum)
    assert isinstance(Deviation(0, 0), Deviation)


@pytest.mark.parametrize(
    ('request_', 'message'),
    [
        (Request('pth', scale=2), r'-s 2: pth holds the weights of all scales; leave it out'),
        (Request('onnx', Path('a.pth')), r'a\.pth: onnx is written to a file that ends in \.onnx'),
        (Request('onnx', Path('none/a.onnx')), 'there is no folder none'),
        (Request('ncnn', precision='int8'), '--int8: ncnn has fp32 or fp16 alone'),
        (Request('safetensors', precision='int8'), '--int8: safetensors has fp32 or fp16 alone'),
        (Request('onnx', scale=3), 'enlarges by 2, not by 3'),
        (Request('onnx', rgb=True), '--rgb: is for networks of Y'),
        (Request('onnx', tune=10), '--tune: expected a number of steps, with --int8'),
    ],
)
def test_bad_requests(request_: Request, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        export(model(COMPACT), request_)
    assert not list(tmp_path.iterdir())


def test_the_model_itself_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('tiny.pth').write_bytes(b'mine')
    with pytest.raises(UserError, match=r'tiny\.pth: is the model itself'):
        export(model(COMPACT), Request('pth'))
    assert Path('tiny.pth').read_bytes() == b'mine'


@pytest.mark.parametrize(
    ('target', 'library', 'extra'),
    [
        ('onnx', 'onnxruntime', 'onnx'),
        ('onnx', 'onnxscript', 'onnx'),
        ('ncnn', 'ncnn', 'ncnn'),
        ('ncnn', 'pnnx', 'ncnn'),
        ('openvino', 'openvino', 'openvino'),
    ],
)
def test_a_missing_library_names_its_extra(
    target: str, library: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        'vsrkd_plugin.deploy.export.libraries.importlib.import_module', _import_without(library), raising=True
    )
    with pytest.raises(UserError, match=rf"needs the library \w+: pip install 'vsrkd_plugin\[{extra}\]'"):
        export(model(COMPACT), Request(target, tmp_path / f'a{exporting._GRAPHS[target].SUFFIX}'))
    assert not list(tmp_path.iterdir())


def _import_without(missing: str) -> Any:
    def find(name: str) -> ModuleType:
        if name == missing:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
        try:
            return builtins.__import__(name)
        except ModuleNotFoundError:
            return ModuleType(name)  # whether it is there is of no account here

    return find


@pytest.mark.parametrize('options', [COMPACT, RLSP])
@pytest.mark.parametrize('target', ['pth', 'safetensors'])
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_weights_tell_what_they_are(options: dict, target: str, precision: str, tmp_path: Path) -> None:
    path = tmp_path / f'a.{target}'
    tiny = model(options)
    _, (row,) = export(tiny, Request(target, path, precision))
    header = read_header(path)
    assert header is not None and header.network == options and header.precision == precision
    assert (row.difference == 0) == (precision == 'fp32') and row.size < 40_000


def test_a_program_of_torch_runs_without_the_class(tmp_path: Path) -> None:
    tiny = model({'type': 'Picky'}, network=Picky())
    sizes = {}
    for precision in torch_export.PRECISIONS:
        draft = torch_export.write(of_image_model(tiny, 2), tmp_path / f'{precision}.pt2', precision, tmp_path)
        draft.publish()
        x = torch.rand(2, 3, 17, 30)
        found = torch.export.load(tmp_path / f'{precision}.pt2').module()(x)
        error = float((found - tiny.adapter(x, 2)).abs().max())
        assert error <= 1e-6 if precision == 'fp32' else 1e-7 < error < 1e-2
        content = (tmp_path / f'{precision}.pt2').read_bytes()
        assert b'site-packages' not in content
        sizes[precision] = len(content)
    assert sizes['fp16'] < sizes['fp32']


def test_a_row_without_time() -> None:
    assert '0.00 MB' in in_words([Row('a', 'b', 'fp32', 1, None, 0.0)])


def test_rgb_of_a_network_of_y_is_named(pretend: Any, tmp_path: Path) -> None:
    pretend()
    export(model(VDSR, (2, 3)), Request('onnx', tmp_path / 'a.fake', scale=3, rgb=True))
    assert (tmp_path / 'a.fake').exists()


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_wherever_they_come(value: float) -> None:
    """Also behind good ones: a maximum would lose NaN there."""
    exportable = of_image_model(model(COMPACT), 2)
    calls = 0

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        nonlocal calls
        calls += 1
        given = exportable.module(torch.from_numpy(inputs[0])).detach().numpy()
        if calls == 2:
            given[..., -1, -1] = value
        return [given]

    with pytest.raises(UserError, match=r'gives values at .* that are not finite'):
        verify(exportable, run, 'fp32')


@pytest.mark.parametrize('target', ['openvino', 'ncnn'])
def test_weights_beside_the_graph_overwrite_nothing(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.bin` of that name may be the model itself, or anything."""
    monkeypatch.chdir(tmp_path)
    graph = {'openvino': 'net.xml', 'ncnn': 'net.param'}[target]
    Path('net.bin').write_bytes(b'mine')
    for path, told in (('net.bin', 'is the model itself'), ('other.pth', 'is there already')):
        with pytest.raises(UserError, match=rf'net\.bin, which is written beside {graph}, {told}'):
            Request(target, Path(graph)).checked_path(path, 2)
    Path(graph).write_bytes(b'of an export before')
    assert Request(target, Path(graph)).checked_path('other.pth', 2) == Path(graph)
    with pytest.raises(UserError, match='is the model itself'):
        Request(target, Path(graph)).checked_path('net.bin', 2)
