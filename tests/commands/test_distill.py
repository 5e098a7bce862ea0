"""`distill` from a file alone, as it is typed; and what it refuses."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from tiny_training import few_threads
from torch import Tensor

from vsrkd_plugin.cli import main
from vsrkd_plugin.commands import distill, train
from vsrkd_plugin.config.loading import load_options
from vsrkd_plugin.recipe import budget, limits
from vsrkd_plugin.registration import register
from vsrkd_plugin.run.model_file import ModelHeader, read_header, write_model

register()
TEACHER = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_conv': 8, 'upscale': 2,
           'act_type': 'prelu'}  # fmt: skip


def save(path: Path, options: dict = TEACHER, prefix: str = '') -> str:
    torch.manual_seed(0)
    weights = build_network(dict(options)).state_dict()
    torch.save({'params': {prefix + name: value for name, value in weights.items()}}, path)
    return str(path)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps for a budget: what a training takes is not what is tested."""
    monkeypatch.setattr(budget, '_FOR_STEPS', 0.02)
    monkeypatch.setattr(budget, 'LEAST_ITERATIONS', 10)
    monkeypatch.setattr(budget, '_TIMED', 0.5)


# A process of its own, for it must set up the log, with few steps for a budget.
PROGRAM = (
    'import sys; from vsrkd_plugin.recipe import budget; from vsrkd_plugin.cli import main; '
    'budget._FOR_STEPS = 0.1; budget._TIMED = 0.5; sys.exit(main(sys.argv[1:]))'
)


def typed(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *words], cwd=folder, env=few_threads(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_student_comes_of_a_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = save(tmp_path / 'my teacher.pth', prefix='generator.')
    said = typed(tmp_path, 'distill', teacher, '-o', 'out', '--speedup', '4', '--budget', '2m')
    assert re.search(r'\[ +\d+\.\d s\] reading', said) and 'the student: SRVGGNetCompact' in said
    assert f'{Path("out", "report.html")}: its report' in said
    out = tmp_path / 'out'
    assert {
        'options.yml',
        'student.pth',
        'report.md',
        'report.json',
        'report.png',
        'report.html',
        'teacher.pth',
        'model_card.md',
        'student.safetensors',
    } <= {file.name for file in out.iterdir()}
    (log,) = (out / 'experiments' / 'out').glob('train_*.log')
    assert 'iter: ' in log.read_text() and 'eta: ' in said
    opt = yaml.safe_load((out / 'options.yml').read_text())
    held = torch.load(out / 'student.pth', weights_only=True)
    header = read_header(out / 'student.pth')
    assert header is not None and header == read_header(out / 'student.safetensors')
    assert dict(header.network) == opt['network_g'] and header.scales == (2,) and header.channels == 3
    assert header.distilled_from == 'SRVGGNetCompact (teacher.pth)'
    assert 'vsrkd upscale' in (out / 'model_card.md').read_text()

    # BasicSR's own class loads it, and it is what was trained, not the start.
    student = {key: value for key, value in opt['network_g'].items() if key != 'type'}
    network = SRVGGNetCompact(**student)
    network.load_state_dict(held['params'])
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    trained = torch.load(out / 'experiments' / 'out' / 'models' / 'net_g_latest.pth', weights_only=True)
    assert all(torch.equal(value, held['params'][name]) for name, value in trained['params'].items())

    # Another call does not overwrite it.
    assert main(['distill', teacher, '-o', 'out']) == 2
    assert 'holds a student.pth already' in capsys.readouterr().err


def test_help_tells_the_defaults_that_hold(capsys) -> None:
    with pytest.raises(SystemExit):
        main(['distill', '--help'])
    said = ' '.join(capsys.readouterr().out.split())
    assert f'than the teacher; default: {limits.SPEEDUP:g}' in said
    assert 'default: {}x{}'.format(*limits.SIZE) in said


def test_a_student_is_as_fast_as_asked_for(tmp_path: Path) -> None:
    """What it takes is measured before and after, and told."""
    teacher = save(tmp_path / 't.pth', {**TEACHER, 'num_feat': 32, 'num_conv': 16})
    asked = ['--target', '10ms', '--size', '128x96']
    said = typed(tmp_path, 'distill', teacher, '-o', 'out', *asked, '--budget', '1m')
    first, last = (
        re.search(rf'{words}.*?(\d[\d.]*)ms for 128x96 pixels', said) for words in ('the student:', 'It takes')
    )
    assert first and last and 'asked for was --target 10ms --size 128x96' in said
    assert float(first[1]) <= 20, 'it was 10 when it was chosen, and other work of the machine may have come between'
    written = (tmp_path / 'out' / 'options.yml').read_text()
    assert '"target": "10ms"' in written and '"size": "128x96"' in written


def test_low_rank_is_for_any_family_that_asks_for_it(tmp_path: Path) -> None:
    teacher = save(tmp_path / 't.pth')
    said = typed(tmp_path, 'distill', teacher, '-o', 'out', '--student', 'low_rank', '--speedup', '3', '--budget', '1m')
    assert 'the student: LowRankNetwork' in said
    opt = yaml.safe_load((tmp_path / 'out' / 'options.yml').read_text())
    assert opt['network_g']['type'] == 'LowRankNetwork' and opt['train']['init'] == 'teacher'
    assert opt['network_g']['network'].items() >= {'type': 'SRVGGNetCompact', 'upscale': 2}.items()
    header = read_header(tmp_path / 'out' / 'student.pth')
    assert header is not None and header.network['rank'] == opt['network_g']['rank']


def test_an_interrupted_one_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, short) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = save(tmp_path / 't.pth')
    stock = train.run

    def stopped(args) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, 'run', stopped)
    assert main(['distill', teacher, '--budget', '1m']) == 130
    assert capsys.readouterr().err.endswith('basicsr: interrupted\n')
    written = (tmp_path / 'runs' / 't' / 'options.yml').read_text()
    monkeypatch.setattr(train, 'run', stock)
    other = save(tmp_path / 'other.pth')
    assert main(['distill', other, '-o', 'runs/t']) == 2
    assert 'is of another teacher' in capsys.readouterr().err
    assert main(['distill', teacher, '--budget', '1m']) == 0
    assert 'going on with' in capsys.readouterr().out
    assert (tmp_path / 'runs' / 't' / 'options.yml').read_text() == written


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--student', 'small'], '--student: expected same, compact, low_rank, or an options file'),
        (['--student', 'none.yml'], r'--student none\.yml: cannot be read'),
        (['--inputs', 'none'], '--inputs none: no such folder'),
        (['--budget', 'soon'], '--budget: expected a time'),
        (['--contract', 'x'], r'--contract: expected \{key: value\}, got x'),
        (['--contract', '{size_multiple: 0}'], '--contract, size_multiple: expected a whole number > 0, got 0'),
        (['--contract', '{min_size: 1.5}'], '--contract, min_size: expected'),
        (['--contract', '{value_range: [0, .inf]}'], '--contract, value_range: expected two numbers'),
        (['--contract', '{range: [0, 255]}'], "--contract: unknown key 'range'; known are channels, value_range"),
        (['--contract', '{1: 2}'], '--contract: unknown key 1'),
        (['--network', 'NoSuchNet'], '--network NoSuchNet: cannot be built'),
        (['--speedup', '1000'], 'no Compact is so small|no SRVGGNetCompact is so small'),
        (['-o', 't.pth'], '-o t.pth: is a file'),
        (['-o', 't.pth/x'], '-o t.pth/x: .*t.pth is not a folder'),
        (['--speedup', '0'], '--speedup: expected a number from 1'),
        (['--speedup', 'nan'], '--speedup: expected a number from 1'),
        (['--speedup', '4', '--target', '30ms'], '--speedup and --target: expected one of them'),
        (
            ['--target', 'soon'],
            '--target: expected a time for a picture or frame, such as 30ms, 0.5s or 25fps, got soon',
        ),
        (['--target', '30ms', '--size', 'big'], '--size: expected width and height of LR in pixels'),
        (['--target', '1s', '--budget', '2m'], r'--budget: timing students .* takes some 80 s; expected 160s or more'),
        (
            ['--target', '1s', '--student', 'mine.yml'],
            '--target: chooses a student; of --student FILE.yml there is none',
        ),
        (['--size', '64x64'], '--size: is the size that --target is for'),
        (['--target', '0.001ms', '--size', '64x64'], '--target 0.001ms --size 64x64: no Compact is so small'),
        (['--seed', '-1'], '--seed: expected a whole number'),
        (['--budget', '9' * 400], '--budget: expected a time'),
        (['--network', '{num_feat: 3}'], '--network: expected TYPE'),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 't.pth')
    assert main(['distill', 't.pth', *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and 'Traceback' not in error
    assert not (tmp_path / 'runs').exists()


def test_inputs_with_nothing_readable_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, short) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 't.pth')
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'a.png').write_bytes(b'no picture')
    assert main(['distill', 't.pth', '--inputs', 'mine', '--budget', '1m']) == 2
    assert 'mine' in capsys.readouterr().err


def test_inspect_prints_json(tmp_path: Path, capsys) -> None:
    assert main(['inspect', save(tmp_path / 't.pth'), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['options'] == TEACHER and found['scales'] == [2]


def _pictures(folder: Path, noise: float) -> str:
    """LR pictures of a noisy camera, and one that is none."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        plain = cv2.resize(rng.uniform(40, 210, (8, 8, 3)).astype(np.float32), (96, 96), interpolation=cv2.INTER_CUBIC)
        noisy = (plain + noise * rng.standard_normal(plain.shape)).clip(0, 255).round()
        cv2.imwrite(str(folder / f'{number}.png'), noisy.astype(np.uint8))
    (folder / 'bad.png').write_bytes(b'no picture')
    return str(folder)


def test_inspect_tells_what_degrades_pictures(tmp_path: Path, capsys, caplog) -> None:
    folder = _pictures(tmp_path / 'mine', 8)
    assert main(['inspect', '--inputs', folder]) == 0
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.lstrip().startswith('degrade:'))
    low, high = yaml.safe_load(line)['degrade']['noise_range']
    assert low < 8 < high and '3 pictures' in told
    assert '1 not readable' in caplog.text
    assert main(['inspect', '--inputs', folder, '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {'inputs'} and found['inputs']['noise_sigma'] == pytest.approx(8, abs=1)


def test_inspect_tells_of_a_teacher_and_of_pictures(tmp_path: Path, capsys) -> None:
    assert main(['inspect', save(tmp_path / 't.pth'), '--inputs', _pictures(tmp_path / 'mine', 8), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['options'] == TEACHER and found['inputs']['pictures'] == 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], r'expected TEACHER .*, --inputs FOLDER'),
        (['--inputs', 'nowhere'], '--inputs: no folder nowhere'),
        (['--inputs', 'empty'], '--inputs: folder empty holds no image'),
        (['--inputs', 'bad'], 'bad: .*1 not readable'),
        (['--inputs', 'small'], 'small: no image is as large as 32x32; found 1; the largest 40x20'),
    ],
)
def test_inspect_refuses(arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('empty', 'bad', 'small'):
        Path(name).mkdir()
    Path('bad/a.png').write_bytes(b'no picture')
    cv2.imwrite('small/a.png', np.zeros((20, 40, 3), np.uint8))
    assert main(['inspect', *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and 'Traceback' not in error


def test_what_it_was_written_by_is_not_run(tmp_path: Path, capsys) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / 'trap',))

    torch.save({'params': {'a': Tensor([1.0])}, 'x': Evil()}, tmp_path / 'evil.pth')
    assert main(['inspect', str(tmp_path / 'evil.pth')]) == 2
    assert not (tmp_path / 'trap').exists()


def test_a_student_of_another_scale_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 't.pth')
    for change in ({'upscale': 3}, {'num_in_ch': 1, 'num_out_ch': 1}):
        (tmp_path / 's.yml').write_text(yaml.safe_dump({**TEACHER, 'num_feat': 8, **change}))
        assert main(['distill', 't.pth', '--student', 's.yml']) == 2
        assert 'cannot take the place of the teacher' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['teacher.pth', 'model_card.md', 'report.md', 'options.yml'])
def test_what_a_folder_holds_is_not_overwritten(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, short
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = save(tmp_path / 'teacher.pth', prefix='generator.')  # a copy of it would be called so too
    if name != 'teacher.pth':
        teacher = str((tmp_path / 'teacher.pth').rename(tmp_path / 't.pth'))
        (tmp_path / name).write_text('name: mine')
    before = (tmp_path / name).read_bytes()
    assert main(['distill', teacher, '-o', '.', '--budget', '1m']) == 2
    assert name in capsys.readouterr().err and (tmp_path / name).read_bytes() == before


def test_a_copied_teacher_is_told_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, short) -> None:
    monkeypatch.chdir(tmp_path)
    calls = []

    def stopped(args) -> int:
        calls.append(args.opt)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, 'run', stopped)
    teacher, other = (save(tmp_path / f'{name}.pth', prefix='generator.') for name in 'ab')
    assert main(['distill', teacher, '-o', 'out', '--budget', '1m']) == 130
    assert main(['distill', other, '-o', 'out']) == 2
    assert f'is of another teacher, {teacher}' in capsys.readouterr().err
    assert main(['distill', teacher, '-o', 'out']) == 130
    assert len(calls) == 2


def test_a_folder_that_was_moved_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Its copy of the teacher moved with it; a teacher that is gone is told so."""
    calls = []

    def interrupted(args: Any) -> int:
        calls.append(load_options(args.opt, args.force_yml)['path']['pretrain_network_t'])
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, 'run', interrupted)
    teacher = save(tmp_path / 'a.pth', prefix='generator.')
    assert main(['distill', teacher, '-o', 'out', '--budget', '1m']) == 130
    Path('out').rename("it's: elsewhere")
    assert main(['distill', teacher, '-o', "it's: elsewhere"]) == 130
    assert calls == [str(tmp_path / 'out' / 'teacher.pth'), str(tmp_path / "it's: elsewhere" / 'teacher.pth')]
    capsys.readouterr()
    Path(teacher).rename('b.pth')
    assert main(['distill', 'b.pth', '-o', "it's: elsewhere"]) == 2
    assert f'is of another teacher, {teacher}, which is gone' in capsys.readouterr().err


def test_other_wishes_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """They would come to nothing; the time that it may take may be another, and is told to be as it was."""

    def interrupted(_args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, 'run', interrupted)
    line = ['distill', save(tmp_path / 'a.pth'), '-o', 'out', '--speedup', '2']
    assert main([*line, '--budget', '1m']) == 130
    capsys.readouterr()
    for words in (['--speedup', '8'], ['--speedup', 'nan'], ['--seed', '1'], ['--student', 'foo'], ['--inputs', '.']):
        assert main([*line, *words]) == 2, words
        assert f'{words[0]}: out/options.yml was written for' in capsys.readouterr().err
    assert main([*line, '--budget', '5m']) == 130
    options = tmp_path / 'out' / 'options.yml'
    options.write_text(options.read_text().replace('# Asked of distill: {', '# Asked of distill: <'))
    assert main(line) == 2
    assert "its line '# Asked of distill: ' was changed" in capsys.readouterr().err


def test_a_student_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, 'run', lambda _args: 0)
    assert main(['distill', save(tmp_path / 'a.pth'), '-o', 'out', '--budget', '1m']) == 2
    assert 'experiments/out/model_card.md: cannot be read (No such file' in capsys.readouterr().err


def test_of_several_processes_it_is_not_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert main(['distill', save(tmp_path / 't.pth')]) == 2
    assert 'is for one process, 2 were started' in capsys.readouterr().err


def test_own_pictures_and_kinds_are_for_image_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    video = save(tmp_path / 'v.pth', {'type': 'RLSP', 'num_feat': 16, 'num_layer': 3, 'upscale': 2})
    for words, message in (
        (['--inputs', '.'], '--inputs: is for teachers of images'),
        (['--student', 'compact'], 'RLSP'),
    ):
        assert main(['distill', video, *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('model', 'given'),
    [('DataFreeDistillationModel', ['PICTURES', 'LARGE']), ('VideoDataFreeDistillationModel', ['FILM', 'LARGE.mp4'])],
)
def test_the_last_line_can_be_typed_as_it_stands(model: str, given: list[str], tmp_path: Path, capsys) -> None:
    folder = tmp_path / 'my students'
    experiment = folder / 'experiments' / 'x'
    experiment.mkdir(parents=True)
    opt = {'name': 'x', 'model_type': model, 'scales': [2], 'network_g': TEACHER}
    (folder / 'options.yml').write_text(yaml.safe_dump(opt))
    for name in ('student.pth', 'student.safetensors', 'model_card.md', 'report.md'):
        (experiment / name).write_text(name)
    distill._finish(folder / 'options.yml', folder, ['my_archs'])
    assert all((folder / file.name).read_text() == file.name for file in experiment.iterdir())
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:4] == ['vsrkd', 'upscale', '-m', str(folder / 'student.pth')]
    assert [words[5], words[7]] == given and words[-2:] == ['--import', 'my_archs']


def test_the_last_line_enlarges_pictures(tmp_path: Path) -> None:
    write_model(build_network(dict(TEACHER)).state_dict(), ModelHeader(TEACHER, (2,), 3), tmp_path / 'student.pth')
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    cv2.imwrite(str(pictures / 'a.png'), np.random.default_rng(0).integers(0, 255, (10, 12, 3), dtype=np.uint8))
    typed(tmp_path, 'upscale', '-m', 'student.pth', '-i', 'pictures', '-o', 'large')
    (made,) = (tmp_path / 'large').rglob('*.png')
    assert cv2.imread(str(made)).shape == (20, 24, 3)
