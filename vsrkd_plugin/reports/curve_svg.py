"""The curves of a training as pictures that stand in the page and take its colours."""

import io

import matplotlib
from matplotlib.figure import Figure

from vsrkd_plugin.reports.elements import Element, parse_svg
from vsrkd_plugin.reports.picture import COLOURS, Curve, draw_curve, names_as_they_are

_SIZE = (4.8, 3.0)  # inches
_OF_PAGE = {colour: f'var(--{method})' for method, colour in COLOURS.items()} | {
    '#000000': 'currentColor',
    '#ffffff': 'var(--card)',
    '#b0b0b0': 'var(--rule)',
    '#cccccc': 'var(--rule)',
}


def curve_svg(curve: Curve, key: str) -> Element:
    """A curve as inline SVG.

    Args:
        curve: what to draw.
        key: no other picture of the page has it; its parts are named by it.
    """
    with names_as_they_are(), matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': key}):
        figure = Figure(figsize=_SIZE, layout='constrained')
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw_curve(axes, curve)
        text = io.StringIO()
        figure.savefig(text, format='svg', metadata={'Date': None})
    svg = parse_svg(text.getvalue())
    for part in svg.iter():
        for attribute in ('style', 'fill', 'stroke'):
            if attribute in part.attrib:
                for colour, of_page in _OF_PAGE.items():
                    part.attrib[attribute] = part.attrib[attribute].replace(colour, of_page)
        if part.tag == 'g':  # nothing refers to groups, and their names are the same in each picture
            part.attrib.pop('id', None)
    svg.attrib = {'viewBox': svg.attrib['viewBox'], 'role': 'img', 'aria-label': in_words(curve)}
    return svg


def in_words(curve: Curve) -> str:
    """What a curve shows, for those who do not see it."""
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    text = f'PSNR on {curve.title} over the training: {curve.names["student"]} '
    text += f'{end:.2f} dB at iteration {last:,}' if first == last else (
        f'from {start:.2f} dB at iteration {first:,} to {end:.2f} dB at {last:,}'
    )  # fmt: skip
    return text + ''.join(f'; {curve.names[method]} {level:.2f} dB' for method, level in curve.levels.items())
