"""Commands that write, each with what must be whole of what it makes: for disks that are full, and for signals."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch
import yaml
from conftest import smooth_image
from tiny_training import tiny_options

from vsrkd_plugin.errors import UserError
from vsrkd_plugin.run.checkpoints import read_weights
from vsrkd_plugin.synthesis.bank.file import read_meta

from .forking import attack


@dataclass(frozen=True)
class Command:
    """One that writes.

    Attributes:
        arguments: of it.
        makes: what it makes.
        whole: refuses what it makes if that is not whole.
        goes_on: what is said beside them to go on.
    """

    arguments: list[str]
    makes: str
    whole: Callable[[Path], object] = field(default=lambda path: None)
    goes_on: tuple[str, ...] = ()


def picture(path: Path) -> None:
    assert cv2.imread(str(path)) is not None


def pictures(path: Path) -> None:
    for file in path.glob('*.*'):
        picture(file)


def training(path: Path) -> None:
    for file in (*path.glob('models/*.pth'), path / 'student.pth', path / 'student.safetensors'):
        if file.exists():
            read_weights(file)
    for file in path.glob('training_states/*'):
        torch.load(file, weights_only=True)
    for file in path.rglob('*.png'):
        picture(file)
    assert not (path / 'report.html').exists() or (path / 'report.html').read_text(encoding='utf-8').strip().endswith(
        '</html>'
    )


def bank(path: Path) -> None:
    try:
        read_meta(path)
    except UserError as error:
        assert 'an empty bank' in str(error) or 'no bank' in str(error)


def film(path: Path) -> None:
    import av

    with av.open(str(path)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 6


UPSCALE = ['upscale', '-m', 'zoo:vdsr_s_x234', '-s', '2', '-i']
FILM = ['upscale', '-m', 'zoo:rlsp_x4', '-i', 'frames']
STUDENT = 'experiments/old/models/net_g_latest.pth'
COMMANDS = {
    'train': Command(['train', '-opt', 'good.yml'], 'experiments/tiny', training, ('--auto_resume',)),
    'a training that goes on': Command(
        ['train', '-opt', 'good.yml', '--auto_resume', '--force_yml', 'name=old', 'train:total_iter=9'],
        'experiments/old',
        training,
    ),
    'test': Command(
        ['test', '-opt', 'test.yml'], 'results', lambda path: [picture(file) for file in path.rglob('*.png')]
    ),
    'synthesize': Command(['synthesize', '-opt', 'good.yml', '-n', '2000', '-o', 'bank.lmdb'], 'bank.lmdb', bank),
    'report': Command(['report', 'experiments/old'], 'experiments/old', training),
    'compress': Command(['compress', '-opt', 'good.yml', '-o', 'a.pth'], 'a.pth', read_weights),
    'init': Command(['init', 'dfkd_vdsr'], 'dfkd_vdsr.yml'),
    'a picture': Command([*UPSCALE, 'pictures/0.png', '-o', 'a.png'], 'a.png', picture),
    'a folder of pictures': Command([*UPSCALE, 'pictures', '-o', 'out'], 'out', pictures),
    'frames': Command([*FILM, '-o', 'out'], 'out', pictures),
    'a film': Command([*FILM, '-o', 'film.mp4', '--fps', '25'], 'film.mp4', film),
    'export to pth': Command(['export', 'zoo:vdsr_s_x234', '--to', 'pth', '-o', 'a.pth'], 'a.pth', read_weights),
    'export to onnx': Command(['export', 'zoo:vdsr_s_x234', '--to', 'onnx', '-o', 'a.onnx', '-s', '2'], 'a.onnx'),
}


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob('*') if file.is_file()}


def left_begun(content: dict[str, bytes]) -> list[str]:
    """Files that are not whole, and are not kept for the next start."""
    return [file for file in content if '.part' in file and '.parts/' not in file]


def prepare(folder: Path, images: Path) -> None:
    """What the commands work on, an experiment of before, and pictures."""
    options = tiny_options(folder, images, total_iter=6)
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
