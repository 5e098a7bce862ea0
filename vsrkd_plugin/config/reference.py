"""Writes what `schema` knows for people and editors: `python -m vsrkd_plugin.config.reference` in the repository."""

import json
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from vsrkd_plugin.config import dataset_options, schema, synthesis_options
from vsrkd_plugin.config.components import Arguments
from vsrkd_plugin.config.section import TOP, Section, sections
from vsrkd_plugin.config.values import expected

PAGE, SCHEMA = 'docs/options.md', 'options/vsrkd_options.schema.json'
_HEAD = """# Options

Every option of ours, and what stock BasicSR reads. Generated from `vsrkd_plugin/config/` by
`python -m vsrkd_plugin.config.reference`, which writes `options/vsrkd_options.schema.json` for editors too.

A `*` in a key stands for the name of a network or loss. Where the default is empty, `~` leaves the option out as well.
Networks, losses, metrics, optimisers and schedulers are `{type: …, …}` with the arguments of what `type` names.
"""
_NUMBER = {'pattern': r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'}  # editors read 1e-4 as YAML 1.1 does: as text


def page() -> str:
    """`docs/options.md`."""
    found: list[tuple[str, type[Section]]] = [*sections(schema.RunOptions), ('train', schema.AnyTrainOptions)]
    for model in (schema.DistillationOptions, schema.TrainingOptions, schema.ClipTrainingOptions, schema.StockOptions):
        found += sections(model)
    for place, first, union in (
        ('datasets, …', dataset_options.LoaderOptions, dataset_options.Dataset),
        ('synthesis, sources, …', synthesis_options.SourceOptions, synthesis_options.Source),
    ):
        members = [get_args(tagged)[0] for tagged in get_args(get_args(union)[0])]
        found += [(place, member) for member in (first, *members)]
    places: dict[type[Section], str] = {}
    found.append(('train, optim_*` and `train, scheduler', Arguments))
    for place, section in found:
        places.setdefault(section, place)  # each once
    return '\n'.join([_HEAD, *(_table(section, place) for section, place in places.items())])


def _title(section: type[Section]) -> str:
    return (section.__doc__ or '').rstrip('.')


def _table(section: type[Section], place: str) -> str:
    """The options of a section, without those of the section that it extends."""
    base = section.__mro__[1]
    inherited = base.known() if issubclass(base, Section) else {}
    rows = [
        f'| `{key}` | {_expected(key, field)} | {_default(field)} | {field.description} |'
        for key, field in section.known().items()
        if inherited.get(key) is None or inherited[key].annotation != field.annotation
    ]
    title = _title(section) + ('' if place == TOP else f': `{place}`')
    more = f'Besides those of “{_title(base)}”:\n\n' if inherited else ''
    return f'## {title}\n\n{more}| key | expected | default | meaning |\n|---|---|---|---|\n' + '\n'.join(rows) + '\n'


def _expected(key: str, field: FieldInfo) -> str:
    if '*' in key:
        return expected(get_args(field.annotation)[1])
    return expected(field.annotation, field.metadata)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return 'required'
    if field.default is None or isinstance(field.default, dict | Section):
        return ''
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f'`{value if isinstance(value, str) else json.dumps(value)}`'


def json_schema() -> dict[str, Any]:
    """The JSON Schema of all options files: `model_type` chooses the options."""
    models: list[type[Section]] = [*schema.OPTIONS_OF.values(), schema.StockOptions]
    _, found = models_json_schema([(model, 'validation') for model in models], ref_template='#/definitions/{model}')
    definitions = {name: _for_editors(definition) for name, definition in found['$defs'].items()}
    definitions['StockOptions']['additionalProperties'] = True  # models of others have keys of their own
    kinds = [definition['properties'].get('type', {}).get('const') for definition in definitions.values()]
    for name in ('OtherDatasetOptions', 'SourceOptions'):  # each type fits one member of its union
        definitions[name]['properties']['type']['not'] = {'enum': [kind for kind in kinds if kind]}
    chosen: dict[str, Any] = {'$ref': '#/definitions/StockOptions'}
    for name, model in schema.OPTIONS_OF.items():
        is_it = {'properties': {'model_type': {'const': name}}}
        chosen = {'if': is_it, 'then': {'$ref': f'#/definitions/{model.__name__}'}, 'else': chosen}
    known = {'model_type': {'anyOf': [{'enum': list(schema.OPTIONS_OF)}, {'type': 'string'}]}}  # to choose from
    return {
        '$schema': 'http://json-schema.org/draft-07/schema#', 'properties': known, **chosen, 'definitions': definitions
    }  # fmt: skip


def _for_editors(node: Any) -> Any:
    """Keys with a star as patterns, what only a training requires not required, numbers that may look like text."""
    if isinstance(node, list):
        return [_for_editors(part) for part in node]
    if not isinstance(node, dict):
        return node
    node = {key: _for_editors(value) for key, value in node.items() if key not in ('title', 'discriminator')}
    if not isinstance(node.get('default', ''), str | int | float):
        del node['default']
    if 'prefixItems' in node:
        node['items'] = node.pop('prefixItems')  # so it is called in draft 7
    if node.get('type') in ('number', 'integer'):
        node |= {'type': [node['type'], 'string'], **_NUMBER}
    properties = node.get('properties', {})
    starred = [key for key in properties if '*' in key]
    if starred:
        patterns = {key: f'^{key.replace("*", ".*")}$' for key in starred}
        node['patternProperties'] = {patterns[key]: properties.pop(key)['additionalProperties'] for key in starred}
    if 'required' in node:
        node['required'] = [key for key in node['required'] if not properties.get(key, {}).pop('training', False)]
    return node


def main() -> None:
    """Write both files."""
    Path(PAGE).write_text(page(), encoding='utf-8')
    Path(SCHEMA).write_text(json.dumps(json_schema(), indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
