"""What rules about options are, and what several of them ask."""

from collections.abc import Iterator
from typing import Any

from vsrkd_plugin.config import schema
from vsrkd_plugin.config.section import Section, missing

Rules = Iterator[tuple[object, str]]  # each: whether it is broken, and what is said then


def without(section: Section, key: str, place: str, why: str = '') -> tuple[bool, str]:
    """The rule that a key is given."""
    return getattr(section, key) is None, f'{place}: {missing(type(section), key, why)}'


def network_of(options: schema.RunOptions, label: str) -> dict[str, Any] | None:
    """The options of a network, whether it has a field of its own or not."""
    return getattr(options, f'network_{label}', None) or options.networks.get(f'network_{label}')


def no_multiple(size: int, scales: tuple[int, ...], place: str) -> tuple[bool, str]:
    """The rule that a size is a multiple of every scale."""
    unfit = [scale for scale in scales if size % scale]
    return bool(unfit), f'{place}: expected a multiple of every scale, but {size} is none of {(*unfit, 1)[0]}'
