"""`basicsr synthesize` and a training from its bank, without the teacher."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import lmdb
import pytest
import torch
import yaml
from tiny_training import command_line, few_threads, tiny_options, tiny_video_options

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.cli import main
from vsrkd_plugin.synthesis.bank.file import BankFile, read_meta
from vsrkd_plugin.synthesis.bank.sample_spec import SampleSpec
from vsrkd_plugin.synthesis.bank.writer import BankWriter


def _write(folder: Path, options: dict[str, Any]) -> str:
    file = folder / 'options.yml'
    file.write_text(yaml.safe_dump(options))
    return str(file)


@pytest.fixture
def options(tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return tiny_options(tmp_path, image_folder)


def test_bank_holds_the_teachers_answers_and_goes_on(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file, bank = _write(tmp_path, options), tmp_path / 'bank.lmdb'
    assert main(['synthesize', '-opt', file, '-n', '20', '-o', str(bank)]) == 0
    assert 'Learned sources are left out' in capsys.readouterr().out
    assert read_meta(bank)['counts'] == {2: 10, 3: 10}
    teacher = VDSR(num_feat=8, num_block=4)
    teacher.load_state_dict(torch.load(tmp_path / 'teacher.pth', weights_only=True)['params'])
    for scale, size in {2: 6, 3: 4}.items():
        inputs = BankFile([bank], SampleSpec(1, {scale: size}), turn=False).next(8, scale)
        lr, target = inputs.lr, inputs.target
        with torch.no_grad():
            torch.testing.assert_close(teacher(lr, scale=scale), target, rtol=1e-3, atol=1e-3)  # kept in fp16
    assert main(['synthesize', '-opt', file, '-n', '30', '-o', str(bank)]) == 0
    assert read_meta(bank)['counts'] == {2: 15, 3: 15}
    assert not (tmp_path / 'experiments').exists()


def test_a_bank_of_degraded_images_says_so(options: dict[str, Any], tmp_path: Path) -> None:
    """Its samples are degraded; and banks that differ in this alone are not taken for copies of each other."""
    noise, spread = {'noise_range': [20, 30], 'clean_prob': 0}, []
    for number, degrade in enumerate((None, noise, noise)):
        options['synthesis']['degrade'] = degrade
        bank = tmp_path / f'{number}.lmdb'
        assert main(['synthesize', '-opt', _write(tmp_path, options), '-n', '16', '-o', str(bank)]) == 0
        spread.append(float(BankFile([bank], SampleSpec(1, {2: 6}), turn=False).next(8, 2).lr.diff(dim=3).abs().mean()))
    clean, one, same = (read_meta(tmp_path / f'{number}.lmdb')['additions'] for number in range(3))
    assert clean != one == same
    assert spread[1] > 2 * spread[0]


def test_banks_of_other_candidates_are_not_the_same_and_are_added_to(options: dict[str, Any], tmp_path: Path) -> None:
    line = ['synthesize', '-opt', 'options.yml', '-n']
    for number, candidates in enumerate((1, 4, 8, 8)):
        options['synthesis']['candidates'] = candidates
        _write(tmp_path, options)
        assert main([*line, '8', '-o', f'{number}.lmdb']) == 0
        assert main([*line, str(8 + 8 * number), '-o', 'grown.lmdb']) == 0
    one, four, eight, same = (read_meta(tmp_path / f'{number}.lmdb')['additions'] for number in range(4))
    assert one != four != eight == same
    grown = read_meta(tmp_path / 'grown.lmdb')
    assert [made.get('candidates') for made in grown['made_of']] == [None, 4, 8]
    assert sum(grown['counts'].values()) == 32 and len(grown['additions']) == 3


def test_a_bank_that_another_process_fills_is_refused(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = ['synthesize', '-opt', _write(tmp_path, options), '-n', '8', '-o', 'bank.lmdb']
    own = (
        'from pathlib import Path; from vsrkd_plugin.run.folder_lock import owned\n'
        'with owned(Path("bank.lmdb")):\n'
        '    print("owned", flush=True)\n'
        '    input()\n'
    )
    process = subprocess.Popen([sys.executable, '-c', own], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b'owned\n'
        assert main(line) == 2
        assert f'-o: bank.lmdb is in use by process {process.pid} on ' in capsys.readouterr().err
        assert not (tmp_path / 'bank.lmdb').exists()
    finally:
        process.communicate(b'\n', timeout=60)
    assert main(line) == 0
    assert not (tmp_path / '.bank.lmdb.lock').exists()


def test_a_bank_of_the_raw_weights_is_not_gone_on_with_by_the_average(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The default entry once was `params`; a bank does not mix the answers of two networks."""
    networks = {key: VDSR(num_feat=8, num_block=4).state_dict() for key in ('params', 'params_ema')}
    torch.save(networks, tmp_path / 'teacher.pth')
    line = ['synthesize', '-opt', str(tmp_path / 'options.yml'), '-o', str(tmp_path / 'bank.lmdb')]
    for key, entry, status in (('params', 'params', 0), (None, 'params_ema', 2), ('params', 'params', 0)):
        options['path']['param_key_t'] = key
        _write(tmp_path, options)
        assert main([*line, '-n', '8' if status else '16']) == status
        told = capsys.readouterr()
        assert f'The teacher is {entry} of {tmp_path / "teacher.pth"}\n' in told.out
        assert ('with other samples (teacher: ' in told.err) == bool(status)
        assert read_meta(tmp_path / 'bank.lmdb')['teacher'] == str(tmp_path / 'teacher.pth')
    options['path']['param_key_t'] = None
    _write(tmp_path, options)
    assert main([*line[:-1], str(tmp_path / 'another.lmdb'), '-n', '8']) == 0
    assert read_meta(tmp_path / 'another.lmdb')['teacher'] == f'{tmp_path / "teacher.pth"}, params_ema'


def _inputs(*banks: Path) -> list[list[float]]:
    """The mean of every LR image of scale 2 in each bank."""
    kept = SampleSpec(1, {2: 6})
    return [sorted({float(x) for x in BankFile([b], kept, turn=False).next(400, 2).lr.mean((1, 2, 3))}) for b in banks]


def test_every_addition_to_a_bank_and_every_shard_brings_other_inputs(options: dict[str, Any], tmp_path: Path) -> None:
    options['synthesis']['sources'] = [{'type': 'noise'}]
    line = ['synthesize', '-opt', _write(tmp_path, options), '-o', str(tmp_path / 'bank.lmdb')]
    for number, shard in (('8', '1/2'), ('24', '1/2'), ('32', '1/2'), ('32', '2/2')):
        assert main([*line, '-n', number, '--shard', shard]) == 0
    first, second = _inputs(*(tmp_path / f'bank.{number}-of-2.lmdb' for number in (1, 2)))
    assert len(first) == len(second) == 8, 'the same inputs again'
    assert not {*first} & {*second}


def test_trains_without_the_teacher(options: dict[str, Any], tmp_path: Path) -> None:
    bank = tmp_path / 'bank.lmdb'
    assert main(['synthesize', '-opt', _write(tmp_path, options), '-n', '40', '-o', str(bank)]) == 0
    (tmp_path / 'teacher.pth').unlink()
    for key in ('network_t', 'network_z'):
        del options[key]
    options['path'] = {}
    options['train'] |= {'init': 'random', 'total_iter': 10}
    options['synthesis'] = {'hr_size': 12, 'bank': {'path': str(bank)}}
    run = subprocess.run(
        command_line(['train'], options, tmp_path), env=few_threads(), cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / 'experiments/tiny/models/net_g_latest.pth').exists()
    assert (tmp_path / 'experiments/tiny/report.md').exists()


def _self_ensemble_of_a_stored_bank(options: dict[str, Any]) -> None:
    options['synthesis'].update(sources=None, bank={'path': 'b.lmdb'})
    options['train']['self_ensemble'] = True


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda o: o['synthesis'].update(bank={'path': 'none.lmdb'}), 'got both'),
        (lambda o: o['synthesis'].update(sources=None), 'got neither'),
        (lambda o: o['synthesis'].update(sources=None, bank={'path': 'none.lmdb'}), 'none.lmdb: no such bank'),
        (
            lambda o: o['synthesis'].update(sources=None, bank={'path': 'b.lmdb', 'reuse': 4}),
            'bank: reuse is for a teacher',
        ),
        (_self_ensemble_of_a_stored_bank, 'train: self_ensemble is for a teacher'),
        (lambda o: o['synthesis'].update(bank={'reuse': 4, 'rows': 7}), 'at least two batches'),
        (lambda o: o['synthesis'].update(bank={'reus': 4}), "did you mean 'reuse'"),
    ],
)
def test_wrong_banks_are_refused(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture, change: Any, message: str
) -> None:
    change(options)
    assert main(['train', '-opt', _write(tmp_path, options)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'experiments').exists()


def test_learned_sources_alone_are_refused(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options['synthesis']['sources'] = [{'type': 'learned'}]
    assert main(['synthesize', '-opt', _write(tmp_path, options), '-n', '4', '-o', str(tmp_path / 'b.lmdb')]) == 2
    assert 'need not learn' in capsys.readouterr().err
    assert not (tmp_path / 'b.lmdb').exists()


def test_a_shard_is_one_of_so_many(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards differ, add up, and follow torchrun; other values are refused by name."""
    line = ['synthesize', '-opt', _write(tmp_path, options), '-n', '16', '-o', str(tmp_path / 'bank.lmdb')]
    for shard in ('5/4', '0/2', '1', 'a/b', '1/0'):
        assert main([*line, '--shard', shard]) == 2
        assert f'--shard: expected K/N with 1 <= K <= N, such as 1/4, got {shard}' in capsys.readouterr().err
    assert not list(tmp_path.glob('bank*'))
    assert main([*line, '--shard', '1/2']) == 0
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert main(line) == 0
    banks = [tmp_path / f'bank.{number}-of-2.lmdb' for number in (1, 2)]
    assert [read_meta(bank)['counts'] for bank in banks] == [{2: 4, 3: 4}] * 2
    first, second = (
        {float(x) for x in BankFile([bank], SampleSpec(1, {2: 6}), turn=False).next(40, 2).lr.mean((1, 2, 3))}
        for bank in banks
    )
    assert len(first) > 1 and not first & second


def _content(bank: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(bank), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return dict(transaction.cursor())


@pytest.mark.parametrize('kept', [1, 2, 4], ids='{} batches'.format)
def test_a_bank_whose_filling_was_ended_is_the_same_bit_for_bit(
    kept: int, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two sources that are degraded: all that draws at random goes on, and the second scale after the first."""
    options['synthesis']['sources'] = [{'type': 'procedural', 'num_images': 4, 'image_size': 64}, {'type': 'noise'}]
    options['synthesis']['degrade'] = {'noise_range': [0, 20]}
    line = ['synthesize', '-opt', _write(tmp_path, options), '-n', '30', '--batch', '5', '-o']
    assert main([*line, 'whole.lmdb']) == 0
    stock, added = BankWriter.add, iter(range(kept))

    def add(self: BankWriter, *args: Any) -> None:
        if next(added, None) is None:
            raise KeyboardInterrupt
        stock(self, *args)

    monkeypatch.setattr(BankWriter, 'add', add)
    assert main([*line, 'parts.lmdb']) == 130
    monkeypatch.setattr(BankWriter, 'add', stock)
    assert main([*line, 'parts.lmdb']) == 0
    assert _content(tmp_path / 'parts.lmdb') == _content(tmp_path / 'whole.lmdb')


def test_options_that_differ_bring_other_samples_and_are_told(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = ['synthesize', '-opt', 'options.yml', '-o', 'bank.lmdb', '-n']
    for number, degrade in ((8, None), (16, {'noise_range': [20, 30]}), (24, {'noise_range': [20, 30]})):
        options['synthesis']['degrade'] = degrade
        _write(tmp_path, options)
        assert main([*line, str(number)]) == 0
        assert ('made by other options' in capsys.readouterr().out) == (number == 16)
    meta = read_meta(tmp_path / 'bank.lmdb')
    assert len(meta['additions']) == 2
    assert [made['sources'][0]['type'] for made in meta['made_of']] == ['procedural'] * 2
    assert [made.get('degrade', {}).get('noise_range') for made in meta['made_of']] == [None, [20, 30]]
    assert main([*line, '32', '--force_yml', 'manual_seed=4']) == 0
    assert 'made with another seed' in capsys.readouterr().out


def test_a_teacher_of_the_same_name_and_other_weights_is_refused(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = ['synthesize', '-opt', _write(tmp_path, options), '-o', 'bank.lmdb', '-n']
    assert main([*line, '8']) == 0
    torch.save({'params': VDSR(num_feat=8, num_block=4).state_dict()}, tmp_path / 'teacher.pth')
    before = _content(tmp_path / 'bank.lmdb')
    assert main([*line, '16']) == 2
    assert 'bank.lmdb: is there already, with other samples (weights: ' in capsys.readouterr().err
    assert _content(tmp_path / 'bank.lmdb') == before


def test_a_training_on_clips_that_move_otherwise_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    options = tiny_video_options(tmp_path)
    options['synthesis']['clips']['objects'] = 1
    assert main(['synthesize', '-opt', _write(tmp_path, options), '-n', '2', '-o', 'bank.lmdb']) == 0
    del options['synthesis']['sources']
    options['synthesis']['bank'] = {'path': 'bank.lmdb'}
    for objects, status in ((3, 2), (1, 0), (None, 0)):
        options['synthesis']['clips']['objects'] = objects
        if objects is None:
            del options['synthesis']['clips']['objects']
        options['train']['total_iter'] = 1
        assert main(['train', '-opt', _write(tmp_path, options)]) == status, capsys.readouterr().err
        told = 'synthesis, clips, objects: is 3, but the clips of bank.lmdb were made with 1'
        assert (told in capsys.readouterr().err) == (objects == 3)
