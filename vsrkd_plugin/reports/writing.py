"""The report as JSON, as a page of Markdown and as a table in the log."""

import json
import logging
from typing import Any

from vsrkd_plugin.reports.evaluation import finite
from vsrkd_plugin.reports.telling import (
    Block,
    Rows,
    Table,
    complexity_rows,
    cost_blocks,
    headline,
    left_out_lines,
    likeness_rows,
    naturalness_rows,
    psnr_note,
    quality_blocks,
    result_rows,
    training_line,
)

logger = logging.getLogger('basicsr')


def to_json(report: dict[str, Any]) -> str:
    """The report as strict JSON: infinity and nan become null."""
    return json.dumps(_finite_only(report), indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def to_markdown(
    report: dict[str, Any],
    name: str,
    networks: dict[str, str],
    command: str,
    notes: list[str],
    film: str | None = None,
) -> str:
    """The report as a page of Markdown that explains itself.

    Args:
        report: as `make_report` returns it.
        name: the experiment's.
        networks: a description by role (`teacher` if there was one, `student`), as `VDSR(num_feat=64)`.
        command: makes the report again.
        notes: what could not be told, and why.
        film: name of the file that shows clips, if there is one.
    """
    return '\n'.join([
        f'# {name}',
        '',
        headline(report, networks, mark='**'),
        '',
        '## Quality',
        '',
        *_markdown(quality_blocks(report, networks)),
        '![Crops by every method, and PSNR over the training](report.png)',
        '',
        *([f'Clips side by side: [{film}]({film}).', ''] if film else []),
        '## Cost',
        '',
        *_markdown(cost_blocks(report)),
        '## Training',
        '',
        training_line(report['training']),
        '',
        *(f'Note: {note}\n' for note in notes),
        'Figures for programs are in [report.json](report.json). This report was made, and is made again, by',
        '',
        f'    {command}',
        '',
    ])  # fmt: skip


def log_tables(report: dict[str, Any], name: str) -> None:
    """The tables of the report in the log, columns aligned."""
    lines = [f'Report of {name}', *_aligned(result_rows(report)), *left_out_lines(report), '']
    if len(rows := likeness_rows(report)) > 1:
        lines += [*_aligned(rows), '']
    if len(rows := naturalness_rows(report)) > 1:
        lines += [*_aligned(rows), '']
    lines += [line for note in psnr_note(report) for line in (note, '')]
    lines += _aligned(complexity_rows(report))
    logger.info('\n  '.join([*lines, '', training_line(report['training'])]))


def _markdown(blocks: list[Block]) -> list[str]:
    """Lines of blocks, an empty one after each."""
    lines = []
    for block in blocks:
        lines += [*(markdown_table(block.rows) if isinstance(block, Table) else [block]), '']
    return lines


def markdown_table(rows: Rows) -> list[str]:
    """Lines of a Markdown table; the first row is its header."""
    header, *body = [f'| {" | ".join(row)} |' for row in rows]
    rule = '|' + '|'.join(['---'] + ['---:'] * (len(rows[0]) - 1)) + '|'
    return [header, rule, *body]


def _aligned(rows: Rows) -> list[str]:
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        '  '.join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))]).rstrip()
        for name, *cells in rows
    ]


def _finite_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_only(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite_only(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value
