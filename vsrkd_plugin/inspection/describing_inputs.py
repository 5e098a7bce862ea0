"""An estimate of what degrades pictures, in words."""

import json

from vsrkd_plugin.inspection.inputs import DegradationEstimate


def inputs_in_words(folder: str, found: DegradationEstimate) -> str:
    """What a person reads: several lines."""
    kind = 'grey pictures' if found.is_grey else 'pictures'
    like = 'as if this had been done to LR by bicubic' if found.degrade else 'like clean LR by bicubic'
    lines = [
        f'{folder}: {found.pictures} {kind}, which look {like}',
        f'  noise      {_noise(found)}',
        f'  blur       {_blur(found)}',
        f'  JPEG       {_jpeg(found)}',
    ]
    if found.degrade:
        lines.append(f'  degrade: {_one_line(found.degrade)}  # makes images alike')
    else:
        lines.append('  degrade    none is proposed')
    return '\n'.join(lines)


def _noise(found: DegradationEstimate) -> str:
    if found.noise_is_hidden:
        return (
            f'sigma of at most {found.noise_sigma + found.noise_error:.1f} levels of 255: whether there is any is not '
            'known, for JPEG hides what is as weak'
        )
    if not found.noise_sigma:
        return 'none that stands out of flat parts'
    kind = {
        None: "; taken to be independent in the colours, for JPEG's chroma does not tell",
        True: '' if found.is_grey else ', the same in all colours',
        False: ', independent in the colours',
    }[found.noise_is_grey]
    low, high = max(found.noise_sigma - found.noise_error, 0), found.noise_sigma + found.noise_error
    sure = 'flat parts do not tell it well under JPEG' if found.jpeg_quality else 'flat parts tell it well'
    return f'sigma {found.noise_sigma:.1f} levels of 255 ({low:.1f} to {high:.1f}: {sure}){kind}'


def _blur(found: DegradationEstimate) -> str:
    along, across = found.blur_sigma
    if not along:
        return 'none that can be told from pictures that are a little soft (sigma below 0.3 pixels)'
    low, high = found.blur_range
    why = 'by the spectrum; pictures that are soft by themselves look blurred'
    if found.jpeg_quality:
        why = 'roughly, by the spectrum, where JPEG and blur look alike'
    if found.is_anisotropic:
        turned = (
            f'{along:.2f} LR pixels along {found.blur_angle:.0f} degrees (0 is right, 90 down), {across:.2f} across'
        )
        return f'a Gaussian, clearly stronger in one direction: sigma {turned} ({low:.2f} to {high:.2f}: {why})'
    return f'a Gaussian of sigma {along:.2f} LR pixels, in no direction clearly more ({low:.2f} to {high:.2f}: {why})'


def _jpeg(found: DegradationEstimate) -> str:
    if found.jpeg_quality is None:
        some = f'; {found.jpeg_share:.0%} of the pictures have one' if found.jpeg_share else ''
        return f'none: no grid of 8x8 blocks{some} (of a quality above 95, or enlarged or reduced since, none shows)'
    low, high = found.jpeg_quality - found.jpeg_error, min(found.jpeg_quality + found.jpeg_error, 99)
    all_of = 'all pictures' if found.jpeg_share == 1 else f'{found.jpeg_share:.0%} of the pictures'
    return f'quality {found.jpeg_quality:.0f} ({low:.0f} to {high:.0f}: the comb of its table in {all_of})'


def _one_line(options: dict) -> str:
    """As an options file has it: YAML of one line."""
    return '{' + ', '.join(f'{key}: {json.dumps(value)}' for key, value in options.items()) + '}'
