"""What a report says, whatever it is written as: its tables as rows of text, its sentences, and their order."""

from dataclasses import dataclass
from typing import Any

from vsrkd_plugin.reports.evaluation import finite
from vsrkd_plugin.reports.likeness import MOST_NIQE, is_judged_by_psnr
from vsrkd_plugin.reports.names import is_adaptation, names_of
from vsrkd_plugin.reports.perceptual import PERCEPTUAL, PERCEPTUAL_NOTE

Rows = list[list[str]]


@dataclass(frozen=True)
class Table:
    """A table: its header is the first of its rows."""

    title: str
    rows: Rows


Block = Table | str  # a string is a paragraph


def quality_blocks(report: dict[str, Any], networks: dict[str, str]) -> list[Block]:
    """How good the results are.

    Args:
        report: as `make_report` returns it.
        networks: a description by role (`teacher` if there was one, `student`).
    """
    metrics = 'PSNR in dB / SSIM, results rounded to 8 bits; higher is better.'
    if 'teacher' not in networks:
        metrics += ' This training had no teacher: the student is the network that it trained.'
    return [
        Table('Quality by data set', result_rows(report)), *left_out_lines(report), metrics, *psnr_note(report),
        *_likeness(report), *_naturalness(report), *_perceptual(report), *_flicker(report),
    ]  # fmt: skip


def cost_blocks(report: dict[str, Any]) -> list[Block]:
    """What the networks cost."""
    return [Table('Cost of the networks', complexity_rows(report)), _complexity_note(report)]


def headline(report: dict[str, Any], networks: dict[str, str], mark: str = '') -> str:
    """What was made of what, and by how much it is smaller, in a sentence; `mark` stands around the networks."""
    cost = {entry['network']: entry for entry in report['complexity']}
    described = {
        role: f'{mark}{text}{mark}' + (f' ({cost[role]["params"]:,} weights)' if role in cost else '')
        for role, text in networks.items()
    }
    if 'teacher' not in networks:
        return f'{described["student"]}, trained.'
    if is_adaptation(report):
        return f'{described["student"]}, adapted.'
    text = f'{described["teacher"]} → {described["student"]}'
    if {'teacher', 'student'} <= cost.keys():
        ratios = [
            _ratio_text(cost['teacher'][key], cost['student'][key], better, worse)
            for key, better, worse in (
                ('params', 'fewer weights', 'more weights'),
                ('macs', 'fewer multiply-accumulates', 'more multiply-accumulates'),
                ('seconds_per_image', 'faster', 'slower'),
            )
        ]
        text += ': ' + ', '.join(ratio for ratio in ratios if ratio)
    return text + '.'


def result_rows(report: dict[str, Any]) -> Rows:
    """A header, then a row for each data set and scale: PSNR/SSIM by method, and the student's difference.

    A star marks a row in whose means not every image counts; `left_out_lines` tells which.
    """
    groups = _by_set(report)
    names, methods = names_of(report), _methods(report)
    rival = 'teacher' if 'teacher' in methods else 'bicubic'
    rows = [['data set', 'scale', *(names[method] for method in methods), f'{names["student"]} - {names[rival]}']]
    for (dataset, scale), by_method in groups.items():
        if not _has_truth(by_method):
            continue
        values = [_quality(by_method[method]['psnr'], by_method[method]['ssim']) for method in methods]
        psnr, ssim = (_difference(by_method['student'][key], by_method[rival][key]) for key in ('psnr', 'ssim'))
        mark = ' *' if 'left_out' in by_method['student'] else ''
        rows.append([f'{dataset}{mark}', f'x{scale}', *values, _quality(psnr, ssim, sign='+')])
    if len(rows) == 1:
        rows.append(['no data set with ground truth', *[''] * (len(rows[0]) - 1)])
    return rows


def _by_set(report: dict[str, Any]) -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    groups: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for result in report['results']:
        groups.setdefault((result['dataset'], result['scale']), {})[result['method']] = result
    return groups


def _methods(report: dict[str, Any]) -> list[str]:
    """What the report has results of, in order."""
    found = {result['method'] for result in report['results']} or {'bicubic', 'student'}
    return [method for method in names_of(report) if method in found]


def _has_truth(by_method: dict[str, dict[str, Any]]) -> bool:
    """Whether there was HR to compare with."""
    return not any(result.get('without_gt') for result in by_method.values())


def likeness_rows(report: dict[str, Any]) -> Rows:
    """A header, then a row for each data set and scale, and for made images: how like its teacher the student is."""
    names = names_of(report)
    rows = [[f'{names["student"]} against {names["teacher"]}', 'scale', 'agreement', 'sharpness']]
    for (dataset, scale), by_method in _by_set(report).items():
        student, teacher = by_method['student'], by_method.get('teacher', {})
        if 'agreement' not in student:
            continue
        ratio = _ratio(student.get('sharpness'), teacher.get('sharpness'))
        rows.append([dataset, f'x{scale}', f'{student["agreement"]:.2f} dB', ratio])
    for made in report.get('made') or []:
        rows.append(
            ['made images', f'x{made["scale"]}', f'{made["agreement"]:.2f} dB', f'{made["sharpness_ratio"]:.3f}']
        )
    return rows


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f'{ours / theirs:.3f}' if ours and theirs else '-'


def _likeness(report: dict[str, Any]) -> list[Block]:
    """The table of likeness and what it means; nothing where there was no teacher, or for clips."""
    rows = likeness_rows(report)
    if len(rows) == 1:
        return []
    text = (
        "Agreement: PSNR of the student's result against the teacher's (on Y, but for made images). Sharpness: RMS of "
        "the Laplacian, the student's divided by the teacher's; 1 is as sharp."
    )
    if not is_adaptation(report):
        return [Table('How like its teacher the student is', rows), text]
    text = (
        'Agreement: PSNR of the result against that before the adaptation (on Y, but for made images, whose LR is by '
        'bicubic: how much of the old behaviour is left). Sharpness: RMS of the Laplacian, divided by that before.'
    )
    return [Table('What the adaptation changed', rows), text]


def naturalness_rows(report: dict[str, Any]) -> Rows:
    """A header, then a row for each data set and scale of which NIQE was measured: its value by method."""
    names, methods = names_of(report), _methods(report)
    rows = [['NIQE', 'scale', *(names[method] for method in methods)]]
    for (dataset, scale), by_method in _by_set(report).items():
        values = [by_method.get(method, {}).get('niqe') for method in methods]
        if any(value is not None for value in values):
            rows.append([dataset, f'x{scale}', *(_metric(value, 2) for value in values)])
    return rows


def _naturalness(report: dict[str, Any]) -> list[Block]:
    rows = naturalness_rows(report)
    if len(rows) == 1:
        return []
    text = f'NIQE: lower is more natural; of {MOST_NIQE} images of a set at most, of large ones without HR the middle.'
    return [Table('How natural the results are', rows), text]


def perceptual_rows(report: dict[str, Any]) -> Rows:
    """A header, then a row for each data set, scale and perceptual metric that was measured: its value by method."""
    groups, methods, names = _by_set(report), _methods(report), names_of(report)
    return [
        ['data set', 'scale', 'metric', *(names[method] for method in methods)],
        *(
            [dataset, f'x{scale}', title, *(_metric(by_method[m].get(metric), 4) for m in methods)]
            for (dataset, scale), by_method in groups.items()
            for metric, title in PERCEPTUAL.items()
            if metric in by_method['student']
        ),
    ]


def _metric(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _perceptual(report: dict[str, Any]) -> list[Block]:
    rows = perceptual_rows(report)
    return [Table('Perceptual distance from HR', rows), PERCEPTUAL_NOTE] if len(rows) > 1 else []


def is_bold(report: dict[str, Any]) -> bool:
    """Whether the best PSNR is to be pointed out: not where it does not tell the better network."""
    return not _misjudged(report)


def _misjudged(report: dict[str, Any]) -> list[str]:
    """Data sets on which the teacher has less PSNR than bicubic, or hardly more, though it was trained for them."""
    if is_adaptation(report):
        return []
    return [
        f'{dataset} x{scale}'
        for (dataset, scale), by_method in _by_set(report).items()
        if 'teacher' in by_method and not is_judged_by_psnr(by_method['teacher']['psnr'], by_method['bicubic']['psnr'])
    ]


def psnr_note(report: dict[str, Any]) -> list[str]:
    """The paragraph that warns where PSNR does not tell which network is better; none elsewhere."""
    sets = _misjudged(report)
    if not sets:
        return []
    return [
        f'PSNR against HR does not tell what this teacher is good at: on {", ".join(sets)} it has hardly more of it '
        'than bicubic, as networks trained with a GAN do. A student with more PSNR than its teacher may merely be '
        'blurrier: look at agreement, sharpness, NIQE and the pictures.'
    ]


def left_out_lines(report: dict[str, Any]) -> list[str]:
    """What stands below the table for each row with a star."""
    lines = {
        f'* {result["dataset"]} x{result["scale"]}: {"; ".join(result["left_out"])}.'
        for result in report['results']
        if 'left_out' in result
    }
    return sorted(lines)


def complexity_rows(report: dict[str, Any]) -> Rows:
    """A header, then weights, multiply-accumulates and time of each network, and teacher : student."""
    entries, names = report['complexity'], names_of(report)
    rows = [['', *(names[entry['network']] for entry in entries)]]
    for key, title, show in (
        ('params', 'weights', '{:,}'.format),
        ('macs', 'multiply-accumulates', _with_prefix),
        ('seconds_per_image', 'time per image', lambda seconds: f'{1000 * seconds:.1f} ms'),
    ):
        title = title.replace('image', _what(report))
        rows.append([title, *('-' if entry[key] is None else show(entry[key]) for entry in entries)])
    by_network = {entry['network']: entry for entry in entries}
    if {'teacher', 'student'} <= by_network.keys() and not is_adaptation(report):
        rows[0].append('ratio' if len(entries) == 2 else f'{names["teacher"]} : {names["student"]}')
        for row, key in zip(rows[1:], ('params', 'macs', 'seconds_per_image'), strict=True):
            large, small = by_network['teacher'][key], by_network['student'][key]
            row.append(f'{large / small:.2f}' if large and small else '-')
    return rows


def training_line(training: dict[str, Any]) -> str:
    """Iterations, duration, device, precision and seed in a sentence."""
    if training['iterations'] is None:
        return 'Not recorded: the experiment folder has no training.json that tells it.'
    seconds = training['seconds']
    parts = [
        f'{training["iterations"]:,} iterations' + ('' if seconds is None else f' in {_duration(seconds)}'),
        f'on {training["device"] or "an unknown device"}',
    ]
    parts += [f'{key} {training[key]}' for key in ('precision', 'seed') if training[key] is not None]
    if training.get('peak_memory_mb'):
        parts.append(f'{training["peak_memory_mb"]:,.0f} MB of memory at most')
    return ', '.join(parts) + '.'


def _complexity_note(report: dict[str, Any]) -> str:
    entry = report['complexity'][0]
    shape = 'x'.join(map(str, entry['input'][2:]))
    return (
        f'For one {_what(report)} of {shape} pixels ({entry["input"][1]} channel(s)) at x{entry["scale"]}. '
        "Multiply-accumulates are the networks' own, without the bicubic enlargement before them. Time is the median "
        'of several passes in fp32, the networks taking turns, on the machine that made this report.'
    )


def _what(report: dict[str, Any]) -> str:
    """The unit of costs: an image, or, of video networks, a frame."""
    return 'frame' if any('flicker' in result for result in report['results']) else 'image'


def _flicker(report: dict[str, Any]) -> list[Block]:
    """The lines about flicker; none for single images."""
    values: dict[str, dict[str, float | None]] = {}
    for result in report['results']:
        if 'flicker' in result:
            values.setdefault(result['dataset'], {})[result['method']] = result['flicker']
    if not values:
        return []
    methods, names = list(next(iter(values.values()))), names_of(report)
    rows = [['clip', *(names[method] for method in methods)]]
    for name, by_method in values.items():
        rows.append([name, *('-' if by_method[m] is None else f'{by_method[m]:.2f}' for m in methods)])
    text = (
        'Flicker: mean difference between the changes of Y from frame to frame and those of HR, in levels of 0 … 255.'
    )
    return [Table('Flicker', rows), text]


def _quality(psnr: float | None, ssim: float | None, sign: str = '') -> str:
    return ' / '.join('-' if finite(v) is None else f'{v:{sign}.{d}f}' for v, d in ((psnr, 2), (ssim, 4)))


def _difference(a: float | None, b: float | None) -> float | None:
    return finite(None if a is None or b is None else a - b)


def _ratio_text(large: float | None, small: float | None, better: str, worse: str) -> str:
    if not large or not small:
        return ''
    return f'{large / small:.2f}x {better}' if large >= small else f'{small / large:.2f}x {worse}'


def _with_prefix(number: float) -> str:
    for factor, prefix in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= factor:
            return f'{number / factor:.2f} {prefix}'
    return f'{number:.0f}'


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {rest} s' if minutes else f'{seconds:.1f} s'
