"""Size and speed of an exported file beside its network's, one thread each, by turns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vsrkd_plugin.deploy.export.drafts import Draft
from vsrkd_plugin.deploy.export.exportable import Exportable

_SIDE, _LEAST = 128, 32  # of LR; halved while a run takes longer than `_PATIENCE`
_PATIENCE = 1.5  # seconds
_RUNS = 5


@dataclass(frozen=True)
class Row:
    """A file, or the network itself.

    Attributes:
        name: of the file.
        runtime: that runs it, with its version.
        precision: of its numbers.
        size: bytes.
        seconds: for one picture of `side`, the least of several; None where it was not measured.
        difference: from the network, the largest; None of the network itself.
        side: of LR.
    """

    name: str
    runtime: str
    precision: str
    size: int
    seconds: float | None
    difference: float | None
    side: int = _SIDE


def measure(exportable: Exportable, draft: Draft, path: Path, precision: str, difference: float) -> list[Row]:
    """A row for the network, called as it is in PyTorch, and one for its file; one thread each, by turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        side = exportable.fitting(_SIDE)
        while True:
            (inputs,) = exportable.samples(1, side, side)
            arrays = [value.numpy() for value in inputs]

            def eager(inputs: tuple[torch.Tensor, ...] = inputs) -> None:
                with torch.inference_mode():
                    exportable.module(*inputs)

            first = _seconds(eager)
            smaller = exportable.fitting(side // 2)
            if first < _PATIENCE or smaller < _LEAST or smaller == side:
                break
            side = smaller
        seconds = _by_turns([eager, lambda: draft.run(arrays)])
    finally:
        torch.set_num_threads(threads)
    params = sum(value.numel() * value.element_size() for value in exportable.module.parameters())
    return [
        Row('the network', f'torch {torch.__version__.partition("+")[0]}', 'fp32', params, seconds[0], None, side),
        Row(path.name, draft.runtime, precision, draft.size, seconds[1], difference, side),
    ]


def in_words(rows: Sequence[Row], scale: int | None = None) -> str:
    """The rows as a table for a terminal, and as Markdown."""
    side = rows[0].side
    timed = f'{side}x{side} x{scale}, one thread' if rows[0].seconds is not None else 'time'
    lines: list[tuple[str, ...]] = [('file', 'runs in', 'precision', 'size', timed, 'largest difference')]
    for row in rows:
        lines.append(
            (
                row.name,
                row.runtime,
                row.precision,
                f'{row.size / 1e6:.2f} MB',
                '' if row.seconds is None else f'{row.seconds * 1000:.0f} ms',
                '' if row.difference is None else f'{row.difference:.1e}',
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, tuple('-' * width for width in widths))
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in padded)


def _by_turns(calls: Sequence[Callable[[], object]]) -> list[float]:
    best = [float('inf')] * len(calls)
    for _ in range(_RUNS):
        for index, call in enumerate(calls):
            best[index] = min(best[index], _seconds(call))
    return best


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
