"""Blocks to lines, at a width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.style import Style

from reka_cli.render.markdown import code, tables
from reka_cli.render.markdown.blocks import Block, ParsedText, Parser
from reka_cli.render.markdown.inline import Inline, visible
from reka_cli.render.markdown.lines import Margin, Spans, render_line, wrap
from reka_cli.render.markdown.style import Palette

Lines = list[str]

# Control characters, which no answer has any more when it comes here, stand for what is laid out already:
DONE = "\x01"  # the blocks of a list item before the one that is open
BEGUN = "\x02"  # the begin of a paragraph

_CRAMPED = 3  # times the lines that a row takes as text: columns of other rows that take more are none for it
_TAB = 4


@dataclass
class Item:
    """An item of a list, or a quotation, that is not finished; `begun` if its mark is on the screen."""

    block: Block
    number: int = 0
    begun: bool = False


@dataclass
class Paragraph:
    """The begin of a paragraph that goes on: its finished `lines`, and the `last` one, to be continued.

    `source` is what it was made of, None once its lines cannot be changed any more.
    """

    source: str | None
    lines: Lines
    last: Spans
    margin: Margin


@dataclass
class Fence:
    """A code block of which the first lines are on the screen, with the state of its lexer."""

    state: code.LexerState


@dataclass
class RawBlock:
    """A block shown as it stands, of which all but the last line are on the screen."""


@dataclass
class Table:
    """A table of which the first rows are on the screen, so that its columns stay as they are, if it has any."""

    widths: tuple[int, ...]


OpenPart = Paragraph | Fence | RawBlock | Table
Place = tuple[
    Item | OpenPart, ...
]  # the way to the open block, the outermost first; last, what of it is laid out


@dataclass
class Leaf:
    """A block that holds no others, where it stands, and what of it is laid out."""

    block: Block
    margin: Margin
    part: OpenPart | None = None


@dataclass
class Open:
    """The last block of a source, which is open, and the items around it.

    It `is_alone` if nothing but what is laid out stands before it.
    """

    items: list[Item] = field(default_factory=list)
    leaf: Leaf | None = None
    is_alone: bool = True


class Layout:
    """Gives the lines of blocks."""

    def __init__(self, parser: Parser, palette: Palette, width: int) -> None:
        self.width = width
        self.palette = palette
        self.inline = Inline(parser.markdown, palette)
        self.characters = 0  # of code and of what is shown as it stands, laid out so far
        self._parser = parser
        self._cells: dict[tuple[str, str, Style, int], Spans] = {}

    def blocks(self, source: ParsedText, place: Place = (), found: Open | None = None) -> Lines:
        """Give the lines of all blocks, or without those of the open one, which is `found` instead.

        With a `place`, the first of them is the rest of a block, and of the items around it.
        """
        top = Margin(self.width, self.palette.style("paragraph"))
        return self._siblings(source, source.blocks, top, place, found)

    def block(self, source: ParsedText, leaf: Leaf) -> Lines:
        """Give the lines of a block that holds no others."""
        block, margin, part = leaf.block, leaf.margin, leaf.part
        match block.kind:
            case "paragraph":
                return self._paragraph(
                    source, block, margin, part if isinstance(part, Paragraph) else None
                )
            case "heading" if isinstance(part, Paragraph):
                return self._paragraph(source, block, margin, part)
            case "heading":
                style = margin.style + self.palette.style(block.token.tag)
                return self.set(
                    wrap(self.inline.spans(block.text, source.env(block.line), style), margin.room),
                    margin,
                )
            case "fence":
                return self._fence(block, margin, part if isinstance(part, Fence) else None)
            case "table":
                return self._table(source, block, margin, part if isinstance(part, Table) else None)
            case "hr":
                return self.set([[("─" * margin.room, self.palette.style("hr"))]], margin)
            case "blockquote" | "list_item":
                return self.set([[]], margin)
            case _:
                return self.raw(block, 1 if isinstance(part, RawBlock) else 0, None, margin)

    def set(self, lines: list[Spans], margin: Margin) -> Lines:
        """Put lines behind a margin."""
        margins = [margin.first, *[margin.rest] * (len(lines) - 1)]
        return [
            render_line([*before, *line], self.palette)
            for before, line in zip(margins, lines, strict=False)
        ]

    def raw(self, block: Block, first: int, end: int | None, margin: Margin) -> Lines:
        """Give lines of a block as they stand; indented code keeps its indentation, which is its mark."""
        style = self.palette.style("plain" if block.kind == "code_block" else "paragraph")
        indent = " " * _TAB if block.kind == "code_block" else ""
        lines = block.text.removesuffix("\n").split("\n")[first:end]
        self.characters += sum(map(len, lines))
        texts = [visible((indent + line).expandtabs(_TAB)) for line in lines]
        return self.set(
            [part for text in texts for part in wrap([(text, style)], margin.room)], margin
        )

    def code(
        self, block: Block, body: str, state: code.LexerState, margin: Margin
    ) -> tuple[list[Spans], code.LexerState]:
        """Give the lines of a part of a code block, and the state after it."""
        self.characters += len(body)
        lines, state = code.highlight(block.token.info, body, state, self.palette.style("plain"))
        if body.endswith("\n"):
            lines.pop()
        return [part for line in lines for part in wrap(line, margin.room)], state

    def fence_mark(self, block: Block, margin: Margin, *, opening: bool) -> list[Spans]:
        """Give the lines of the mark before or after code: copied, the answer is Markdown still."""
        text = block.token.markup + (visible(block.token.info) if opening else "")
        return wrap([(text, self.palette.style("fence"))], margin.room)

    def widths(self, source: ParsedText, table: Block, margin: Margin) -> tuple[int, ...]:
        """Give the widths of the columns of a table, as its rows so far want them."""
        return tables.column_widths(
            tables.rows_of(table), self._reader(source, table, margin), margin.room
        )

    def rows(
        self, source: ParsedText, table: Block, first: int, part: Table, margin: Margin
    ) -> Lines:
        """Give the lines of the rows of a table from the `first`; the very first is its head."""
        read = self._reader(source, table, margin)
        head, *_ = rows = tables.rows_of(table)
        widths = tables.fit_widths(part.widths, margin.room)
        lines: list[Spans] = []
        for row in rows[first:]:
            if widths:
                lines += self._row(row, widths, read, margin.room, is_fitted=first == 0)
                lines += [tables.rule(widths, self.palette)] if row is head else []
            elif row is not head:
                lines += tables.record_lines(row, head, read, margin.room, self.palette)
            elif len(rows) == 1:
                lines += tables.text_lines(head, read, margin.room, self.palette)
        return self.set(lines, margin)

    def _row(
        self, row: Block, widths: Sequence[int], read: tables.Read, room: int, *, is_fitted: bool
    ) -> Sequence[Spans]:
        """Give the lines of a row; as mere text if columns that were not made for it would break it to pieces."""
        lines = list(tables.row_lines(row, widths, read, self.palette))
        if is_fitted or len(lines) <= _CRAMPED:
            return lines
        text = list(tables.text_lines(row, read, room, self.palette))
        return text if len(lines) > _CRAMPED * len(text) else lines

    def row_as_text(self, source: ParsedText, leaf: Leaf) -> Lines:
        """Give the last row of a table without columns: what it grows by stands at its end."""
        read = self._reader(source, leaf.block, leaf.margin)
        row = tables.rows_of(leaf.block)[-1]
        return self.set(
            list(tables.text_lines(row, read, leaf.margin.room, self.palette)), leaf.margin
        )

    def _siblings(
        self,
        source: ParsedText,
        blocks: list[Block],
        margin: Margin,
        place: Place,
        found: Open | None,
    ) -> Lines:
        lines: Lines = []
        blocks = [block for block in blocks if (block.kind, block.text) != ("paragraph", DONE)]
        if found and len(blocks) > 1:
            found.is_alone = False
        for index, block in enumerate(blocks):
            if index:
                if self._is_apart(source, block, margin):
                    lines.append(render_line(margin.rest, self.palette))
                margin, place = margin.after, ()
            lines += self._one(source, block, margin, place, found if block is blocks[-1] else None)
        return lines

    def _is_apart(self, source: ParsedText, block: Block, margin: Margin) -> bool:
        """Whether a blank line stands before a block: at the top before each, within others as in the source."""
        is_top = not margin.rest and block.kind not in ("literal", "list_item")
        return is_top or source.is_blank(block.line - 1, is_quoted=margin.is_quoted)

    def _one(
        self, source: ParsedText, block: Block, margin: Margin, place: Place, found: Open | None
    ) -> Lines:
        if block.kind in ("bullet_list", "ordered_list"):
            return self._list(source, block, margin, place, found)
        before = place[0] if place else None
        if block.kind == "blockquote":
            item = Item(block, begun=isinstance(before, Item) and before.begun)
            return self._inside(
                source,
                item,
                margin.inside_quote(self.palette.style("block_quote")),
                place[1:],
                found,
            )
        leaf = Leaf(block, margin, None if isinstance(before, Item) else before)
        if found is None:
            return self.block(source, leaf)
        found.leaf = leaf
        return []

    def _list(
        self, source: ParsedText, block: Block, margin: Margin, place: Place, found: Open | None
    ) -> Lines:
        lines: Lines = []
        before = place[0] if place and isinstance(place[0], Item) else None
        number = before.number if before else int(block.token.attrs.get("start", 1))
        if found and len(block.children) > 1:
            found.is_alone = False
        for index, child in enumerate(block.children):
            if index:
                if self._is_apart(source, child, margin):
                    lines.append(render_line(margin.rest, self.palette))
                margin, place, before = margin.after, (), None
            item = Item(child, number + index, before is not None and before.begun)
            inside = self._item_margin(block, item, margin)
            lines += self._inside(
                source, item, inside, place[1:], found if child is block.children[-1] else None
            )
        return lines

    def _item_margin(self, block: Block, item: Item, margin: Margin) -> Margin:
        if block.kind == "bullet_list":
            inside = margin.inside(" • ", self.palette.style("item.bullet"))
        else:
            inside = margin.inside(f"{item.number:>3} ", self.palette.style("item.number"))
        return inside.after if item.begun else inside

    def _inside(
        self, source: ParsedText, item: Item, margin: Margin, place: Place, found: Open | None
    ) -> Lines:
        if found is not None:
            found.items.append(item)
        if item.block.children:
            lines = self._siblings(source, item.block.children, margin, place, found)
        elif found is None:
            lines = self.block(source, Leaf(item.block, margin))
        else:
            lines = []
            found.leaf = Leaf(item.block, margin)
        item.begun = item.begun or bool(lines)
        return lines

    def _paragraph(
        self, source: ParsedText, block: Block, margin: Margin, part: Paragraph | None
    ) -> Lines:
        if part is None:
            return self.set(
                wrap(
                    self.inline.spans(block.text, source.env(block.line), margin.style), margin.room
                ),
                margin,
            )
        spans = self.inline.spans(
            block.text.removeprefix(BEGUN), source.env(block.line), margin.style
        )
        lines = wrap([*part.last, *spans], margin.room)
        return part.lines + self.set(lines, margin.after if part.lines else margin)

    def _fence(self, block: Block, margin: Margin, part: Fence | None) -> Lines:
        lines = [] if part else self.fence_mark(block, margin, opening=True)
        body = block.text
        if body:
            lines += self.code(block, body, part.state if part else (), margin)[0]
        if block.end - block.line - 1 > len(body.removesuffix("\n").split("\n")) - (not body):
            lines += self.fence_mark(block, margin, opening=False)
        return self.set(lines, margin)

    def _table(self, source: ParsedText, block: Block, margin: Margin, part: Table | None) -> Lines:
        columns = part or Table(self.widths(source, block, margin))
        return self.rows(source, block, 1 if part else 0, columns, margin)

    def _reader(self, source: ParsedText, table: Block, margin: Margin) -> tables.Read:
        """Give what reads cells, each but once: while a table grows, all of them are asked for again and again."""
        env = source.env(table.line)

        def read(cell: Block) -> Spans:
            key = (cell.text, cell.kind, margin.style, len(self._parser.references))
            spans = self._cells.get(key)
            if spans is None:
                style = (
                    margin.style + self.palette.style("table.header")
                    if cell.kind == "th"
                    else margin.style
                )
                spans = self._cells[key] = self.inline.spans(cell.text, env, style)
            return spans

        return read
