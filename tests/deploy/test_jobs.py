"""Which file is made of which is decided, and refused, before anything is read."""

from pathlib import Path

import pytest

from vsrkd_plugin.deploy.jobs import plan_jobs
from vsrkd_plugin.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('a.png', 'b.jpg', 'in/c.PNG', 'in/deep/d.webp', '.hidden.png', 'notes.txt'):
        path = tmp_path / 'pictures' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / 'pictures'


def names(folder: Path, target: Path, ext: str = 'auto', suffix: str = '') -> list[str]:
    return [str(job.target.relative_to(target)) for job in plan_jobs(folder, target, ext, suffix)[0]]


def test_the_structure_of_folders_is_kept(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    assert names(folder, out) == ['a.png', 'b.jpg', 'in/c.PNG', 'in/deep/d.webp']
    assert names(folder, out, 'png', '_x4') == ['a_x4.png', 'b_x4.png', 'in/c_x4.png', 'in/deep/d_x4.png']
    assert plan_jobs(folder, out)[1] == ['1 file is no picture: notes.txt']
    assert not out.exists()


def test_of_one_picture(folder: Path, tmp_path: Path) -> None:
    picture = folder / 'a.png'
    for target, expected in (('out.webp', 'out.webp'), ('out', 'out/a.png'), ('pictures/in', 'pictures/in/a.png')):
        ((job,), told) = plan_jobs(picture, tmp_path / target)
        assert job.target == tmp_path / expected and not told
    assert plan_jobs(picture, tmp_path, '.JPG', '_x2')[0][0].target == tmp_path / 'a_x2.jpg'
    assert plan_jobs(picture, tmp_path / 'b.png', suffix='_x2')[0][0].target == tmp_path / 'b_x2.png'


def test_results_of_an_earlier_run_are_not_enlarged_again(folder: Path) -> None:
    (folder / 'out').mkdir()
    (folder / 'out' / 'a.png').touch()
    assert names(folder, folder / 'out') == ['a.png', 'b.jpg', 'in/c.PNG', 'in/deep/d.webp']
    (folder / 'a_x2.png').touch()
    jobs, told = plan_jobs(folder, folder, suffix='_x2')
    assert 'a_x2.png' not in [job.source.name for job in jobs]
    assert told[1] == 'left out, since _x2 ends the name of what is made: a_x2.png'


@pytest.mark.parametrize('way', ['itself', 'a link to it', 'another way to write it'])
def test_an_input_is_never_overwritten(folder: Path, tmp_path: Path, way: str) -> None:
    target = {'itself': folder, 'a link to it': tmp_path / 'link', 'another way to write it': folder / 'in' / '..'}[way]
    (tmp_path / 'link').symlink_to(folder)
    with pytest.raises(
        UserError, match=r'would overwrite .*a\.png, which is to be read; name another -o, or a --suffix'
    ):
        plan_jobs(folder, target)
    with pytest.raises(UserError, match='would overwrite'):
        plan_jobs(folder / 'a.png', target)


def test_a_result_that_is_another_input_is_refused(folder: Path) -> None:
    (folder / 'a_x2.png').touch()
    (folder / 'a_x2_x2.png').touch()
    with pytest.raises(UserError, match='would overwrite'):
        plan_jobs(folder, folder / 'in' / '..', ext='png')


def test_two_inputs_of_one_result_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / 'a.bmp').touch()
    assert 'a.bmp' in names(folder, tmp_path / 'out')
    with pytest.raises(UserError, match=r'a\.bmp and .*a\.png would both become .*a\.webp'):
        plan_jobs(folder, tmp_path / 'out', 'webp')


@pytest.mark.parametrize(
    ('source', 'target', 'settings', 'told'),
    [
        ('missing', 'out', {}, 'no such picture or folder'),
        ('pictures/notes.txt', 'out', {}, r'notes\.txt: expected a picture \(\.png.*a folder of them or a film'),
        ('pictures/a.png', 'out.xyz', {}, r'-o .*out\.xyz: expected a folder, or a file that ends in \.png'),
        ('pictures/a.png', 'out.png', {'ext': 'jpg'}, r'--ext says \.jpg; leave one of them out'),
        ('pictures', 'out.png', {}, 'expected a folder, since'),
        ('pictures', 'pictures/notes.txt', {}, 'expected a folder, since'),
        ('pictures', 'out', {'ext': 'gif'}, r'--ext gif: expected auto or one of png, jpg'),
        ('pictures', 'out', {'suffix': '../x'}, 'expected a part of a file name'),
        ('empty', 'out', {}, r'empty: holds no picture \(\.png'),
    ],
)
def test_what_cannot_be_is_told(
    folder: Path, tmp_path: Path, source: str, target: str, settings: dict[str, str], told: str
) -> None:
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=told):
        plan_jobs(tmp_path / source, tmp_path / target, **settings)
