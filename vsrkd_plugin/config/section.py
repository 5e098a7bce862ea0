"""A section of the options: a pydantic model that tells which key is wrong, and which one was meant."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from vsrkd_plugin.config.registries import Model
from vsrkd_plugin.config.values import expected
from vsrkd_plugin.errors import Flaw, nearest, one_of, unexpected

TOP = 'options'  # how errors name the top level
_SOURCES = expected(list)
_EXPECTED = {
    'model_type': 'a mapping', 'dict_type': 'a mapping', 'list_type': _SOURCES, 'too_short': _SOURCES,
    'string_type': 'keys that are text',
}  # fmt: skip
_TYPO = 0.85  # how like a known key one of somebody else's model must be, to be taken for a mistyped one


def option(meaning: str, default: Any = ..., alias: str | None = None, training: bool = False) -> Any:
    """A field of a section.

    Args:
        meaning: what it is for.
        default: what leaving it out means; without one it is required.
        alias: its key if that is not the field's name. A `*` stands for the name of a network or loss: the field then
            is a dictionary of all keys that fit.
        training: required in a training alone.
    """
    return Field(default, description=meaning, alias=alias, json_schema_extra={'training': True} if training else None)


class Section(BaseModel):
    """Options of one section. Without a context keys that are not known are dropped: `complete` adds some."""

    model_config = ConfigDict(extra='forbid', frozen=True, protected_namespaces=())
    others_may_add: ClassVar[bool] = False  # whether somebody else's model may have keys of its own here

    @classmethod
    def known(cls) -> dict[str, FieldInfo]:
        """The fields by their keys in the options."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @classmethod
    def match(cls, key: Any) -> str | None:
        """The known key that a key is, or that with a `*` which it fits."""
        known = cls.known()
        fitting = (name for name in known if '*' in name and fnmatchcase(str(key), name))
        return key if key in known else next(fitting, None)

    @model_validator(mode='before')
    @classmethod
    def _take(cls, options: Any, info: ValidationInfo) -> Any:
        """Options by the names of fields; what is unknown or missing is told."""
        if not isinstance(options, dict):
            return options
        reading: Reading | None = info.context
        taken: dict[str, Any] = {}
        for key, value in options.items():
            name = cls.match(key)
            if name is None and reading:
                reading.check_unknown(cls, key)
            if name is not None and '*' in name:
                taken.setdefault(name, {})[key] = value
            elif name is not None or cls.model_config['extra'] == 'allow':
                taken[str(key)] = value
        for key, field in cls.known().items():
            for_training = (field.json_schema_extra or {}) == {'training': True}
            if field.is_required() and key not in options and reading and (reading.is_train or not for_training):
                raise missing(cls, key)
        return taken


def missing(section: type[Section], key: str, why: str = '') -> Flaw:
    """The error for a key that is not there; `why` instead of what it is for."""
    field = section.known()[section.match(key) or key]
    what = why or f'{field.description}; expected {expected(field.annotation, field.metadata)}'
    return Flaw(f'key {key!r} is missing ({what})')


def sections(top: type[Section], place: str = TOP) -> Iterator[tuple[str, type[Section]]]:
    """A section and those within it, each with how errors name it."""
    yield place, top
    for key, field in top.known().items():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from sections(inner, place_of(place, key))


def place_of(*keys: Any) -> str:
    """How errors name a place in the options: `train, optim_g, lr`."""
    return ', '.join(str(key) for key in keys if key != TOP) or TOP


@dataclass(frozen=True)
class Reading:
    """What the checks of a part know of the whole.

    Args:
        opt: all options.
        is_train: for `train` or for `test`.
        model: the one that options are for.
        homes: sections by place, to tell where a misplaced key belongs.
    """

    opt: Mapping[str, Any]
    is_train: bool
    model: Model
    homes: Mapping[str, type[Section]]

    def check_unknown(self, section: type[Section], key: Any) -> None:
        """Raise `Flaw` for a key that a section has not; where others have keys, only if it is nearly a known one."""
        lenient = section.model_config['extra'] == 'allow' or (self.model.foreign and section.others_may_add)
        networks = {name.removeprefix('network_') for name in map(str, self.opt) if name.startswith('network_')}
        known = [name.replace('*', network) for name in section.known() for network in (*networks, 'g')]
        near = nearest(key, known, _TYPO if lenient else 0.6)
        if lenient and near is None:
            return
        home = next((home for home, inner in self.homes.items() if not lenient and inner.match(key)), None)
        if home is not None:
            hint = f'it belongs {"at the top level" if home == TOP else f"under {home}"}'
        elif near is not None:
            hint = f'did you mean {near!r}?'
        else:
            hint = f'known are {", ".join(section.known())}'
        raise Flaw(f'unknown key {key!r}; {hint}')


def first_flaw(error: ValidationError) -> str | None:
    """The first flaw that pydantic found, in one line; None if only such keys are missing as a test does not need."""
    for found in error.errors(include_url=False):
        if found['type'] == 'missing':
            continue
        # Names with a star are no keys: they stand for the keys that fit, or tell the members of a union apart.
        keys = [key for key in found['loc'] if '*' not in str(key) and key != '[key]']
        context = found.get('ctx', {})
        flaw = context.get('error')
        if not isinstance(flaw, Flaw):
            choice = one_of(tuple(re.findall("'([^']*)'", str(context.get('expected')))))
            flaw = unexpected(_EXPECTED.get(found['type'], choice), found['input'])
        return f'{place_of(*keys, *flaw.keys)}: {flaw}'
    return None


def tag(options: Any, types: tuple[str, ...]) -> str:
    """Which member of a union options are for; the last one for types that are not known."""
    kind = options.get('type') if isinstance(options, Mapping) else None
    return f'*{kind}' if kind in types else '*'
