"""The model card of a student: Markdown with the front matter that model hubs read."""

from typing import Any

import yaml

from vsrkd_plugin.reports.telling import complexity_rows, likeness_rows, result_rows, training_line
from vsrkd_plugin.reports.writing import markdown_table
from vsrkd_plugin.run.model_file import ModelHeader

_OF_BASICSR = 'basicsr.archs'
_MADE = ' on made inputs: no picture of a data set was used'


def to_model_card(name: str, header: ModelHeader, report: dict[str, Any], data_free: bool) -> str:
    """A page that tells what a model is, how good, how it was made and how it is used.

    Args:
        name: the experiment's.
        header: what the model's files hold.
        report: as `make_report` returns it.
        data_free: a student learned from made inputs alone.
    """
    kind = header.network['type']
    factors = ', '.join(f'x{scale}' for scale in header.scales)
    what = 'films and clips' if header.is_video else 'pictures'
    colour = 'Y (of colour pictures too: chroma is enlarged by bicubic)' if header.channels == 1 else 'RGB'
    low, high = (f'{value:g}' for value in header.value_range)
    likeness = likeness_rows(report)
    return '\n'.join([
        '---',
        yaml.safe_dump(_front_matter(header, data_free), sort_keys=False, allow_unicode=True).rstrip(),
        '---',
        '',
        f'# {name}',
        '',
        f'{kind}, a super-resolution network for {what}, {factors}, on {colour}, values {low} to {high}.'
        + (f' It was distilled from {header.distilled_from}{_MADE * data_free}.' if header.distilled_from else ''),
        '',
        '## Use',
        '',
        *(f'    {line}' for line in _usage(header)),
        '',
        _reading(header),
        '',
        '## Quality',
        '',
        *markdown_table(result_rows(report)),
        '',
        'PSNR in dB / SSIM, results rounded to 8 bits.',
        '',
        *([*markdown_table(likeness), ''] if len(likeness) > 1 else []),
        '## Cost',
        '',
        *markdown_table(complexity_rows(report)),
        '',
        '## How it was made',
        '',
        f'By vsrkd_plugin {header.version}: {training_line(report["training"])} All options stand in the '
        'experiment\'s `options.yml`.',
        '',
        '## Limits',
        '',
        _limits(header),
        '',
    ])  # fmt: skip


def _limits(header: ModelHeader) -> str:
    if not header.distilled_from:
        return 'Pictures that were reduced or damaged in another way than those of its training come out less well.'
    return (
        'It does what its teacher does, at best: pictures that were reduced or damaged in another way than the teacher '
        "was trained for come out as from it. Its licence is its maker's to say, within that of the teacher's weights."
    )


def _front_matter(header: ModelHeader, data_free: bool) -> dict[str, Any]:
    entries: dict[str, Any] = {
        'library_name': 'vsrkd_plugin',
        'pipeline_tag': 'video-to-video' if header.is_video else 'image-to-image',
        'tags': ['super-resolution'],
    }
    entries['tags'] += ['knowledge-distillation'] * bool(header.distilled_from) + ['data-free'] * data_free
    entries['tags'].append(str(header.network['type']))
    if header.distilled_from:
        entries['distilled_from'] = header.distilled_from
    return entries


def _usage(header: ModelHeader) -> list[str]:
    if header.is_video:
        return ['vsrkd upscale -m student.safetensors -i clip.mp4 -o clip_large.mp4']
    return ['vsrkd upscale -m student.safetensors -i pictures/ -o large/']


def _reading(header: ModelHeader) -> str:
    """Who can read the files, and as what."""
    from basicsr.utils.registry import ARCH_REGISTRY

    arguments = ', '.join(f'{key}={value!r}' for key, value in header.network.items() if key != 'type')
    told = "Both files hold the network's options in a header (`vsrkd`), so that nothing else is needed."
    kind = ARCH_REGISTRY.get(header.network['type'])
    if str(kind.__module__).startswith(_OF_BASICSR):
        return f'{told} BasicSR reads the `.pth` without this package: `{kind.__name__}({arguments})`, entry `params`.'
    return f'{told} The class, `{kind.__name__}({arguments})`, is of `{kind.__module__}`; the entry is `params`.'
