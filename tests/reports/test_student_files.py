"""The student as files, written with its report: they open without its options, and the card tells its figures."""

from pathlib import Path

import pytest
import torch
import yaml

from vsrkd_plugin import __version__
from vsrkd_plugin.inspection.opening import open_model
from vsrkd_plugin.reports.folder import make_report
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.run.model_file import ModelHeader, read_header


def test_files_open_without_options(experiment: Path) -> None:
    make_report(experiment)
    expected = ModelHeader(
        network={'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 4, 'num_block': 2},
        scales=(2, 3),
        channels=1,
        distilled_from='VDSR (teacher.pth)',
        version=__version__,
    )
    trained = read_weights(experiment / 'models' / 'net_g_latest.pth')
    for name in ('student.pth', 'student.safetensors'):
        assert read_header(experiment / name) == expected
        model = open_model(str(experiment / name))
        assert model.network(torch.rand(1, 1, 8, 9), scale=3).shape == (1, 1, 24, 27)
        assert all(torch.equal(value, trained[key]) for key, value in model.network.state_dict().items())


def test_the_card_has_front_matter_and_the_reports_figures(experiment: Path) -> None:
    report = make_report(experiment)
    text = (experiment / 'model_card.md').read_text(encoding='utf-8')
    _, front, page = text.split('---\n', 2)
    assert yaml.safe_load(front)['pipeline_tag'] == 'image-to-image'
    assert 'x2, x3' in page and 'distilled from VDSR (teacher.pth)' in page and 'no picture of a data set' in page
    student = [result for result in report['results'] if result['method'] == 'student']
    assert all(f'{result["psnr"]:.2f}' in page for result in student)
    assert 'vsrkd upscale -m student.safetensors' in page and 'VDSR(num_in_ch=1, num_feat=4, num_block=2)' in page


def test_of_a_training_with_data_no_teacher_is_told(experiment: Path) -> None:
    file = experiment / 'options.yml'
    options = yaml.safe_load(file.read_text())
    del options['network_t'], options['scales']
    options.update(model_type='MultiScaleSRModel', scale=2)
    for name in ('val_x2', 'val_x3'):
        options['datasets'][name]['scale'] = 2
    file.write_text(yaml.safe_dump(options))
    make_report(experiment)
    header = read_header(experiment / 'student.pth')
    assert header is not None and header.distilled_from is None and header.scales == (2,)
    assert 'distilled' not in (experiment / 'model_card.md').read_text(encoding='utf-8').partition('# tiny')[2]


@pytest.mark.parametrize('name', ['student.pth', 'student.safetensors', 'model_card.md'])
def test_another_report_writes_them_anew(experiment: Path, name: str) -> None:
    (experiment / name).write_text('of an older training')
    make_report(experiment)
    assert (experiment / name).read_bytes() != b'of an older training'


@pytest.mark.parametrize(
    'synthesis', [{'sources': [{'type': 'procedural'}, {'type': 'lr_images'}]}, {'bank': {'path': 'bank.lmdb'}}]
)
def test_only_a_student_of_made_inputs_is_called_data_free(experiment: Path, synthesis: dict) -> None:
    def tags() -> list[str]:
        make_report(experiment)
        front = (experiment / 'model_card.md').read_text(encoding='utf-8').split('---\n', 2)[1]
        return yaml.safe_load(front)['tags']

    assert 'data-free' in tags()
    file = experiment / 'options.yml'
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), 'synthesis': synthesis}))
    assert 'data-free' not in tags() and 'knowledge-distillation' in tags()
    page = (experiment / 'model_card.md').read_text(encoding='utf-8')
    assert 'distilled from VDSR (teacher.pth).' in page and 'no picture of a data set' not in page
