"""The typed options: defaults that are of their own kind, what is read, what is left out."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from vsrkd_plugin.config import schema
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.config.section import Section
from vsrkd_plugin.config.synthesis_options import ProceduralOptions
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.registration import register

OPTIONS = Path(__file__).resolve().parents[2] / 'options'


def _all(section: type[Section] = Section) -> list[type[Section]]:
    return [section, *(inner for found in section.__subclasses__() for inner in _all(found))]


@pytest.fixture
def opt() -> dict[str, Any]:
    register()
    return load_options(str(OPTIONS / 'dfkd_vsr.yml'))


SECTIONS = [section for section in _all() if section not in (schema.AnyOptions, schema.RealESRGANOptions)]


@pytest.mark.parametrize('section', SECTIONS, ids=lambda section: section.__name__)
def test_every_option_has_a_meaning_and_a_default_of_its_kind(section: type[Section]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description, name
        if field.default is not None and not field.is_required():
            adapter = TypeAdapter(field.annotation)
            assert adapter.validate_python(field.default) == field.default, name


def test_defaults_are_filled(opt: dict[str, Any]) -> None:
    opt['synthesis'] = {'sources': [{'type': 'procedural'}], 'clips': {'frames': 5, 'degradation': 'none'}}
    options = schema.options_model(opt)
    assert isinstance(options, schema.VideoDistillationOptions)
    assert options.synthesis.hr_size == 48 and options.synthesis.bank is None
    assert options.synthesis.clips.speed == (0.03, 3.0)
    (source,) = options.synthesis.sources or ()
    assert isinstance(source, ProceduralOptions) and (source.num_images, source.weight) == (2000, 1)
    assert options.train.generator_freq == 50


@pytest.mark.parametrize(('given', 'hr_size', 'made'), [(None, 48, 96), (None, 192, 112), (120, 48, 120)])
def test_painted_images_are_as_large_as_patches_need(given: int | None, hr_size: int, made: int) -> None:
    register()
    opt = load_options(str(OPTIONS / 'dfkd_vdsr.yml'))
    opt['synthesis'].update(
        hr_size=hr_size, sources=[{'type': 'procedural', **({'image_size': given} if given else {})}]
    )
    (source,) = DistillationPlan.from_options(opt).sources
    assert source.settings == {'num_images': 2000, 'image_size': made}


def test_what_completing_adds_is_left_out(opt: dict[str, Any]) -> None:
    before = schema.options_model(opt)
    complete(opt, '/root_of_runs', is_train=True)
    assert 'root_path' in opt and 'phase' in opt['datasets']['train'] and 'models' in opt['path']
    after, given = schema.options_model(opt), {'ignore_resume_networks', 'resume_state', 'param_keys'}
    assert after.model_copy(update={'num_gpu': 'auto', 'path': before.path}) == before
    assert after.path.model_dump(exclude=given) == before.path.model_dump(exclude=given)


def test_a_whole_number_stays_one(opt: dict[str, Any]) -> None:
    """Banks keep a hash of what the options say: `blur 2` is not `blur 2.0`."""
    opt['synthesis']['clips'].update(sigma=2, speed=[1, 2.5])
    opt['train']['total_iter'] = 5e3
    options = schema.options_model(opt)
    assert isinstance(options, schema.VideoDistillationOptions)
    assert repr((options.synthesis.clips.sigma, options.synthesis.clips.speed)) == '(2, (1, 2.5))'
    assert repr(options.train.total_iter) == '5000'


def test_typed_options_are_checked_and_frozen(opt: dict[str, Any]) -> None:
    options = schema.options_model(opt)
    with pytest.raises(ValidationError):
        options.name = 'other'
    opt['manual_seed'] = -1
    with pytest.raises(ValidationError):
        schema.options_model(opt)


def test_validation_is_quick(opt: dict[str, Any]) -> None:
    validate(opt, True)
    started = time.perf_counter()
    validate(opt, True)
    assert time.perf_counter() - started < 0.1


def test_help_does_not_wait_for_pydantic() -> None:
    code = "import sys\nfrom vsrkd_plugin.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "sys.exit(any(name in sys.modules for name in ('pydantic', 'torch')))"
    assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL).returncode == 0
