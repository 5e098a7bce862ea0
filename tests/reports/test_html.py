"""The page: whole in itself, its text escaped, its pictures without loss; its slider in a browser."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from reports.browser import Browser, find_browser

from vsrkd_plugin.reports import html
from vsrkd_plugin.reports.evaluation import Crop
from vsrkd_plugin.reports.html import MOST_FILM, to_html
from vsrkd_plugin.reports.names import printable
from vsrkd_plugin.reports.picture import Curve

NETWORKS = {'teacher': 'VDSR(num_feat=64)', 'student': 'VDSR(num_feat=32)'}
COLOURS = {'bicubic': (40, 40, 200), 'teacher': (200, 60, 30), 'student': (30, 160, 60), 'hr': (200, 200, 200)}
CURVES = [Curve('Set5 x2', [(100, 36.5), (200, 37.25)], {'bicubic': 33.66, 'teacher': 37.57})]
HOSTILE = '</script><img src=x onerror="document.title=1">&amp; \' $\\frac$ \x00\udcff'


def crop(image: str = 'butterfly', methods: tuple[str, ...] = tuple(COLOURS), dataset: str = 'Set5') -> Crop:
    """Panels of one colour each, so that a screenshot tells which is where."""
    panels = {method: np.full((96, 96, 3), COLOURS[method], np.uint8) for method in methods}
    psnr = {method: 30.0 + number for number, method in enumerate(methods) if method != 'hr'}
    return Crop(dataset, 2, image, 1.0, {'lr': np.zeros((48, 48, 3), np.uint8), **panels}, psnr)


class Parsed(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ''
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def test_nothing_is_loaded_from_elsewhere(report: dict) -> None:
    page = to_html(report, 'mine', NETWORKS, 'basicsr report mine', [], [crop()], [crop('line')], CURVES)
    parsed = Parsed(page)
    assert not {'link', 'iframe', 'base', 'object', 'embed'} & {tag for tag, _ in parsed.elements}
    for _, attributes in parsed.elements:
        assert (attributes.get('src') or 'data:').startswith('data:')
        assert (attributes.get('href') or '#').startswith(('#', 'report.json'))
    assert not re.search(r'url\((?!#)|@import|https?://(?!www\.w3\.org)', page)
    (policy,) = (meta['content'] for meta in parsed.of('meta') if meta.get('http-equiv') == 'Content-Security-Policy')
    assert policy is not None and "default-src 'none'" in policy


def test_tables_sentences_and_curves_are_there(report: dict) -> None:
    parsed = Parsed(to_html(report, 'mine', NETWORKS, 'basicsr report mine', ['A is missing.'], [], [], CURVES))
    words = ' '.join(parsed.text.split())
    for text in ('33.66 / 0.9300', '-0.32 / -0.0017', '10.89 G', '3.99x fewer weights', '3,000 iterations in 1 h 2 min',
                 'Note: A is missing.', 'basicsr report mine'):  # fmt: skip
        assert text in words
    assert len(parsed.of('caption')) == 2 and all('scope' in th for th in parsed.of('th'))
    (svg,) = parsed.of('svg')
    assert svg['aria-label'] == (
        'PSNR on Set5 x2 over the training: student from 36.50 dB at iteration 100 to 37.25 dB at 200; '
        'bicubic 33.66 dB; teacher 37.57 dB'
    )
    names = [attributes['id'] for _, attributes in parsed.elements if 'id' in attributes]
    assert len(names) == len(set(names))


def test_two_curves_share_no_names(report: dict) -> None:
    parsed = Parsed(to_html(report, 'mine', NETWORKS, '', [], [], [], CURVES * 2))
    names = [attributes['id'] for _, attributes in parsed.elements if 'id' in attributes]
    assert names and len(names) == len(set(names))


def test_names_are_text_whatever_they_hold(report: dict) -> None:
    for result in report['results']:
        result['dataset'] = HOSTILE
    curve = Curve(printable(HOSTILE), [(1, 30.0)], {})  # drawn by matplotlib, which takes no such characters
    hostile = crop(HOSTILE, dataset=HOSTILE)
    page = to_html(report, HOSTILE, {'student': HOSTILE}, HOSTILE, [HOSTILE], [hostile], [], [curve])
    page.encode('utf-8')
    assert '\x00' not in page and page.count('<script>') == page.count('</script>') == 1
    parsed = Parsed(page)
    assert all('onerror' not in attributes for _, attributes in parsed.elements)
    shown = printable(HOSTILE)
    assert shown == HOSTILE.replace('\x00', '\ufffd').replace('\udcff', '\ufffd')
    assert parsed.text.count(shown) >= 6
    assert any(shown in (image['alt'] or '') for image in parsed.of('img'))


@pytest.mark.parametrize('webp', [True, False])
def test_pictures_are_without_loss(report: dict, monkeypatch: pytest.MonkeyPatch, webp: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 60, 3), dtype=np.uint8)
    panels = {'bicubic': noise[0], 'student': noise[1][..., 0], 'hr': noise[1]}
    if not webp:
        stock = cv2.imencode
        monkeypatch.setattr(cv2, 'imencode', lambda suffix, *rest: (
            (False, None) if suffix == '.webp' else stock(suffix, *rest)
        ))  # fmt: skip
    window = Crop('set', 2, 'noise', 1.0, panels, {'bicubic': 10.0, 'student': float('inf')})
    parsed = Parsed(to_html(report, 'mine', NETWORKS, '', [], [window], [], []))
    sources = [image['src'] or '' for image in parsed.of('img')]
    assert [source.partition(';')[0] for source in sources] == [f'data:image/{"webp" if webp else "png"}'] * 3
    for source, panel in zip(sources, panels.values(), strict=True):
        encoded = np.frombuffer(base64.b64decode(source.partition(',')[2]), np.uint8)
        found = cv2.imdecode(encoded, cv2.IMREAD_COLOR if panel.ndim == 3 else cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(found, panel)
    assert 'exact' in parsed.text


def test_films_stand_in_the_page_where_browsers_play_them(report: dict, tmp_path: Path) -> None:
    film = tmp_path / 'report.mp4'

    def shown() -> Parsed:
        return Parsed(to_html(report, 'mine', NETWORKS, '', [], [], [], [], film))

    film.write_bytes(b'....ftypisom....avc1....')
    (video,) = shown().of('video')
    assert base64.b64decode((video['src'] or '').partition(',')[2]) == film.read_bytes() and 'controls' in video
    film.write_bytes(b'avc1' + bytes(MOST_FILM))
    assert not shown().of('video') and {'href': 'report.mp4'} in shown().of('a')
    film.write_bytes(b'....ftypisom....mp4v....')
    assert not shown().of('video') and 'vsrkd_plugin[video]' in shown().text
    film = film.with_name('report_clips.png')
    film.write_bytes(b'\x89PNG')
    assert (shown().of('img')[0]['src'] or '').startswith('data:image/png')


def test_a_page_of_noise_is_no_larger_than_it_may_be(report: dict) -> None:
    """The worst that can come: colours that nothing compresses, as many windows as are ever shown."""
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8)
    window = Crop('set', 2, 'noise', 1.0, dict.fromkeys(('bicubic', 'teacher', 'student', 'hr'), noise), {})
    assert len(to_html(report, 'mine', NETWORKS, '', [], [window] * 4, [], CURVES * 3)) < 3_000_000


@pytest.fixture(scope='module')
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip('needs Chromium (and bash, which starts it)')
    with Browser(path, tmp_path_factory.mktemp('profile')) as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, report: dict, tmp_path: Path) -> Callable[..., Browser]:
    def opened(windows: list[Crop], **how: object) -> Browser:
        page = tmp_path / 'report.html'
        page.write_text(to_html(report, 'mine', NETWORKS, 'basicsr report mine', [], windows, [], CURVES), 'utf-8')
        browser.open(page, **how)
        return browser

    return opened


class Slider:
    """The first comparison of a page, as a person sees it."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        browser.run("document.querySelector('.stage').scrollIntoView({block: 'center'})")

    def box(self) -> tuple[float, float, float, float]:
        script = "(b => [b.left, b.top, b.width, b.height])(document.querySelector('.stage').getBoundingClientRect())"
        return tuple(self.browser.run(script))

    def place(self, part: float) -> tuple[float, float]:
        """Where a part of its width lies; a little above the middle, beside the handle."""
        left, top, width, height = self.box()
        return left + part * width, top + 0.25 * height

    def seen(self, part: float) -> str:
        """The method whose colour is seen there."""
        picture = cv2.imdecode(np.frombuffer(self.browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        x, y = (int(value) for value in self.place(part))
        names = [name for name, colour in COLOURS.items() if np.abs(picture[y, x] - np.array(colour)).max() <= 2]
        return names[0] if names else f'something of colour {picture[y, x]}'

    def value(self) -> int:
        return int(self.browser.run("document.querySelector('.divider').value"))

    def focus(self) -> None:
        self.browser.run("document.querySelector('.divider').focus()")


def test_the_mouse_moves_the_divider(open_page: Callable[..., Browser]) -> None:
    slider = Slider(open_page([crop()]))
    assert (slider.seen(0.25), slider.seen(0.75)) == ('teacher', 'student')
    slider.browser.drag(slider.place(0.5), slider.place(0.1))
    assert slider.value() == 10
    assert (slider.seen(0.05), slider.seen(0.25)) == ('teacher', 'student')
    slider.browser.drag(slider.place(0.1), (slider.place(1.0)[0] + 50, slider.place(1.0)[1]))  # past its edge
    assert slider.value() == 100 and slider.seen(0.95) == 'teacher'


def test_the_keyboard_moves_it_and_chooses_the_sides(open_page: Callable[..., Browser]) -> None:
    slider = Slider(open_page([crop(), crop('bird')]))
    browser = slider.browser
    slider.focus()
    for _ in range(5):
        browser.press('ArrowLeft', number=37)
    assert slider.value() == 45
    browser.press('Home', number=36)
    browser.press('ArrowRight', number=39)
    assert slider.value() == 1 and slider.seen(0.05) == 'student'
    browser.press('4', 'Digit4', 52)
    assert slider.seen(0.05) == 'hr'
    browser.press('!', 'Digit1', 49, 'Shift')
    browser.press('End', number=35)
    assert slider.seen(0.95) == 'bicubic'
    text = browser.run("document.querySelector('.divider').getAttribute('aria-valuetext')")
    assert text == '100 % bicubic, the rest HR'
    browser.press('9', 'Digit9', 57)  # there are four
    browser.press('1', 'Digit1', 49)
    assert slider.seen(0.5) == 'bicubic'  # the same on both sides
    others = browser.run("[...document.querySelectorAll('.compare')[1].querySelectorAll(':checked')].map(r => r.value)")
    assert others == ['teacher', 'student']


def test_buttons_choose_the_sides_by_mouse_and_by_tab(open_page: Callable[..., Browser]) -> None:
    slider = Slider(open_page([crop()]))
    browser = slider.browser
    script = "(b => [b.left + b.width / 2, b.top + b.height / 2])(document.querySelectorAll('.sides label')[{}].{})"
    browser.run("document.querySelector('.sides').scrollIntoView()")
    place = tuple(browser.run(script.format(7, 'getBoundingClientRect()')))
    browser.drag(place, place)
    assert slider.seen(0.75) == 'hr'
    browser.run("document.querySelector('.sides :checked').focus()")
    browser.press('ArrowLeft', number=37)
    assert slider.seen(0.25) == 'bicubic'


def test_what_has_the_focus_is_seen(open_page: Callable[..., Browser]) -> None:
    slider = Slider(open_page([crop()]))
    browser = slider.browser
    order = []
    for _ in range(12):
        browser.press('Tab', number=9)
        order.append(browser.run('document.activeElement.className || document.activeElement.dataset.side || ""'))
        if order[-1] == 'divider':
            break
    assert order[-3:] == ['left', 'right', 'divider'], order
    outline = "getComputedStyle(document.querySelector('{}')).outlineStyle"
    assert browser.run(outline.format('.stage')) == 'solid'
    browser.press('Tab', modifier='Shift', number=9)
    assert browser.run(outline.format('.stage')) == 'none'
    assert browser.run(outline.format('.sides fieldset + fieldset label:has(:checked)')) == 'solid'


def test_the_browser_knows_each_part_by_a_name(open_page: Callable[..., Browser]) -> None:
    browser = open_page([crop()])
    browser.send('Accessibility.enable')
    nodes = browser.send('Accessibility.getFullAXTree')['nodes']
    names = {(node['role']['value'], node['name']['value']) for node in nodes if node.get('name', {}).get('value')}
    assert ('slider', 'Divider between left and right, Set5 x2, butterfly') in names
    assert ('image', 'teacher: Set5 x2, butterfly') in names and ('image', 'HR: Set5 x2, butterfly') not in names
    assert {('radio', 'teacher 31.00'), ('table', 'Quality by data set')} <= names
    browser.send('Accessibility.disable')


def test_without_a_teacher_bicubic_is_held_against_the_student(open_page: Callable[..., Browser]) -> None:
    slider = Slider(open_page([crop(methods=('bicubic', 'student', 'hr'))]))
    assert (slider.seen(0.25), slider.seen(0.75)) == ('bicubic', 'student')
    slider.focus()
    slider.browser.press('3', 'Digit3', 51)
    assert slider.seen(0.75) == 'hr'


@pytest.mark.parametrize(('width', 'scheme'), [(360, 'light'), (360, 'dark'), (1280, 'dark')])
def test_it_fits_a_phone_and_follows_the_colour_scheme(
    open_page: Callable[..., Browser], width: int, scheme: str
) -> None:
    browser = open_page([crop(), crop('bird')], width=width, height=800, scheme=scheme)
    assert browser.run('document.documentElement.scrollWidth') <= width
    background = browser.run('getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)')
    assert (max(background) < 60) == (scheme == 'dark')
    line = "[...document.querySelectorAll('.curve path')].map(p => getComputedStyle(p).stroke)"
    student = 'rgb(240, 138, 60)' if scheme == 'dark' else 'rgb(213, 94, 0)'
    assert student in browser.run(line)


def test_the_page_asks_for_nothing_and_complains_of_nothing(open_page: Callable[..., Browser]) -> None:
    browser = open_page([crop()])
    asked = [event['params']['request']['url'] for event in browser.events
             if event.get('method') == 'Network.requestWillBeSent']  # fmt: skip
    assert [url.partition(':')[0] for url in asked if not url.startswith('data:')] == ['file']
    assert not [
        event for event in browser.events if event.get('method') in ('Log.entryAdded', 'Runtime.exceptionThrown')
    ]


def test_the_browser_plays_the_film(browser: Browser, report: dict, tmp_path: Path) -> None:
    av = pytest.importorskip('av', reason='needs PyAV (extra video) to write H.264')
    film = tmp_path / 'report.mp4'
    with av.open(str(film), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for level in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * level, np.uint8), format='rgb24')
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    page = tmp_path / 'report.html'
    page.write_text(to_html(report, 'mine', NETWORKS, '', [], [], [], [], film), 'utf-8')
    film.unlink()  # it stands in the page
    browser.open(page)
    script = "(v => [v.readyState, v.videoWidth, v.error && v.error.message])(document.querySelector('video'))"
    for _ in range(100):
        ready, width, error = browser.run(script)
        if ready >= 1 or error:
            break
        time.sleep(0.1)
    assert (width, error) == (64, None)


def test_hostile_names_run_nothing(browser: Browser, report: dict, tmp_path: Path) -> None:
    page = tmp_path / 'report.html'
    page.write_text(to_html(report, HOSTILE, {'student': HOSTILE}, HOSTILE, [], [crop(HOSTILE)], [], []), 'utf-8')
    browser.open(page)
    assert browser.run('document.title').endswith(': report') and not browser.run("document.querySelector('[onerror]')")


def test_a_script_that_is_not_ours_does_not_run(
    browser: Browser, report: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were something not escaped, the page's policy would still stop it."""
    monkeypatch.setattr(html, '_decibels_of', lambda *args: 'PLACE')
    text = to_html(report, 'mine', NETWORKS, '', [], [crop()], [], [])
    page = tmp_path / 'report.html'
    page.write_text(text.replace('PLACE', '<script>document.title = "taken"</script>'), 'utf-8')
    browser.open(page)
    assert browser.run('document.title') == 'mine: report'
    assert browser.run("document.querySelector('.compare').className") == 'compare live'
