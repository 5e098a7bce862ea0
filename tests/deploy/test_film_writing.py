"""Reading and writing films: every codec that is offered, and pictures written as a film."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.film_making import av, frames_of, image_model, make_film, moving_picture, times_of
from vsrkd_plugin.deploy.film_colour import BT601
from vsrkd_plugin.deploy.film_encoding import CODECS, choose_encoder
from vsrkd_plugin.deploy.film_writing import write_pictures
from vsrkd_plugin.deploy.films import upscale_film
from vsrkd_plugin.errors import UserError


@pytest.mark.parametrize(
    ('codec', 'suffix'),
    [('h264', 'mp4'), ('h264', 'ts'), ('hevc', 'mp4'), ('hevc', 'mkv'), ('av1', 'mp4'), ('av1', 'mkv'), ('vp9', 'webm'),
     ('prores', 'mov'), ('ffv1', 'mkv'), ('mpeg4', 'mp4')],
)  # fmt: skip
def test_every_codec(tmp_path: Path, codec: str, suffix: str) -> None:
    """In several parts: what is read back has the frames, their times, and tells its colours."""
    name = CODECS[codec].name if codec in CODECS else codec
    if name not in av.codecs_available:
        pytest.skip(f'needs {name}')
    pictures = moving_picture(13, 72, 96)
    source = make_film(tmp_path / 'in.mp4', pictures, aspect=Fraction(4, 3))
    target = tmp_path / f'out.{suffix}'
    said: list[str] = []
    upscale_film(image_model(tmp_path), source, target, precision='fp32', codec=codec, part=5, say=said.append)
    times = times_of(target)
    assert [later - first for first, later in itertools.pairwise(times)] == [Fraction(1, 25)] * 12
    error = np.square(frames_of(target).astype(float) - frames_of(source).repeat(2, 1).repeat(2, 2)).mean()
    assert -10 * np.log10(error / 255**2) > (25 if codec == 'mpeg4' else 32)
    with av.open(str(target)) as film:
        stream = film.streams.video[0]
        assert stream.average_rate == 25
        if codec != 'mpeg4':
            assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, BT601)
            assert stream.codec_context.codec_tag == 'hvc1' or (codec, suffix) != ('hevc', 'mp4')
        told = any('pixels are not square (4/3)' in text for text in said)
        assert told == ((codec, suffix) in (('av1', 'mkv'), ('vp9', 'webm'), ('ffv1', 'mkv')))
        assert told or stream.sample_aspect_ratio == Fraction(4, 3)


def test_pictures_as_a_film(tmp_path: Path) -> None:
    pictures = moving_picture(12)
    write_pictures(tmp_path / 'film.mp4', (picture[..., ::-1] for picture in pictures), 10)
    assert times_of(tmp_path / 'film.mp4') == [Fraction(number, 10) for number in range(12)]
    assert np.abs(frames_of(tmp_path / 'film.mp4').astype(int) - pictures).mean() < 4
    assert [file.name for file in tmp_path.iterdir()] == ['film.mp4']


def test_a_film_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield moving_picture(1)[0]
        raise OSError('gone')

    with pytest.raises(OSError, match='gone'):
        write_pictures(tmp_path / 'film.mp4', broken(), 10)
    assert not list(tmp_path.iterdir())


def test_qualities() -> None:
    assert choose_encoder('h264', None)[1] == 17 and choose_encoder('h264', 0)[1] == 0
    assert choose_encoder('libvpx', 20)[1] == 20
    with pytest.raises(UserError, match='--crf 20: mpeg4 has no such option'):
        choose_encoder('mpeg4', 20)
