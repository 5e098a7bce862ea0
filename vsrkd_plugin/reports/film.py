"""Clips side by side as a film: what flickers is seen at once, and in no still picture."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vsrkd_plugin.deploy.film_reading import import_av
from vsrkd_plugin.deploy.film_writing import write_pictures
from vsrkd_plugin.errors import UserError
from vsrkd_plugin.reports.evaluation import Film
from vsrkd_plugin.reports.names import NAMES, titles
from vsrkd_plugin.run.begun_files import begun
from vsrkd_plugin.run.whole_files import put_in_place, whole_file

FRAMES_PER_SECOND = 10
_SECONDS = 3  # that each clip is shown at least, by repetition
_MP4 = cv2.VideoWriter.fourcc(*'mp4v')
_BAR, _GAP = 22, 4  # pixels: the line of titles, and between panels


def write_film(folder: Path, films: list[Film], names: Mapping[str, str] = NAMES) -> Path | None:
    """Write `report.mp4`, one clip after the other, which browsers play where PyAV is installed (extra `video`).

    Without it OpenCV writes it as MPEG-4, or, where that has no writer, an animated `report_clips.png`.

    Args:
        films: panels of one size.
        names: method → what it is called.

    Returns:
        What was written; None if there is nothing to show.

    Raises:
        OSError: the folder cannot be written.
    """
    if not films:
        return None
    size = [max(edges) // 2 * 2 for edges in zip(*(_drawn(film, 0, names).shape[:2] for film in films), strict=True)]
    frames = list(_frames(films, size, names))
    path = folder / 'report.mp4'
    if _has_pyav():
        write_pictures(path, frames, FRAMES_PER_SECOND)
        return path
    part = begun(path, '.mp4')
    try:
        writer = cv2.VideoWriter(str(part), _MP4, FRAMES_PER_SECOND, (size[1], size[0]))
        if writer.isOpened():
            for frame in frames:
                writer.write(frame)
            writer.release()
            put_in_place(part, path)
            return path
    finally:
        part.unlink(missing_ok=True)
    path = folder / 'report_clips.png'
    images = [Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)) for frame in frames]
    with whole_file(path) as file:
        images[0].save(file, 'PNG', save_all=True, append_images=images[1:], duration=1000 // FRAMES_PER_SECOND, loop=0)
    return path


def _has_pyav() -> bool:
    try:
        import_av()
    except UserError:
        return False
    return True


def _frames(films: list[Film], size: list[int], names: Mapping[str, str]) -> Iterator[np.ndarray]:
    for film in films:
        length = len(next(iter(film.panels.values())))
        for time in range(max(1, -(-_SECONDS * FRAMES_PER_SECOND // length)) * length):
            frame = _drawn(film, time % length, names)[: size[0], : size[1]]
            below, right = size[0] - frame.shape[0], size[1] - frame.shape[1]
            yield cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _drawn(film: Film, time: int, names: Mapping[str, str]) -> np.ndarray:
    """One frame: the panels in a row, each under its name, the clip's under the first."""
    columns, shown = [], titles(names)
    for method, frames in film.panels.items():
        title = np.full((_BAR, frames.shape[2], 3), 255, np.uint8)
        cv2.putText(title, shown[method], (3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        gap = np.full((_BAR + frames.shape[1], _GAP, 3), 255, np.uint8)
        columns += [np.vstack([title, frames[time]]), gap]
    row = np.hstack(columns[:-1])
    foot = np.full((_BAR, row.shape[1], 3), 255, np.uint8)
    cv2.putText(foot, film.clip, (3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (90, 90, 90), 1, cv2.LINE_AA)
    return np.vstack([row, foot])
