"""The report as one page of HTML that needs nothing beside it: tables, curves, a film, crops to compare by a slider."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vsrkd_plugin.reports.curve_svg import curve_svg
from vsrkd_plugin.reports.elements import Element, element, to_markup
from vsrkd_plugin.reports.evaluation import Crop
from vsrkd_plugin.reports.names import names_of, titles
from vsrkd_plugin.reports.picture import Curve, decibels
from vsrkd_plugin.reports.telling import Block, Table, cost_blocks, headline, quality_blocks, training_line

MOST_FILM = 2_000_000  # bytes of a film that stands in the page; a larger one is linked to
_LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)  # OpenCV's number for it
_PLAYED = (b'avc1', b'avc3')  # of H.264, which every browser plays
_HINT = (
    'Drag the divider, or move it by the arrow keys. Keys 1, 2, … choose what is on the right, with Shift what is on '
    'the left.'
)


def to_html(
    report: dict[str, Any],
    name: str,
    networks: dict[str, str],
    command: str,
    notes: list[str],
    windows: list[Crop],
    over_time: list[Crop],
    curves: list[Curve],
    film: Path | None = None,
) -> str:
    """The report as a page that a browser shows without a server and without anything loaded from elsewhere.

    Args:
        report: as `make_report` returns it.
        name: the experiment's.
        networks: a description by role (`teacher` if there was one, `student`).
        command: makes the report again.
        notes: what could not be told, and why.
        windows: of images, to compare.
        over_time: lines of clips over time, to compare.
        curves: PSNR over the training.
        film: the file that shows clips, in the folder that the page is written to.
    """
    shown = titles(names_of(report))
    body = element(
        'main', {},
        element('h1', {}, name),
        element('p', {'class': 'lead'}, headline(report, networks)),
        element('h2', {}, 'Quality'), *_shown(quality_blocks(report, networks)),
        *_compared('Look closer', windows, 'window', shown),
        *_compared('Over time', over_time, 'line', shown, 'A line of pixels of each clip, frame below frame: '
                   'what flickers or lags is jagged here.'),
        *_film(film),
        *_curves(curves),
        element('h2', {}, 'Cost'), *_shown(cost_blocks(report)),
        element('h2', {}, 'Training'), element('p', {}, training_line(report['training'])),
        *(element('p', {'class': 'note'}, f'Note: {note}') for note in notes),
        element(
            'footer', {'class': 'note'},
            element('p', {}, 'Figures for programs are in ', element('a', {'href': 'report.json'}, 'report.json'),
                    '. This report was made, and is made again, by'),
            element('pre', {}, element('code', {}, command)),
        ),
    )  # fmt: skip
    script = _part('report.js')
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src "
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    )
    return '\n'.join([
        '<!DOCTYPE html>',
        '<html lang="en">',
        '<head>',
        '<meta charset="utf-8">',
        to_markup(element('meta', {'http-equiv': 'Content-Security-Policy', 'content': policy})),
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        to_markup(element('title', {}, f'{name}: report')),
        f'<style>\n{_part("report.css")}</style>',
        '</head>',
        '<body>',
        to_markup(body),
        f'<script>{script}</script>',
        '</body>',
        '</html>',
        '',
    ])  # fmt: skip


def _part(name: str) -> str:
    return (files('vsrkd_plugin.reports') / 'page' / name).read_text(encoding='utf-8')


def _shown(blocks: list[Block]) -> list[Element]:
    return [_table(block) if isinstance(block, Table) else element('p', {'class': 'note'}, block) for block in blocks]


def _table(table: Table) -> Element:
    header, *rows = table.rows
    body = [
        element('tr', {}, element('th', {'scope': 'row'}, first), *(element('td', {}, cell) for cell in rest))
        for first, *rest in rows
    ]
    corner = [element('td')] * (not header[0])  # a header of nothing would be read out
    titles = [element('th', {'scope': 'col'}, cell) for cell in header[len(corner) :]]
    head = element('tr', {}, *corner, *titles)
    made = element(
        'table', {}, element('caption', {}, table.title), element('thead', {}, head), element('tbody', {}, *body)
    )
    # What scrolls is reached by the keyboard.
    return element('div', {'class': 'scroll', 'tabindex': '0', 'role': 'region', 'aria-label': table.title}, made)


def _compared(title: str, crops: list[Crop], key: str, shown: dict[str, str], text: str = '') -> list[Element]:
    if not crops:
        return []
    compares = [_compare(crop, f'{key}{number}', shown) for number, crop in enumerate(crops)]
    hint = element('p', {'class': 'hint'}, f'{text} {_HINT}'.strip())
    return [element('h2', {}, title), hint, element('div', {'class': 'grid'}, *compares)]


def _compare(crop: Crop, key: str, shown: dict[str, str]) -> Element:
    methods = [method for method in shown if method in crop.panels and method != 'lr']
    left = 'teacher' if 'teacher' in methods else 'bicubic'
    title = f'{crop.dataset} x{crop.scale}, {crop.image}'
    height, width = crop.panels['bicubic'].shape[:2]

    def side(name: str, chosen: str) -> Element:
        labels = [
            element(
                'label', {'title': f'key {"Shift+" * (name == "left")}{number}'},
                element('input', {
                    'type': 'radio', 'name': f'{key}-{name}', 'value': method, 'data-side': name,
                    **({'checked': 'checked'} if method == chosen else {}),
                }),
                shown[method],
                element('small', {}, _figure(crop, method)),
            )
            for number, method in enumerate(methods, 1)
        ]  # fmt: skip
        return element('fieldset', {}, element('legend', {}, f'{name.capitalize()}, PSNR in dB'), *labels)

    panels = [
        element(
            'figure', {'class': 'panel', 'data-method': method, 'data-title': shown[method]},
            element('img', {
                'src': _data_uri(crop.panels[method]), 'alt': f'{shown[method]}: {title}',
                'width': str(width), 'height': str(height), 'draggable': 'false',
            }),
            element('figcaption', {}, shown[method] + _decibels_of(crop, method)),
        )
        for method in methods
    ]  # fmt: skip
    divider = element('input', {
        'type': 'range', 'class': 'divider', 'min': '0', 'max': '100', 'value': '50',
        'aria-label': f'Divider between left and right, {title}',
    })  # fmt: skip
    stage = element(
        'div', {'class': 'stage', 'style': f'--ratio: {width} / {height}; --at: 50%'}, *panels, divider,
        element('div', {'class': 'line', 'aria-hidden': 'true'}),
        *(element('span', {'class': f'tag of-{name}', 'aria-hidden': 'true'}) for name in ('left', 'right')),
    )  # fmt: skip
    sides = element('div', {'class': 'sides'}, side('left', left), side('right', 'student'))
    return element(
        'section', {'class': 'compare', 'id': key, 'aria-label': title}, element('h3', {}, title), sides, stage
    )


def _figure(crop: Crop, method: str) -> str:
    return decibels(crop.psnr[method]).removesuffix(' dB') if method in crop.psnr else '\N{EN DASH}'


def _decibels_of(crop: Crop, method: str) -> str:
    return f', {decibels(crop.psnr[method])}' if method in crop.psnr else ''


def _data_uri(image: np.ndarray) -> str:
    """An image without loss: WebP, or, of an OpenCV without it, PNG."""
    for suffix, settings in (('webp', _LOSSLESS), ('png', ())):
        try:
            done, encoded = cv2.imencode(f'.{suffix}', image, settings)
        except cv2.error:
            continue
        if done:
            return f'data:image/{suffix};base64,{base64.b64encode(encoded.tobytes()).decode()}'
    raise OSError('OpenCV can encode neither WebP nor PNG')


def _film(film: Path | None) -> list[Element]:
    """The film where browsers play it and it is small; else a link to it."""
    if film is None:
        return []
    content = film.read_bytes()
    is_picture = film.suffix == '.png'
    shown = element('p', {}, 'Clips side by side: ', element('a', {'href': film.name}, film.name), '.')
    if not is_picture and not any(kind in content for kind in _PLAYED):
        shown.append(element('span', {}, " Few browsers play it; with pip install 'vsrkd_plugin[video]' it is H.264, "
                             'which they do.'))  # fmt: skip
    elif len(content) <= MOST_FILM:
        kind = 'image/png' if is_picture else 'video/mp4'
        source = {'src': f'data:{kind};base64,{base64.b64encode(content).decode()}'}
        text = 'Clips by every method side by side'
        if is_picture:
            shown = element('img', {**source, 'alt': text})
        else:
            flags = {key: key for key in ('controls', 'loop', 'muted', 'playsinline')}
            shown = element('video', {**source, **flags, 'preload': 'metadata', 'aria-label': text})
    return [element('h2', {}, 'Film'), element('div', {'class': 'film'}, shown)]


def _curves(curves: list[Curve]) -> list[Element]:
    if not curves:
        return []
    drawn = [
        element('figure', {'class': 'curve'}, curve_svg(curve, f'curve{number}')) for number, curve in enumerate(curves)
    ]
    return [element('h2', {}, 'PSNR over the training'), element('div', {'class': 'grid'}, *drawn)]
