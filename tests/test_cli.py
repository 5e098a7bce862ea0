"""The command line: bad input gets one line and status 2 and creates nothing; runs, reports, two processes, kills."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_training import TOTAL, command_line, few_threads, run, stock_test_options, tiny_options

from vsrkd_plugin.cli import main
from vsrkd_plugin.run.training_states import read_share

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def options(tmp_path: Path, image_folder: Path) -> dict:
    return tiny_options(tmp_path, image_folder)


def _write(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / 'bad.yml').write_text(text, encoding='utf-8')
    return ['-opt', str(tmp_path / 'bad.yml')]


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(f.relative_to(folder)): f.read_bytes() if f.is_file() else None for f in sorted(folder.rglob('*'))}


def _refused(arguments: list[str], tmp_path: Path, capsys: Any) -> str:
    """The one error line of a command that must end with status 2 and change nothing on disk."""
    before = _tree(tmp_path)
    assert main(['train', *arguments, '--root', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count('\n') == 0, error
    assert _tree(tmp_path) == before
    return error


def test_missing_options_file(tmp_path: Path, capsys: Any) -> None:
    assert 'nowhere.yml: no such options file' in _refused(['-opt', str(tmp_path / 'nowhere.yml')], tmp_path, capsys)


def test_yaml_syntax_error(tmp_path: Path, capsys: Any) -> None:
    assert 'bad.yml, line 2: not valid YAML' in _refused(_write(tmp_path, 'name: a\n b: [1\n'), tmp_path, capsys)


@pytest.mark.parametrize('command', ['train', 'test'])
def test_a_name_that_leads_out_of_the_experiments_is_refused(
    command: str, options: dict, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / 'precious').mkdir()
    (tmp_path / 'precious' / 'thesis').write_text('years')
    if command == 'test':
        options['datasets'] = {'test': options['datasets']['val_x2']}
    (tmp_path / 'options.yml').write_text(yaml.safe_dump({**options, 'name': '../../precious'}))
    before = _tree(tmp_path)
    assert main([command, '-opt', str(tmp_path / 'options.yml'), '--root', str(tmp_path / 'out')]) == 2
    assert capsys.readouterr().err == "basicsr: error: name: expected one folder name, got '../../precious'\n"
    assert _tree(tmp_path) == before


def test_python_tag_runs_nothing(tmp_path: Path, capsys: Any) -> None:
    victim = tmp_path / 'made'
    text = f'name: !!python/object/apply:os.mkdir ["{victim}"]\n'
    assert 'line 1' in _refused(_write(tmp_path, text), tmp_path, capsys)
    assert not victim.exists()


def _set(path: str, value: Any) -> Callable[[dict, Path], None]:
    def change(options: dict, _tmp: Path) -> None:
        *sections, key = path.split('/')
        for section in sections:
            options = options[int(section) if section.isdigit() else section]
        options[key] = value

    return change


def _truncated(options: dict, tmp: Path) -> None:
    content = (tmp / 'teacher.pth').read_bytes()
    (tmp / 'teacher.pth').write_bytes(content[: len(content) // 2])


def _foreign_pickle(options: dict, tmp: Path) -> None:
    (tmp / 'teacher.pth').write_bytes(b'cos\nsystem\n(S"touch pwned"\ntR.')


def _corrupt_image(options: dict, tmp: Path) -> None:
    (tmp / 'images' / '1.png').write_bytes(b'no image')


def _empty_folder(options: dict, tmp: Path) -> None:
    (tmp / 'empty').mkdir()
    options['datasets']['val_x3']['dataroot_gt'] = str(tmp / 'empty')


def _folder_is_a_file(options: dict, tmp: Path) -> None:
    (tmp / 'out').write_text('in the way', encoding='utf-8')


BAD = {
    'unknown key': (_set('train/optm_g', {}), r"train.*optm_g.*'optim_g'"),
    'unknown network': (_set('network_g/type', 'VDRS'), r"network_g.*VDRS.*'VDSR'"),
    'unknown loss': (_set('train/distill_opt/type', 'DistilationLoss'), r"distill_opt.*'DistillationLoss'"),
    'unknown data set': (_set('datasets/train/type', 'LatentDataSet'), r"datasets, train.*'LatentDataset'"),
    'unknown model': (_set('model_type', 'DataFreeModel'), r"model_type.*DataFreeModel.*'DataFreeDistillationModel'"),
    'unknown argument': (_set('network_g/num_feats', 4), r"network_g.*num_feats.*'num_feat'"),
    'wrong type': (_set('train/total_iter', 'many'), r'train, total_iter: expected .*many'),
    'impossible value': (_set('train/generator_freq', 0), r'generator_freq.*0'),
    'missing teacher': (_set('path/pretrain_network_t', 'none.pth'), r'none\.pth: no such checkpoint'),
    'truncated teacher': (_truncated, r'teacher\.pth.*truncated'),
    'wrong-shaped teacher': (_set('network_t/num_feat', 6), r'teacher\.pth: .* has shape'),
    'pickle with code': (_foreign_pickle, r'teacher\.pth'),
    'other scale': (
        _set(
            'network_g', {'type': 'EDSR', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 4, 'num_block': 1, 'upscale': 4}
        ),
        r'network_g',
    ),
    'other channels': (
        _set('network_g/num_in_ch', 3),
        r'train, init: teacher: .* differ in the channels of their input: 1 and 3$',
    ),
    'missing folder': (_set('datasets/val_x2/dataroot_gt', 'datasets/Set5'), r'pictures_x2.*Set5.*Bevilacqua'),
    'empty folder': (_empty_folder, r'pictures_x3.*holds no image'),
    'corrupt image': (_corrupt_image, r'1\.png.*not a readable image'),
    'too many GPUs': (_set('num_gpu', torch.cuda.device_count() + 2), r'num_gpu'),
    'folder in the way': (_folder_is_a_file, r'cannot write'),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_input(case: str, options: dict, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.chdir(tmp_path)  # where a developer's own data sets are not
    change, expected = BAD[case]
    change(options, tmp_path)
    error = _refused(_write(tmp_path, yaml.safe_dump(options)), tmp_path, capsys)
    assert re.search(expected, error), error
    assert not (Path.cwd() / 'pwned').exists()


def test_force_yml_reads_numbers(options: dict, tmp_path: Path, capsys: Any) -> None:
    import yaml

    arguments = _write(tmp_path, yaml.safe_dump(options))
    error = _refused([*arguments, '--force_yml', 'train:optim_g:lr=-1e-4'], tmp_path, capsys)
    assert 'optim_g, lr' in error and '-0.0001' in error
    assert 'no section' in _refused([*arguments, '--force_yml', 'trian:total_iter=3'], tmp_path, capsys)


def test_bad_report_folder(tmp_path: Path, capsys: Any) -> None:
    assert main(['report', str(tmp_path / 'nothing')]) == 2
    assert 'nothing' in capsys.readouterr().err


def test_a_run_from_start_to_report(options: dict, tmp_path: Path) -> None:
    """Train; the files a person looks for; `basicsr test` of the student with stock SRModel; the report again."""
    options['logger']['use_tb_logger'] = True
    done = run(['train'], options, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path / 'experiments' / 'tiny'
    report = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    assert set(report) == {'results', 'made', 'complexity', 'training', 'names'}
    rows = {(r['dataset'], r['scale'], r['method']) for r in report['results']}
    assert rows == {('pictures', s, m) for s in (2, 3) for m in ('bicubic', 'teacher', 'student')}
    assert report['training']['iterations'] == TOTAL and report['training']['seed'] == 7
    for name in ('report.md', 'report.png', 'options.yml', 'visualization/synthesised/x2_24.png'):
        assert (folder / name).stat().st_size > 0, name
    assert list((tmp_path / 'tb_logger' / 'tiny').iterdir())
    for text in ('l_kd', 'l_adv', 'l_rec', 'blocks', 'it_per_s', 'eta', 'grows to 4 of 4'):
        assert text in done.stderr, text
    assert 'eta: -1 day' not in done.stderr

    psnr_on_y = {'psnr': {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True}}
    weights = folder / 'models' / 'net_g_latest.pth'
    stock = stock_test_options(
        options['datasets']['val_x2'], options['network_g'], weights, save_img=True, metrics=psnr_on_y
    )
    tested = run(['test'], stock, tmp_path)
    assert tested.returncode == 0, tested.stderr[-3000:]
    psnr = float(re.search(r'psnr: ([\d.]+)', tested.stderr).group(1))
    (expected,) = (r['psnr'] for r in report['results'] if r['scale'] == 2 and r['method'] == 'student')
    assert psnr == pytest.approx(expected, abs=2e-3)
    assert len(list((tmp_path / 'results' / 'stock' / 'visualization' / 'pictures').glob('*.png'))) == 3

    again = run(['report', str(folder)], None, tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads((folder / 'report.json').read_text(encoding='utf-8'))['results'] == report['results']


def _weights(root: Path) -> dict[str, torch.Tensor]:
    return torch.load(root / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth', weights_only=True)['params']


def _kill_at(line: list[str], root: Path, number: int, after: str) -> int:
    """Start a command, send it a signal once `after` is in its output; its exit status."""
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root, env=few_threads()
    )
    for text in process.stdout:
        if after in text:
            process.send_signal(number)
            break
    process.stdout.read()
    return process.wait(timeout=120)


def test_killed_and_resumed_equals_never_killed(options: dict, tmp_path: Path) -> None:
    """SIGTERM, then kill -9 with the newest state truncated, then to the end: bit for bit the weights of one run."""
    whole = tmp_path / 'whole'
    whole.mkdir()
    line = command_line(['train'], options, tmp_path, '--auto_resume')
    assert subprocess.run([*line, '--root', str(whole)], env=few_threads(), capture_output=True).returncode == 0

    assert _kill_at([*line, '--root', str(tmp_path)], tmp_path, signal.SIGTERM, 'iter:       4') == 128 + signal.SIGTERM
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    newest = max(int(file.stem) for file in states.glob('*.state'))
    assert newest >= 4  # saved where it stopped, not at the last multiple of save_checkpoint_freq
    assert _kill_at([*line, '--root', str(tmp_path)], tmp_path, signal.SIGKILL, 'iter:      16') == -signal.SIGKILL
    newest = max(states.glob('*.state'), key=lambda file: int(file.stem))
    newest.write_bytes(newest.read_bytes()[:1000])
    last = subprocess.run([*line, '--root', str(tmp_path)], env=few_threads(), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr[-3000:]
    assert f'Skip {newest}' in last.stdout and 'Resume from' in last.stdout
    ours, theirs = _weights(tmp_path), _weights(whole)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    rows = (tmp_path / 'experiments' / 'tiny' / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    assert {json.loads(row)['iteration'] for row in rows} == {12, 24}
    assert json.loads((tmp_path / 'experiments' / 'tiny' / 'training.json').read_text())['iterations'] == TOTAL


def test_options_that_a_state_does_not_fit_leave_everything(options: dict, tmp_path: Path) -> None:
    """In one line that says what does not fit; the folder still tells what was trained in it."""
    options['train'].update(total_iter=4)
    assert run(['train'], options, tmp_path, '--root', str(tmp_path)).returncode == 0
    folder = tmp_path / 'experiments' / 'tiny'
    before = {file: file.read_bytes() for file in folder.rglob('*') if file.is_file() and file.suffix != '.log'}
    for change, told in (
        ('network_g:num_feat=6', r'4\.state: does not fit these options \(.*: size mismatch for .*shape'),
        ('scales=[2]', r'4\.state: does not fit these options \('),
        ('manual_seed=8', r'manual_seed: 8, but the training of .*4\.state has 7; expected the same'),
    ):
        line = ['--root', str(tmp_path), '--auto_resume', '--force_yml', 'train:total_iter=6', change]
        done = run(['train'], options, tmp_path, *line)
        assert done.returncode == 2 and re.search(told, done.stderr.strip().splitlines()[-1]), done.stderr[-2000:]
        assert all(file.read_bytes() == content for file, content in before.items()), change
    line = ['--root', str(tmp_path), '--auto_resume', '--force_yml', 'train:total_iter=6']
    assert run(['train'], options, tmp_path, *line).returncode == 0
    assert 'total_iter: 6\n' in (folder / 'options.yml').read_text()


def test_a_training_goes_on_in_the_precision_in_which_it_began(
    options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `auto` chose: a machine that is busy, or another one, might choose otherwise."""
    import basicsr.train

    from vsrkd_plugin.basicsr_patches import loop

    options.update(precision='bf16')
    options['train'].update(total_iter=4)
    assert run(['train'], options, tmp_path, '--root', str(tmp_path)).returncode == 0
    options.update(precision='auto')
    options['train'].update(total_iter=6)
    done = run(['train'], options, tmp_path, '--root', str(tmp_path), '--auto_resume')
    assert done.returncode == 0 and 'precision bf16' in done.stdout + done.stderr
    loop.apply()
    states = {'training_states': str(tmp_path / 'experiments' / 'tiny' / 'training_states'), 'models': str(tmp_path)}
    for asked, expected in (('auto', 'bf16'), ('fp32', 'fp32')):  # what is named, holds
        opt = {'precision': asked, 'auto_resume': True, 'rank': 1, 'manual_seed': 7, 'train': {'total_iter': 9}}
        opt['path'] = dict(states)
        basicsr.train.load_resume_state(opt)
        assert opt['precision'] == expected


def test_a_second_run_of_a_name_is_refused(options: dict, tmp_path: Path) -> None:
    """It changes nothing, a report may be made meanwhile, and after `kill -9` the next start works."""
    options['train']['total_iter'] = 1_000_000
    line = command_line(['train'], options, tmp_path, '--auto_resume')
    folder, log = tmp_path / 'experiments' / 'tiny', tmp_path / 'first.log'
    with open(log, 'w') as output:
        first = subprocess.Popen(line, stdout=output, stderr=output, cwd=tmp_path, env=few_threads())
    try:
        while 'iter:      12' not in log.read_text():
            assert first.poll() is None, log.read_text()[-3000:]
            time.sleep(0.2)
        for arguments in ((), ('--auto_resume',)):
            second = run(['train'], options, tmp_path, *arguments)
            assert second.returncode == 2
            told = second.stderr.strip().splitlines()[-1]
            assert f'experiments/tiny is in use by process {first.pid} on ' in told
        assert not list(folder.parent.glob('tiny_archived_*'))
        assert run(['report', str(folder)], None, tmp_path).returncode == 0
        assert (folder / 'report.md').is_file() and first.poll() is None
    finally:
        first.kill()
        first.wait()
    newest = max(int(file.stem) for file in (folder / 'training_states').glob('*.state'))
    options['train']['total_iter'] = newest + 2
    third = run(['train'], options, tmp_path, '--auto_resume')
    assert third.returncode == 0, third.stderr[-3000:]
    assert not list(folder.parent.glob('.*'))


def test_a_finished_training_is_gone_on_with_from_its_end(options: dict, tmp_path: Path) -> None:
    """10 iterations, a checkpoint every 4; then 20: bit for bit the weights of 20 at once."""
    options['logger']['save_checkpoint_freq'] = 4
    options['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [30], 'eta_min': 1e-6}
    whole = tmp_path / 'whole'
    whole.mkdir()

    def train(root: Path, total: int) -> str:
        options['train']['total_iter'] = total
        line = command_line(['train'], options, tmp_path, '--auto_resume', '--root', str(root))
        done = subprocess.run(line, env=few_threads(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    train(tmp_path, 10)
    folder = tmp_path / 'experiments' / 'tiny'
    assert sorted(file.name for file in (folder / 'training_states').iterdir()) == ['10.state', '4.state', '8.state']
    assert 'iteration 10' in train(tmp_path, 10)  # nothing is left to do
    assert 'iteration 10' in train(tmp_path, 20)
    assert not (folder / 'training_states' / '21.state').exists()
    train(whole, 20)
    ours, theirs = _weights(tmp_path), _weights(whole)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    state = torch.load(folder / 'training_states' / '10.state', weights_only=True)
    assert (state['epoch'], state['iter']) == (0, 10)  # the epochs are of 10


@pytest.mark.slow
def test_killed_ten_times_at_random(options: dict, tmp_path: Path) -> None:
    """`kill -9` at ten random moments: still the weights of a run that was never interrupted."""
    options['train'].update(total_iter=400, growth={'start': 2, 'every': 100})
    options['logger'].update(keep_checkpoints=3, save_checkpoint_freq=10)
    whole = tmp_path / 'whole'
    whole.mkdir()
    line = command_line(['train'], options, tmp_path, '--auto_resume')
    assert subprocess.run([*line, '--root', str(whole)], env=few_threads(), capture_output=True).returncode == 0
    chance = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen([*line, '--root', str(tmp_path)], env=few_threads(), stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(4, 9))  # imports take about five seconds
        process.kill()
        process.wait()
    assert subprocess.run([*line, '--root', str(tmp_path)], env=few_threads(), capture_output=True).returncode == 0
    ours, theirs = _weights(tmp_path), _weights(whole)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    assert len(list(states.glob('*.state'))) == 3 and not list(states.glob('.*.part*'))


@pytest.mark.parametrize('all_parts', [False, True])
def test_two_processes_equal_one_with_the_joint_batch(
    options: dict, tmp_path: Path, image_folder: Path, all_parts: bool
) -> None:
    """torchrun, gloo, two processes of 4 images each against a single one of 8."""
    roots = [tmp_path / 'one', tmp_path / 'two']
    for root in roots:
        root.mkdir()
    options['train'].update(total_iter=8, growth={'start': 2, 'every': 3})
    if all_parts:  # degraded inputs, the user's own beside them, a discriminator
        sources = [{'type': 'procedural', 'num_images': 40}, {'type': 'lr_images', 'dataroot_lq': str(image_folder)}]
        degrade = {'blur_sigma': [0.2, 2], 'resize_range': [0.7, 1.2], 'noise_range': [0, 9], 'jpeg_range': [50, 90]}
        options['synthesis'] = {'hr_size': 24, 'sources': sources, 'degrade': degrade}
        options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 4}
        gan = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}
        options['train'].update(gan_opt=gan, optim_d={'type': 'Adam', 'lr': 1e-3}, gan_start=2)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'vsrkd_plugin', 'train']
    two = subprocess.run(
        command_line(torchrun, options, roots[1], '--root', str(roots[1])),
        env=few_threads(),
        capture_output=True,
        text=True,
    )
    assert two.returncode == 0, two.stderr[-3000:]
    options['datasets']['train']['batch_size_per_gpu'] = 8
    one = subprocess.run(
        command_line(['train'], options, roots[0], '--root', str(roots[0])),
        env=few_threads(),
        capture_output=True,
        text=True,
    )
    assert one.returncode == 0, one.stderr[-3000:]
    joint, shared = _weights(roots[0]), _weights(roots[1])
    for name, value in joint.items():
        torch.testing.assert_close(
            shared[name], value, atol=2e-5, rtol=1e-3, msg=lambda text, name=name: f'{name}: {text}'
        )


def test_two_processes_go_on_bit_for_bit(options: dict, tmp_path: Path) -> None:
    """Each with its own part of the bank; where one of these is gone it is told, and the training goes on."""
    options['train'].update(total_iter=12, ema_decay=0.9)
    options['synthesis']['bank'] = {'reuse': 3, 'rows': 16}
    options['logger']['save_checkpoint_freq'] = 3
    options['logger']['keep_checkpoints'] = 4
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'vsrkd_plugin', 'train']
    line = command_line(torchrun, options, tmp_path, '--root', str(tmp_path), '--auto_resume')
    states = tmp_path / 'experiments' / 'tiny' / 'training_states'
    found, told = [], []
    for lost in ((), ('9.*', '12.*'), ('9.*', '12.*', '6.rank1')):
        for pattern in lost:
            for file in states.glob(pattern):
                file.unlink()
        done = subprocess.run(line, env=few_threads(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        told.append('is not there: what process 1 keeps of the bank is made anew' in done.stdout)
        found.append((_weights(tmp_path), read_share(states / '12.state', 1, 2)))
    assert told == [False, False, True]
    (whole, share), (weights, again), (others, _) = found
    assert all(torch.equal(weights[name], value) for name, value in whole.items())
    for scale, shelf in share['source']['shelves'].items():
        assert all(torch.equal(again['source']['shelves'][scale][name], value) for name, value in shelf.items())
    assert torch.equal(share['torch_rng'], again['torch_rng'])
    assert not all(torch.equal(others[name], value) for name, value in whole.items())
    assert {file.name for file in states.iterdir()} == {
        f'{n}.{end}' for n in (3, 6, 9, 12) for end in ('state', 'rank1')
    } - {'6.rank1'}


def test_a_signal_to_one_of_two_processes_saves_both_in_one_iteration(options: dict, tmp_path: Path) -> None:
    """And the two go on bit for bit."""
    roots = [tmp_path / 'whole', tmp_path / 'interrupted']
    options['train'].update(total_iter=100, growth={'start': 2, 'every': 10})
    options['synthesis']['bank'] = {'reuse': 3, 'rows': 16}
    options['logger']['save_checkpoint_freq'] = 1000
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'vsrkd_plugin', 'train']
    lines = []
    for root in roots:
        root.mkdir()
        lines.append(command_line(torchrun, options, root, '--root', str(root), '--auto_resume'))
    assert subprocess.run(lines[0], env=few_threads(), capture_output=True).returncode == 0
    process = subprocess.Popen(lines[1], env=few_threads(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    ranks = []
    for text in process.stdout:
        if 'iter:       4' in text:
            children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
            ranks = [int(child) for child in children]
            os.kill(max(ranks), signal.SIGTERM)  # the second
            break
    rest = process.stdout.read()
    assert process.wait() and len(ranks) == 2, rest
    states = roots[1] / 'experiments' / 'tiny' / 'training_states'
    there = sorted(file.name for file in states.iterdir())
    iteration = there[0].split('.')[0]
    assert there == [f'{iteration}.rank1', f'{iteration}.state'] and 0 < int(iteration) < 100
    again = subprocess.run(lines[1], env=few_threads(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-3000:]
    assert f'iteration {iteration}' in again.stdout.replace(',', '')
    ours, theirs = _weights(roots[1]), _weights(roots[0])
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_info(capsys: Any) -> None:
    assert main(['info']) == 0
    text = capsys.readouterr().out
    for word in (
        'torch ',
        'precision auto',
        'VDSR',
        'LatentGenerator',
        'ProgressiveStudent',
        'DistillationLoss',
        'BicubicImageDataset',
        'DataFreeDistillationModel',
        'zoo:',
    ):
        assert word in text, word


def test_both_commands_are_installed() -> None:
    from importlib.metadata import entry_points

    commands = {entry.name: entry.value for entry in entry_points(group='console_scripts')}
    assert commands.get('basicsr') == commands.get('vsrkd') == 'vsrkd_plugin.cli:main'
    assert any(entry.value.startswith('vsrkd_plugin') for entry in entry_points(group='basicsr.plugins'))


def _installed(name: str) -> str:
    """The console script as a user calls it: beside the interpreter, not `python -m`, which looks here for modules."""
    script = Path(sys.executable).with_name(name)
    assert script.is_file(), f'{name} is not installed: pip install -e .'
    return str(script)


def _type(command: list[str], options: dict, root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run an installed command in `root`, whose modules are on no path."""
    line = command_line(command, options, root, *arguments)
    assert line[1:3] == ['-m', 'vsrkd_plugin']
    assert str(root) not in os.environ.get('PYTHONPATH', '')
    return subprocess.run(
        [_installed('vsrkd'), *line[3:]], cwd=root, env=few_threads(), capture_output=True, text=True, timeout=300
    )


def test_import_option_registers_a_users_module(options: dict, tmp_path: Path) -> None:
    (tmp_path / 'my_archs.py').write_text(
        'from basicsr.utils.registry import ARCH_REGISTRY\nfrom torch import nn\n\n\n'
        '@ARCH_REGISTRY.register()\nclass Shuffle(nn.Module):\n'
        '    def __init__(self):\n        super().__init__()\n'
        '        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2))\n\n'
        '    def forward(self, x):\n        return self.body(x)\n',
        encoding='utf-8',
    )
    options.update(scales=[2], network_g={'type': 'Shuffle'})
    options['train'].update(init='random', total_iter=2)
    del options['train']['growth'], options['datasets']['val_x3']
    done = _type(['train'], options, tmp_path, '--import', 'my_archs')
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_uncaught_error_ends_with_status_70(options: dict, tmp_path: Path) -> None:
    """Not with 134, as where a thread comes back from native code while the interpreter ends: it is joined before."""
    (tmp_path / 'my_losses.py').write_text(
        'from vsrkd_plugin.synthesis.sources import procedural\n\n'
        'procedural.FIRST_IMAGES = 1  # of many large ones: they are being painted when the error comes\n'
        'from basicsr.utils.registry import LOSS_REGISTRY\nfrom torch import nn\n\n\n'
        '@LOSS_REGISTRY.register()\nclass Raising(nn.Module):\n    calls = 0\n\n'
        '    def forward(self, output, target):\n        self.calls += 1\n'
        '        if self.calls == 3:\n            raise ZeroDivisionError("of my loss")\n'
        '        return (output - target).abs().mean()\n',
        encoding='utf-8',
    )
    options['synthesis']['sources'] = [{'type': 'procedural', 'num_images': 2000, 'image_size': 256}]
    options['datasets']['train'].update(prefetch_mode='cpu', num_prefetch_queue=1)
    options['train']['distill_opt'] = {'type': 'Raising'}
    for key in ('adversarial_opt', 'reconstruction_opt', 'optim_z', 'generator_freq'):
        del options['train'][key]
    del options['network_z']
    done = _type(['train'], options, tmp_path, '--import', 'my_losses')
    assert 'ZeroDivisionError: of my loss' in done.stderr, done.stderr[-3000:]
    assert done.returncode == 70
    (file,) = tmp_path.glob('vsrkd_fault_*.txt')
    assert str(file) in done.stderr and 'my_losses.py' in file.read_text(encoding='utf-8')
    assert 'terminate called' not in done.stderr


def test_torch_distributed_launch_is_understood(options: dict, tmp_path: Path) -> None:
    """It gives each process `--local-rank=N`, which torchrun does not."""
    options['train']['total_iter'] = 2
    launch = ['-m', 'torch.distributed.launch', '--nproc_per_node', '2', '--master_port', '29731', '-m', 'vsrkd_plugin']
    line = command_line([*launch, 'train'], options, tmp_path, '--root', str(tmp_path))
    done = subprocess.run(line, env=few_threads(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth').is_file()
