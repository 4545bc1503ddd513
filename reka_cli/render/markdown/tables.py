"""Tables: columns as wide as their text, or narrower with their text broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from reka_cli.render.markdown.blocks import Block
from reka_cli.render.markdown.lines import Spans, cells, strip_end, wrap
from reka_cli.render.markdown.style import Palette

_GAP = 2  # columns between two columns
_NARROWEST = 4  # a column with less is no column: then a row is a list
Read = Callable[[Block], Spans]


def rows_of(table: Block) -> list[Block]:
    """Give the rows of a table, its head first."""
    return [row for part in table.children for row in part.children]


def column_widths(rows: Sequence[Block], read: Read, room: int) -> tuple[int, ...]:
    """Give the width of each column; none at all if there is no room for columns."""
    count = max(len(row.children) for row in rows)
    return fit_widths(
        [max(1, *(_width(row, index, read) for row in rows)) for index in range(count)], room
    )


def fit_widths(wanted: Sequence[int], room: int) -> tuple[int, ...]:
    """Give the widths that columns get of those they want; none at all if there is no room for columns."""
    count = len(wanted)
    left = room - _GAP * (count - 1)
    if left < _NARROWEST * count:
        return ()
    widths = [0] * count
    for done, index in enumerate(sorted(range(count), key=wanted.__getitem__)):
        widths[index] = min(wanted[index], left // (count - done))
        left -= widths[index]
    return tuple(widths)


def _width(row: Block, index: int, read: Read) -> int:
    if index >= len(row.children):
        return 0
    text = "".join(part for part, _ in read(row.children[index]))
    return max(cells(line) for line in text.split("\n"))


def row_lines(row: Block, widths: Sequence[int], read: Read, palette: Palette) -> Iterator[Spans]:
    """Give the lines of a row that has its columns."""
    plain = palette.style("plain")
    columns = [wrap(read(cell), width) for cell, width in zip(row.children, widths, strict=False)]
    for parts in zip_longest(*columns):
        line: Spans = []
        for cell, part, width in zip(row.children, parts, widths, strict=False):
            text = strip_end(part or [])
            left, right = _padding(cell, text, width)
            line += [(" " * left, plain), *text, (" " * (right + _GAP), plain)]
        yield line


def _padding(cell: Block, spans: Spans, width: int) -> tuple[int, int]:
    free = max(0, width - cells("".join(text for text, _ in spans)))
    match cell.token.attrs.get("style"):
        case "text-align:right":
            return free, 0
        case "text-align:center":
            return free // 2, free - free // 2
        case _:
            return 0, free


def rule(widths: Sequence[int], palette: Palette) -> Spans:
    """Give the line under the head."""
    return [((" " * _GAP).join("─" * width for width in widths), palette.style("table.border"))]


def record_lines(
    row: Block, head: Block, read: Read, room: int, palette: Palette
) -> Iterator[Spans]:
    """Give the lines of a row for which there are no columns: the name of each column and its cell."""
    between = (": ", palette.style("plain"))
    filled = [cell.text != "" for cell in row.children]
    last = max((index for index, is_filled in enumerate(filled) if is_filled), default=0)
    for name, cell in zip(head.children[: last + 1], row.children, strict=False):
        yield from wrap([*read(name), between, *read(cell)], room)


def text_lines(row: Block, read: Read, room: int, palette: Palette) -> Iterator[Spans]:
    """Give the lines of a row as mere text."""
    between = (" | ", palette.style("plain"))
    spans = [span for cell in row.children if cell.text for span in (between, *read(cell))]
    yield from wrap(spans[1:], room)
