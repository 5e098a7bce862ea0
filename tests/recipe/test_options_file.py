"""The options that are written: valid, complete, and what was found of the teacher in them."""

from dataclasses import replace

import pytest
import yaml

from tests.recipe.teachers import COMPACT, EDSR, RLSP, VDSR, inspected
from vsrkd_plugin.config.loading import parse_yaml
from vsrkd_plugin.config.plan import DistillationPlan
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.recipe.options_file import Recipe, flow
from vsrkd_plugin.recipe.students import propose


def recipe_of(options: dict, **changes) -> Recipe:
    found = replace(inspected(options), **changes.pop('found', {}))
    return Recipe('mine', found, propose(inspected(options)), 'teacher.pth', total_iter=4000, **changes)


@pytest.mark.parametrize('options', [COMPACT, EDSR, VDSR, RLSP], ids=lambda o: o['type'])
def test_options_are_valid_and_say_what_was_proposed(options: dict) -> None:
    recipe = recipe_of(options)
    opt = parse_yaml(recipe.text(), 'written')
    validate(opt, True)
    plan = DistillationPlan.from_options(opt)
    assert plan.teacher is not None and plan.teacher.options == options
    assert plan.student.options == recipe.student.options
    assert plan.total_iter == 4000 and plan.scales == recipe.teacher.scales
    assert plan.starts_from_teacher and plan.bank.reuse >= 4
    assert plan.is_video == recipe.teacher.is_video


def test_a_sharp_teacher_s_student_is_kept_sharp() -> None:
    sharp = [
        replace(gain, network=gain.bicubic, sharpness=3 * gain.sharpness_bicubic) for gain in inspected(EDSR).gains
    ]
    plain = [replace(gain, network=gain.bicubic + 2, sharpness=3 * gain.sharpness_bicubic) for gain in sharp]
    of_sharp = recipe_of(EDSR, found={'gains': tuple(sharp)}).options()['train']
    of_plain = recipe_of(EDSR, found={'gains': tuple(plain)}).options()['train']
    assert of_sharp['sharpness_opt']['type'] == 'SharpnessLoss' and 'sharpness_opt' not in of_plain


def test_a_teacher_for_degraded_images_gets_such() -> None:
    gains = tuple(replace(g, network=g.bicubic + (0 if g.condition == 'clean' else 2)) for g in inspected(EDSR).gains)
    opt = recipe_of(EDSR, found={'gains': gains}).options()
    assert opt['synthesis']['degrade'].keys() == {'clean_prob', 'blur_sigma', 'noise_range', 'jpeg_range'}
    validate(opt, True)


def test_own_pictures_are_a_source(tmp_path) -> None:
    opt = recipe_of(EDSR, inputs=[str(tmp_path)]).options()
    validate(opt, True)
    kinds = [source['type'] for source in opt['synthesis']['sources']]
    assert kinds == ['procedural', 'lr_images']
    assert opt['synthesis']['sources'][1]['dataroot_lq'] == [str(tmp_path.resolve())]


def test_the_contract_is_written_where_the_network_does_not_say_it() -> None:
    assert 'contract_t' not in recipe_of(EDSR).options()
    opt = recipe_of(
        EDSR, found={'contract': {'value_range': [0, 255], 'size_multiple': 8}, 'size_multiple': 8}
    ).options()
    assert opt['contract_t'] == {'value_range': [0, 255], 'size_multiple': 8}
    assert opt['synthesis']['hr_size'] % (8 * EDSR['upscale']) == 0


@pytest.mark.parametrize('value', ['a: b', 'plain', [1, 2], {'a': [1, 'x y']}, 'on', '1e3', '~', "it's"])
def test_values_on_one_line_are_read_again(value) -> None:
    text = flow(value)
    assert '\n' not in text and yaml.safe_load(text) == value
