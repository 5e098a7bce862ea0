"""An inspection in words."""

import json

from vsrkd_plugin.inspection.teacher import Inspection

_COLOURS = {1: 'Y (luma) alone', 3: 'RGB'}


def in_words(found: Inspection) -> str:
    """What a person reads: several lines."""
    lines = [
        f'{found.path}: {found.options["type"]}{_family(found)}, known to {found.source}',
        f'  options    {_options(found)}',
        f'  enlarges   by {" or ".join(map(str, found.scales))}; takes {_taken(found)}',
        f'  costs      {found.params:,} weights{_operations(found)}',
        f'  restores   PSNR against bicubic, dB: {_gains(found)}',
        *(f'             {sentence}' for sentence in _judgements(found)),
    ]
    if found.contract:
        lines.append(f'  contract_t {json.dumps(dict(found.contract))}')
    if found.degrade:
        lines.append(f'  degrade    {json.dumps(found.degrade)} is proposed for synthesis')
    lines += [f'  warning    {warning}' for warning in found.warnings]
    return '\n'.join(lines)


def _family(found: Inspection) -> str:
    return f' of the family {found.options["family"]}' if 'family' in found.options else ''


def _options(found: Inspection) -> str:
    return ', '.join(f'{key}: {value}' for key, value in found.options.items() if key not in ('type', 'family'))


def _taken(found: Inspection) -> str:
    low, high = found.value_range
    parts = [f'{_COLOURS.get(found.channels, found.channels)} in [{low:g}, {high:g}]']
    if found.is_video:
        parts.append('clips of any length' if found.window is None else f'windows of {found.window} frames')
    if found.min_size > 1:
        parts.append(f'LR of at least {found.min_size} pixels a side')
    if found.size_multiple > 1:
        parts.append(f'sides that are multiples of {found.size_multiple}')
    if found.min_size > 1 or found.size_multiple > 1:
        parts.append('others are padded by mirroring')
    else:
        parts.append('any size')
    return ', '.join(parts)


def _operations(found: Inspection) -> str:
    if found.macs_per_megapixel is None:
        return '; its operations cannot be counted'
    return f'; {found.macs_per_megapixel / 1e9:,.1f} G multiply-accumulates for a megapixel of the result'


def _gains(found: Inspection) -> str:
    return ', '.join(f'{gain.condition} {gain.gain:+.2f}' for gain in found.gains)


def _judgements(found: Inspection) -> list[str]:
    clean = found.by_condition.get('clean')
    sentences = []
    if found.is_video:
        sentences.append(f'made for LR by {found.clip_degradation}')
    elif clean is not None:
        times = clean.sharpness / max(clean.sharpness_bicubic, 1e-6)
        sentences.append(f'{times:.1f} times as sharp as bicubic, where HR is {_hr(found):.1f} times as sharp')
    if found.is_sharpened:
        sentences.append('sharp and yet no nearer to HR than bicubic: trained with a GAN, or alike; PSNR misjudges it')
    if found.answers:
        sentences.append(f'made for degraded LR, by the look of {", ".join(found.answers)}')
    elif not found.is_video:
        sentences.append('made for clean LR')
    return sentences


def _hr(found: Inspection) -> float:
    clean = found.by_condition['clean']
    return clean.sharpness_hr / max(clean.sharpness_bicubic, 1e-6)
