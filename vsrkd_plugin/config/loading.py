"""Options files: YAML, loaded safely, in which `1e-4` is a number."""

import re
from typing import Any

import yaml

from vsrkd_plugin.config.shipped import find_options_file
from vsrkd_plugin.errors import UserError, first_line, show

_MOST_NODES = 100_000  # of a document, references followed: a few hundred are usual
_DEEPEST = 60
_MOST_BYTES = 10_000_000  # of a file


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's floats, and errors in place of what is no value, key or document."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except (ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
            # 2024-13-45, 0b_, !!int abc: of the value, which PyYAML does not name.
            kind, value = node.tag.rpartition(':')[2], show(getattr(node, 'value', ''))
            raise yaml.MarkedYAMLError(problem=f'{value} is no {kind}', problem_mark=node.start_mark) from error

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count(node, {}, ())
        return node


def _count(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many nodes a document has when its references are followed.

    Raises:
        yaml.MarkedYAMLError: too many, too deep, or one that is within itself.
    """

    def refuse(problem: str) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise refuse('what is referred to is within itself')
    if len(above) > _DEEPEST:
        raise refuse(f'more than {_DEEPEST} levels deep')
    inner = [] if isinstance(node, yaml.ScalarNode) else node.value
    parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
    found = 1 + sum(_count(part, known, (*above, id(node))) for part in parts)
    if found > _MOST_NODES:
        raise refuse(f'more than {_MOST_NODES:,} values, references followed')
    known[id(node)] = found
    return found


# YAML 1.1 wants a dot and a signed exponent: it reads 1e-4 as a string.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != 'tag:yaml.org,2002:float']
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(
        r'^[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$'
    ),
    list('-+0123456789.'),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == 'tag:yaml.org,2002:merge':
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            problem = 'a key that is a list or a mapping; expected text'
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f'key {key!r} is given twice', problem_mark=key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


_Loader.add_constructor('tag:yaml.org,2002:map', _mapping)


def parse_yaml(text: str, origin: str) -> Any:
    """Parse YAML; `origin` names it in errors.

    Raises:
        UserError: a syntax error, a tag (`!!python/…`), a key given twice; with the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else '?'
        raise UserError(f'{origin}, line {line}: {error.problem} (tags that build objects are not allowed)') from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else '?'
        raise UserError(f'{origin}, line {line}: not valid YAML: {error.problem}') from error
    except yaml.YAMLError as error:
        raise UserError(f'{origin}: not valid YAML: {first_line(error)}') from error
    except RecursionError as error:  # of PyYAML's parser, before anything can be counted
        raise UserError(f'{origin}: not valid YAML: more than {_DEEPEST} levels deep') from error


def load_options(path: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """An options file as a dictionary, `--force_yml` applied.

    Args:
        path: the YAML file; or the name of one that comes with the package, where no such file is there.
        overrides: `section:key=value` entries; values are YAML (`1e-4`, `[1, 2]`, `~`). A list is entered by position.

    Raises:
        UserError: no such file, not YAML, not a mapping, an override whose section does not exist.
    """
    file = find_options_file(path)
    try:
        if file.exists() and not file.is_file():  # reading a pipe waits for good
            raise UserError(f'{path}: expected an options file, found {"a folder" if file.is_dir() else "no file"}')
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f'{path}: expected an options file, found one of {file.stat().st_size:,} bytes')
        text = file.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: cannot be read ({first_line(error)})') from error
    options = parse_yaml(text, path)
    if not isinstance(options, dict):
        raise UserError(f'{path}: expected a mapping of options, found {type(options).__name__}')
    return overridden(options, overrides)


def overridden(options: dict[str, Any], overrides: list[str] | None) -> dict[str, Any]:
    """`options` with `--force_yml` applied, in place; errors and `overrides` as of `load_options`."""
    for entry in overrides or []:
        _override(options, entry)
    return options


def _override(options: dict[str, Any], entry: str) -> None:
    where, equals, text = entry.partition('=')
    if not equals:
        raise UserError(f'--force_yml {entry}: expected section:key=value')
    *sections, key = (part.strip() for part in where.split(':'))
    target: Any = options
    for section in sections:
        target = _enter(target, section, entry)
    value = parse_yaml(text, f'--force_yml {entry}')
    if isinstance(target, list):
        _enter(target, key, entry)
        target[int(key)] = value
    elif isinstance(target, dict):
        target[_as_key(target, key)] = value
    else:
        raise UserError(f'--force_yml {entry}: {":".join(sections)} is a value, not a section')


def _as_key(section: dict[Any, Any], text: str) -> Any:
    """Keys are strings but for numbers (scales): `2` finds the key 2."""
    return int(text) if text.isdecimal() and len(text) < 10 and int(text) in section else text


def _enter(target: Any, section: str, entry: str) -> Any:
    if isinstance(target, dict) and _as_key(target, section) in target:
        return target[_as_key(target, section)]
    if isinstance(target, list) and section.isdecimal() and len(section) < 10 and int(section) < len(target):
        return target[int(section)]
    raise UserError(f'--force_yml {entry}: the options have no section {section!r} there')
