"""The ablation: every row is a valid training that differs from the default. The race: who was where when."""

import importlib.util
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.registration import register

ROOT = Path(__file__).resolve().parents[1]
PLANS = {
    name: yaml.safe_load((ROOT / 'benchmarks' / f'{name}.yml').read_text(encoding='utf-8'))
    for name in ('ablation', 'compression', 'video_ablation')
}
PLAN = PLANS['ablation']


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / 'benchmarks' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # one script imports another, dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _script_with_film(name: str) -> ModuleType:
    _script('film')
    return _script(name)


@pytest.fixture(scope='module')
def ablation() -> ModuleType:
    _script('measuring')
    _script('curves')
    return _script('ablation')


@pytest.fixture(scope='module')
def curves(ablation: ModuleType) -> ModuleType:
    return sys.modules[ablation.measured.__module__]


@pytest.fixture(scope='module')
def race(ablation: ModuleType) -> ModuleType:
    return _script('race')


@pytest.mark.parametrize(('plan', 'row'), [(name, row) for name, plan in PLANS.items() for row in plan['rows']])
def test_rows_are_valid(ablation: ModuleType, plan: str, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    register()
    options = ablation.row_options(PLANS[plan], PLANS[plan]['rows'][row], 0)
    validate(options, True)
    own = (PLANS[plan]['rows'][row] or {}).get('train', {}).get('total_iter')
    assert options['train']['total_iter'] == (own or PLANS[plan]['common']['train']['total_iter'])
    assert ('val' in options) == (plan == 'compression')


def test_merging_changes_adds_and_drops(ablation: ModuleType) -> None:
    base = {'a': {'b': 1, 'c': [1, 2]}, 'd': 4}
    change = {'a': {'c': [3], '-': ['b']}, 'e': {'f': 5}}
    assert ablation.merged(base, change) == {'a': {'c': [3]}, 'd': 4, 'e': {'f': 5}}
    assert base == {'a': {'b': 1, 'c': [1, 2]}, 'd': 4}


def test_table_has_a_line_for_each_row(ablation: ModuleType) -> None:
    row = {
        'label': 'noise', 'seed': 0, 'psnr': {'Set5 x2': 34.381}, 'agreement': {'x2': 40.0, 'x3': 42.0},
        'training': {'iterations': 650, 'seconds': 90.0, 'device': 'cpu'}, 'command': 'basicsr train',
        'date': '2026-01-01', 'machine': 'm',
    }  # fmt: skip
    references = {method: {'Set5 x2': 33.69} for method in ('bicubic', 'teacher')}
    text = ablation.to_markdown([row], references, 'python benchmarks/ablation.py')
    assert '| noise | 0 | 650 | 1.5 | 41.00 | 34.38 |' in text
    assert '- 2026-01-01, m, cpu: noise' in text
    wider = {method: {'Set5 x2': 33.69, 'Set5 x3': 30.41} for method in references}
    assert '| noise | 0 | 650 | 1.5 | 41.00 | 34.38 |  |' in ablation.to_markdown([row], wider, 'x')
    page = '# Results\n\n<!-- ablation -->\nold\n<!-- end of ablation -->\n\nmore\n'
    page = ablation.put_into(ablation.put_into(page, text), text)  # twice is once
    assert page.startswith('# Results') and page.endswith('\nmore\n') and 'old' not in page and page.count(text) == 1
    assert ablation.put_into('', text) == text
    widths = {line.count('|') for line in text.splitlines() if line.startswith('|')}
    assert len(widths) == 1


def test_a_racer_counts_only_its_own_time(race: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now, steps = [0.0], []
    monkeypatch.setattr(race, 'time', SimpleNamespace(monotonic=lambda: now[0]))

    def step(iteration: int) -> None:
        steps.append(iteration)
        now[0] += 2

    model = SimpleNamespace(
        device=SimpleNamespace(type='cpu'), update_learning_rate=lambda iteration: None, optimize_parameters=step
    )
    racer = race.Racer('ours', model, total=5)
    racer.run(0.1)
    assert steps == [1]  # one step at least
    now[0] += 100
    racer.run(60)
    assert steps == [1, 2, 3, 4, 5]  # and no more than there are
    assert racer.seconds == 10


def test_a_racer_is_measured_by_what_it_exports_and_trains_on(race: ModuleType, image_folder: Path) -> None:
    torch.manual_seed(0)
    student, averaged = VDSR(num_feat=2, num_block=1).train(), VDSR(num_feat=2, num_block=1).eval()
    found = []
    for exported in (student, averaged):
        task = SimpleNamespace(student=student, exported=exported, scales=[2])
        racer = race.Racer('ours', SimpleNamespace(task=task, device=torch.device('cpu')), total=5)
        racer.measure(str(image_folder))
        assert student.training and not averaged.training
        found.append(racer.curve[0]['psnr'])
        assert (
            found[-1] == race.cells({'student': race.ImageSRAdapter(exported, 1)}, [str(image_folder)], [2])['student']
        )
    assert found[0] != found[1]


def test_the_page_of_the_race_says_who_was_there_when(race: ModuleType) -> None:
    def point(seconds: float, iteration: int, x2: float) -> dict[str, Any]:
        return {'seconds': seconds, 'iteration': iteration, 'psnr': {'Set5 x2': x2, 'Set5 x3': 33.13, 'Set5 x4': 30.71}}

    curves = {
        'paper': [point(2, 0, 30.0), point(302, 100, 33.0), point(602, 200, 32.0)],
        'ours': [point(5, 0, 32.0), point(10, 20, 33.5), point(300, 900, 37.3)],
    }
    facts = dict.fromkeys(('teacher', 'seed', 'device', 'date', 'command'), 'x')
    text = race.to_markdown(curves, facts, 'race.png')
    assert '**30 times**' in text  # 302 s against 10 s
    assert '16.7 days here, at 3.00 s a step' in text  # 480,000 steps of 3 s
    assert 'after 5.0 minutes: 4,800 times faster' in text
    assert race.overtaken(curves['ours'], 50.0) is None


def test_records_of_rows_are_kept_unless_the_options_changed(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert ablation.read_record(PLAN, 'noise', 0, tmp_path) is None
    row = {'options': ablation.row_options(PLAN, PLAN['rows']['noise'], 0)}
    ablation.record_file('noise', 0, tmp_path).write_text(json.dumps(row), encoding='utf-8')
    assert ablation.read_record(PLAN, 'noise', 0, tmp_path) == row
    ablation.measure_row(PLAN, 'noise', 0, tmp_path / 'nothing is trained', tmp_path)
    assert not (tmp_path / 'nothing is trained').exists()
    row['options']['train']['total_iter'] += 1
    ablation.record_file('noise', 0, tmp_path).write_text(json.dumps(row), encoding='utf-8')
    with pytest.raises(SystemExit, match='made with other options'):
        ablation.read_record(PLAN, 'noise', 0, tmp_path)


def test_rows_of_the_compression_page_lie_on_the_curves_that_they_belong_to(curves: ModuleType) -> None:
    plan = PLANS['compression']
    ablation = sys.modules['ablation']
    kinds = {label: curves.kind_of(ablation.row_options(plan, change, 0)) for label, change in plan['rows'].items()}
    assert {label for label, kind in kinds.items() if kind == 'fewer blocks'} == {'6 blocks', '12 blocks'}
    assert {label for label, kind in kinds.items() if kind == 'rank'} == {'rank 24', 'rank 12'}
    assert kinds['8 channels'] == kinds['48 channels'] == 'channels'
    assert kinds['48 channels of rank 32'] == 'channels and rank' and kinds['Compact x2'] == 'SRVGGNetCompact'


def test_costs_are_shares_of_the_teachers_and_measured_once(
    curves: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    teacher = {'type': 'VDSR', 'num_in_ch': 1, 'num_feat': 16, 'num_block': 2}
    rows = [
        {'label': label, 'options': {'scales': [2], 'network_t': teacher, 'network_g': {**teacher, **change}}}
        for label, change in (('narrow', {'num_feat': 8}), ('shallow', {'num_block': 1}))
    ]
    monkeypatch.setattr(curves, 'SIDE', 32)
    file = tmp_path / 'costs.json'
    first = curves.measured(rows[:1], file)['narrow']
    # VDSR works at the size of its result without biases: a multiply-accumulate for each weight and pixel.
    whole = 2 * 9 * 16 + 2 * 9 * 16 * 16
    assert first['params'] == first['macs'] == pytest.approx((2 * 9 * 8 + 2 * 9 * 8 * 8) / whole)
    assert 0 < first['seconds_per_image'] < 5
    asked: list[dict] = []
    monkeypatch.setattr(curves, 'shares', lambda options: asked.append(options) or dict.fromkeys(curves.COSTS, 0.5))
    again = curves.measured(rows, file)
    assert again['narrow'] == first and [options['network_g']['num_block'] for options in asked] == [1]
    rows[0]['options']['network_g']['num_feat'] = 4
    assert curves.measured(rows, file)['narrow']['params'] == 0.5 and len(asked) == 2


def test_each_student_is_drawn_at_its_costs_in_the_cells_that_it_has(
    curves: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot as plt

    plan, ablation = PLANS['compression'], sys.modules['ablation']
    labels = {'16 channels': {'A x2': 36.0, 'A x4': 30.0}, '8 channels': {'A x2': 35.0, 'A x4': 29.0},
              'Compact x4': {'A x4': 30.5}}  # fmt: skip
    rows = [
        {'label': label, 'psnr': psnr, 'options': ablation.row_options(plan, plan['rows'][label], 0)}
        for label, psnr in labels.items()
    ]
    costs = {
        label: {'params': share, 'macs': share / 2, 'seconds_per_image': 2 * share}
        for label, share in zip(labels, (0.1, 0.05, 0.2), strict=True)
    }
    monkeypatch.setattr(plt, 'close', lambda figure: None)
    curves.draw_curves(rows, costs, {'A x2': 37.0, 'A x4': 31.0}, tmp_path / 'curves.png')
    figure = plt.gcf()
    drawn = {
        axes.get_title(): {line.get_label(): list(map(tuple, line.get_xydata().tolist())) for line in axes.lines[1:]}
        for axes in figure.axes
    }
    plt.close('all')
    assert drawn['A x2: PSNR (dB) against weights'] == {
        'channels': [(5, 35), (10, 36)],  # from the smallest to the largest
        'SRVGGNetCompact': [],
    }
    assert drawn['A x4: PSNR (dB) against time'] == {'channels': [(10, 29), (20, 30)], 'SRVGGNetCompact': [(40, 30.5)]}
    assert len(drawn) == 6 and (tmp_path / 'curves.png').stat().st_size > 10_000


def test_a_heavy_video_teacher_is_a_smaller_share_of_a_step_the_more_often_its_answers_are_used(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = ['network_t:num_feat=8', 'network_t:num_block=1', 'network_g:num_feat=4', 'num_gpu=0',
               'datasets:train:batch_size_per_gpu=1', 'synthesis:hr_size=32', 'synthesis:bank:hr_size=64',
               'synthesis:clips:frames=3', 'synthesis:bank:frames=5',
               'synthesis:sources=[{type: procedural, num_images: 4}]']  # fmt: skip
    options = str(ROOT / 'options' / 'dfkd_vsr_tdan.yml')
    monkeypatch.setattr('sys.argv', ['x', options, '--steps', '2', '--reuse', '1', '16', '--force_yml', *changes])
    _script('heavy_video_teacher').main()
    text = capsys.readouterr().out
    assert 'TDAN' in text and 'clips of 5 frames' in text and 'clips of 3 frames' in text
    shares = [float(share) for share in re.findall(r'teacher ([\d. ]+) %', text)]
    assert len(shares) == 2 and 0 < shares[1] < shares[0] < 100


def test_agreement_is_measured_as_papers_do() -> None:
    """Bicubic against bicubic agrees; a blurred student is less sharp; PSNR is BasicSR's."""
    from basicsr.metrics import calculate_psnr
    from basicsr.utils import tensor2img

    script = _script('agreement')
    rng = torch.Generator().manual_seed(0)
    hr, teacher = (torch.rand(1, 3, 40, 40, generator=rng) for _ in range(2))
    student = torch.nn.functional.avg_pool2d(teacher, 3, 1, 1)
    found = script.measured({'teacher': teacher, 'student': student}, hr, 4)
    images = [tensor2img(image.clone()) for image in (student, teacher, hr)]
    expected = calculate_psnr(images[0], images[1], crop_border=4, test_y_channel=True)
    assert found['agreement'] == pytest.approx(expected, abs=0.02)
    assert found['teacher'] == pytest.approx(calculate_psnr(*images[1:], crop_border=4, test_y_channel=True), abs=0.02)
    assert found['sharpness student'] < 0.5 * found['sharpness teacher']
    assert script.measured({'teacher': hr, 'student': hr}, hr, 4)['agreement'] > 90


@pytest.mark.slow
def test_work_that_is_killed_ends_as_work_that_is_not(tmp_path: Path) -> None:
    """The short form of the 100 kills in docs/results.md."""
    line = [sys.executable, 'benchmarks/soak.py', '--kills', '6', '--iterations', '600', '--work', str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    for work in ('train', 'synthesize', 'upscale'):
        assert told[work]['kills'] == 2 and told[work]['ends'] >= 1 and told[work]['compared'] >= 2, told
    assert told['memory']['status'] == 0 and told['memory']['samples'] > 20, told


def test_soak_tells_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that depends on the moment must not pass."""
    soak = _script_with_film('soak')
    ends = iter([0, 0])
    results = iter([{'weights': 'a', 'names': 'x'}, {'weights': 'b', 'names': 'x, .x.part'}])
    monkeypatch.setattr(soak, 'start', lambda *_args: SimpleNamespace(wait=lambda _seconds: next(ends)))
    work = soak.Work('train', [], lambda _folder: next(results))
    expected, _seconds = soak.whole(work, tmp_path / 'whole')
    soak.kill(work, 0, tmp_path / 'killed', expected, 1.0, random.Random(0))
    assert sorted(work.differing) == ['names', 'weights'] and work.ends == 1 and not work.failed


@pytest.mark.slow
def test_what_a_gpu_is_measured_by_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    gpu = _script('gpu')
    monkeypatch.setattr(sys, 'argv', ['gpu.py', '--out', str(tmp_path / 'gpu.json')])
    gpu.main()
    found = json.loads((tmp_path / 'gpu.json').read_text(encoding='utf-8'))
    assert found['bit_for_bit'] is True and 'no GPU' in found['waiting']
    if not torch.cuda.is_available():
        assert re.match(r'\d+ skipped, \d+ deselected', found['tests']), found['tests']
    for row in found['steps']:
        assert 0 < row['floor'] < row['seconds'] and row['share'] == row['floor'] / row['seconds']


def test_the_table_of_a_gpu_tells_times_and_shares() -> None:
    found = {
        'device': 'a GPU', 'torch': '2', 'precision': 'bfloat16',
        'operations_per_second': 5e14, 'bytes_per_second': 3e12,
        'waiting': '200 steps, none waits', 'bit_for_bit': False, 'tests': '5 passed',
        'steps': [{'batch': 8, 'seconds': 0.01, 'floor': 0.002, 'share': 0.2, 'patches': 800.0}],
    }  # fmt: skip
    text = _script('gpu').table(found)
    assert 'a GPU, torch 2: 500.00 TFLOP/s (bfloat16), 3000 GB/s' in text
    assert '| 8 | 10.00 ms | 2.00 ms | 20 % | 800 |' in text and 'none waits. Goes on bit for bit: no.' in text
    assert 'gpu`: 5 passed' in text


def test_what_takes_long_is_timed_once_all_the_same() -> None:
    """As products in bf16 do on a CPU that has none."""
    calls: list[float] = []
    seconds = _script('gpu').seconds_of(lambda: calls.append(time.sleep(0.02)), torch.device('cpu'), least=0.001)
    assert len(calls) == 2 and 0.02 <= seconds < 1


def test_two_parts_of_a_training_that_differ_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = _script('gpu')

    def train(root: Path, name: str, iterations: int, overrides: list[str], *arguments: str) -> Path:
        folder = root / name
        (folder / 'models').mkdir(parents=True, exist_ok=True)
        value = float(bool(arguments) and lost)
        torch.save({'params': {'a': torch.tensor([value])}}, folder / 'models' / 'net_g_latest.pth')
        return folder

    monkeypatch.setattr(gpu, 'train', train)
    for lost in (False, True):
        assert gpu.goes_on_bit_for_bit(tmp_path, 4, []) is not lost
