"""Disks that are full, at whatever write of whatever command, and such that are read-only."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from conftest import smooth_image
from tiny_training import tiny_options

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.synthesis.bank.file import read_meta

from .forking import Outcome, SmallDisk, attack
from .small_disk import can_mount

SHARES = (0.0, 0.03, 0.2, 0.45, 0.7, 0.9)  # of the room that a command needs


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]) -> Path:
    """A folder with what the commands work on, and something of the user's."""
    folder = tmp_path_factory.mktemp('disk') / 'place'
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip('this machine lets nobody mount a small disk')
    options = tiny_options(folder, make_images(folder / 'images'), total_iter=6)
    options['val']['val_freq'], options['val']['save_img'] = 3, True
    (folder / 'good.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
    test = {key: value for key, value in options.items() if key not in ('train', 'synthesis', 'network_z', 'network_t')}
    test['datasets'] = {key: value for key, value in options['datasets'].items() if key != 'train'}
    test['path'] = {'pretrain_network_g': STUDENT}
    (folder / 'test.yml').write_text(yaml.safe_dump(test), encoding='utf-8')
    done = attack(['train', '-opt', 'good.yml', '--force_yml', 'name=old'], folder, 60)
    assert done.status == 0, done.errors
    for number in range(3):
        (folder / 'pictures').mkdir(exist_ok=True)
        cv2.imwrite(str(folder / 'pictures' / f'{number}.png'), smooth_image(40, 48, number))
    (folder / 'frames').mkdir()
    for number in range(6):
        cv2.imwrite(str(folder / 'frames' / f'{number:03d}.png'), smooth_image(32, 48, number))
    return folder


@dataclass(frozen=True)
class Command:
    """One that writes.

    Attributes:
        arguments: of it.
        makes: what it makes.
        whole: refuses what it makes if that is not whole.
    """

    arguments: list[str]
    makes: str
    whole: Callable[[Path], object] = field(default=lambda path: None)


def _picture(path: Path) -> None:
    assert cv2.imread(str(path)) is not None


def _pictures(path: Path) -> None:
    for file in path.glob('*.*'):
        _picture(file)


def _training(path: Path) -> None:
    for file in (*path.glob('models/*.pth'), path / 'student.pth', path / 'student.safetensors'):
        if file.exists():
            read_weights(file)
    for file in path.glob('training_states/*'):
        torch.load(file, weights_only=True)
    for file in path.rglob('*.png'):
        _picture(file)
    assert not (path / 'report.html').exists() or (path / 'report.html').read_text(encoding='utf-8').strip().endswith(
        '</html>'
    )


def _bank(path: Path) -> None:
    try:
        read_meta(path)
    except UserError as error:
        assert 'an empty bank' in str(error) or 'no such bank' in str(error)


def _film(path: Path) -> None:
    import av

    with av.open(str(path)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 6


UPSCALE = ['upscale', '-m', 'zoo:vdsr_s_x234', '-s', '2', '-i']
FILM = ['upscale', '-m', 'zoo:rlsp_x4', '-i', 'frames']
STUDENT = 'experiments/old/models/net_g_latest.pth'
COMMANDS = {
    'train': Command(['train', '-opt', 'good.yml'], 'experiments/tiny', _training),
    'a training that goes on': Command(
        ['train', '-opt', 'good.yml', '--auto_resume', '--force_yml', 'name=old', 'train:total_iter=9'],
        'experiments/old',
        _training,
    ),
    'test': Command(
        ['test', '-opt', 'test.yml'], 'results', lambda path: [_picture(file) for file in path.rglob('*.png')]
    ),
    'synthesize': Command(['synthesize', '-opt', 'good.yml', '-n', '2000', '-o', 'bank.lmdb'], 'bank.lmdb', _bank),
    'report': Command(['report', 'experiments/old'], 'experiments/old', _training),
    'compress': Command(['compress', '-opt', 'good.yml', '-o', 'a.pth'], 'a.pth', read_weights),
    'init': Command(['init', 'dfkd_vdsr'], 'dfkd_vdsr.yml'),
    'a picture': Command([*UPSCALE, 'pictures/0.png', '-o', 'a.png'], 'a.png', _picture),
    'a folder of pictures': Command([*UPSCALE, 'pictures', '-o', 'out'], 'out', _pictures),
    'frames': Command([*FILM, '-o', 'out'], 'out', _pictures),
    'a film': Command([*FILM, '-o', 'film.mp4', '--fps', '25'], 'film.mp4', _film),
    'export to pth': Command(['export', 'zoo:vdsr_s_x234', '--to', 'pth', '-o', 'a.pth'], 'a.pth', read_weights),
    'export to onnx': Command(['export', 'zoo:vdsr_s_x234', '--to', 'onnx', '-o', 'a.onnx', '-s', '2'], 'a.onnx'),
}


def _content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob('*') if file.is_file()}


@pytest.fixture(scope='module')
def room(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], int]:
    """Command → kilobytes that it needs at most."""

    @functools.cache
    def measured(name: str) -> int:
        left = tmp_path_factory.mktemp('left') / 'whole'
        done = attack(COMMANDS[name].arguments, place, 120, SmallDisk(1 << 17, left))
        assert done.status == 0, done.errors
        before, after = _content(place), _content(left)
        return sum(4 + (len(after[file]) >> 10) for file in after if before.get(file) != after[file]) + 4

    return measured


def _told(done: Outcome, words: str) -> str:
    """The one line of the error."""
    lines = [line for line in done.errors.splitlines() if line.startswith('basicsr: ') and 'warning' not in line]
    assert done.status == 2 and len(lines) == 1, (done.status, done.errors[-1500:])
    assert re.search(words, lines[0]), lines[0]
    assert 'Traceback' not in done.errors + done.output
    return lines[0]


@pytest.mark.parametrize('share', SHARES, ids='{:.0%}'.format)
@pytest.mark.parametrize('name', COMMANDS)
def test_a_full_disk(name: str, share: float, place: Path, room: Callable[[str], int], tmp_path: Path) -> None:
    """One line that says so; under the final names is nothing, or something whole; what was there stays."""
    command, left = COMMANDS[name], tmp_path / 'left'
    done = attack(command.arguments, place, 120, SmallDisk(int(share * room(name)), left))
    if done.status:  # else it needed less, for some of it is replaced
        _told(done, 'disk is full|No space left|GB are needed')
    if (left / command.makes).exists():
        command.whole(left / command.makes)
    before, after = _content(place), _content(left)
    kept = [file for file in before if not file.startswith(command.makes)]
    assert {file: after.get(file) == before[file] for file in kept} == dict.fromkeys(kept, True)
    begun = [file for file in after if '.part' in file and '.parts/' not in file]
    assert not begun, begun
    assert not done.made, done.made  # nothing outside of the disk either


@pytest.mark.parametrize('name', COMMANDS)
def test_a_disk_that_is_read_only(name: str, place: Path, tmp_path: Path) -> None:
    done = attack(COMMANDS[name].arguments, place, 120, SmallDisk(None, tmp_path / 'left'))
    _told(done, 'Read-only file system')
    assert _content(tmp_path / 'left') == _content(place)
