"""The part of an answer that is not finished: text goes in as it comes, lines come out as they are final.

What is final leaves, so that the text to be read again stays short however long the answer is. What stands before the
open block within the same list item is replaced by `DONE`, the begin of a long paragraph by `BEGUN`, finished lines of
code, HTML and tables are cut out: what is left is Markdown still, and is read as the whole would be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest

from reka_cli.render.markdown import code, tables
from reka_cli.render.markdown.blocks import Block, ParsedText, Parser
from reka_cli.render.markdown.layout import (
    BEGUN,
    DONE,
    Fence,
    Item,
    Layout,
    Leaf,
    Lines,
    Open,
    Paragraph,
    Place,
    RawBlock,
    Table,
)
from reka_cli.render.markdown.lines import wrap
from reka_cli.render.markdown.style import Palette

_LONG = 160  # characters of a paragraph that are read again with each frame
_KEPT = 24  # of them, so many stay, for the last words are the likeliest to change
_LONGEST = 8000  # characters that may wait for the end of a link or of what is bold
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_]|[.,;:!?)])(?=[ \n][^\W\d_])")
_TIGHT_QUOTE = re.compile(r">(?=[^ \t>])")  # the blank after > belongs to it
_NO_MARK = re.compile(r"[^>\t]")
_ENTITY = re.compile(r"&#?\w*\Z")
# what a line begins with may be a heading's underline, a rule or a list's mark: it is no text yet
_MARK_ONLY = re.compile(r"(?<=\n)[ \t>]*(?:-+|=+|[*+])[ \t]*\Z")


class Draft:
    """Takes an answer and gives its lines; `tallest` is how many of them can be changed once they are shown."""

    def __init__(self, palette: Palette, width: int, tallest: int) -> None:
        self.tallest = tallest
        self._parser = Parser()
        self._layout = Layout(self._parser, palette, width)
        self._text = ""
        self._place: Place = ()
        self._has_new_lines = False
        self._wait_for = _LONG  # characters of the open paragraph before it is looked at
        self._look_again_at = 0  # characters of the text, after it gave no line away

    @property
    def text(self) -> str:
        """What of the answer is not finished, as far as it is its own text."""
        return self._text.translate({ord(DONE): None, ord(BEGUN): None})

    @property
    def characters(self) -> int:
        """How many characters were read to get here, each time anew."""
        return self._parser.characters + self._layout.inline.characters + self._layout.characters

    def feed(self, text: str) -> None:
        """Take new text, without control characters."""
        self._text += text
        self._has_new_lines = self._has_new_lines or "\n" in text

    def resize(self, width: int, tallest: int) -> None:
        self.tallest = tallest
        if width != self._layout.width:
            self._layout.width = width
            self._look_again_at = 0
            self._undo()

    def take_finished(self) -> Lines:
        """Give the lines that became final with the last complete line of the text."""
        finished: Lines = []
        if self._has_new_lines and len(self._text) >= self._look_again_at:
            self._has_new_lines = False
            self._settle(finished)
            if len(self._text) > _LONGEST // 4:
                self._open_block(finished)
            # a long block that gives no line away is not read again with each of its lines: the
            # cost per character would grow with its length
            is_stuck = not finished and len(self._text) > _LONGEST // 4
            self._look_again_at = len(self._text) * 5 // 4 if is_stuck else 0
        return finished

    def open(self, finished: Lines) -> Lines:
        """Give the lines that may still change; those that would leave the screen are added to the finished ones."""
        lines = self._open_lines(finished)
        if len(lines) > self.tallest:
            self._settle(finished, is_tall=True)
            lines = self._open_lines(finished, is_tall=True)
        return lines

    def end(self) -> Lines:
        """Give all lines that are left, now that nothing more comes."""
        finished: Lines = []
        source = self._read(self._text, finished)
        finished += self._layout.blocks(source, self._place)
        while finished and not finished[-1]:
            finished.pop()
        self._text, self._place = "", ()
        return finished

    def _open_lines(self, finished: Lines, *, is_tall: bool = False) -> Lines:
        lines, source, leaf = self._open_block(finished, is_tall=is_tall)
        if leaf is None:
            return lines
        own = self._layout.block(source, leaf)
        if (
            is_tall
            and len(own) > self.tallest
            and isinstance(leaf.part, Table)
            and leaf.part.widths
        ):
            own = self._layout.row_as_text(source, leaf)
        return lines + own

    def _open_block(
        self, finished: Lines, *, is_tall: bool = False
    ) -> tuple[Lines, ParsedText, Leaf | None]:
        """Give the open block, what it was read from, and the lines before it that are not final."""
        source = self._read(_MARK_ONLY.sub("", self._text), finished)
        found = Open()
        lines = self._layout.blocks(source, self._place, found)
        leaf = found.leaf
        if leaf and leaf.block.kind == "paragraph" and found.is_alone:
            self._begin(source, found.items, leaf, is_tall=is_tall)
            if is_tall:
                finished += self._freeze(found.items, leaf)
        return lines, source, leaf

    def _settle(self, finished: Lines, *, is_tall: bool = False) -> None:
        """Take out what is final; decide by complete lines only, for half a line may still become anything."""
        source = self._read(self._text[: self._text.rfind("\n") + 1], finished)
        rest = self._text[len(source.text) :]
        found = Open()
        finished += self._layout.blocks(source, self._place, found)
        leaf = found.leaf
        if leaf is None:
            self._text = self._text if source.blocks else rest
            return
        self._parser.keep_references(source, leaf.block.line)
        if leaf.part is None:
            self._wait_for = _LONG
        lines, cut = self._shorten(source, leaf, is_tall=is_tall)
        finished += lines
        if lines:
            _begin(found.items)
        line = leaf.block.line
        self._text = (
            _context(source, found.items, line)
            + source.lines(line, cut[0])
            + source.lines(cut[1])
            + rest
        )
        self._place = (*found.items, leaf.part) if leaf.part else tuple(found.items)

    def _read(self, text: str, finished: Lines) -> ParsedText:
        """Read a part of the text; where a paragraph turned out to be something else, take back what was made of it."""
        source = self._parser.read(text)
        if BEGUN not in text or self._goes_on(source.blocks):
            return source
        return self._parser.read(text.replace(BEGUN, self._undo() or self._release(finished), 1))

    def _goes_on(self, blocks: list[Block]) -> bool:
        """Whether the paragraph that was begun is one still; on the screen for good, it may be a heading as well."""
        part = self._place[-1]
        is_frozen = isinstance(part, Paragraph) and part.source is None
        kinds = ("paragraph", "heading") if is_frozen else ("paragraph",)
        while blocks:
            first = next(
                (block for block in blocks if (block.kind, block.text) != ("paragraph", DONE)),
                blocks[0],
            )
            if first.kind in kinds:
                return first.text.startswith(BEGUN)
            blocks = [] if first.kind == "table" else first.children
        return False

    def _undo(self) -> str | None:
        """Take the begin of the open paragraph back; None if it is on the screen for good."""
        part = self._place[-1] if self._place else None
        if not isinstance(part, Paragraph) or part.source is None:
            return None
        self._text = self._text.replace(BEGUN, part.source, 1)
        self._place = self._place[:-1]
        return part.source

    def _release(self, finished: Lines) -> str:
        """End the paragraph whose begin is on the screen for good; what follows is something else."""
        part = self._place[-1]
        if isinstance(part, Paragraph):
            finished += self._layout.set(wrap(part.last, part.margin.room), part.margin)
        self._text = self._text.replace(BEGUN, "", 1)
        self._place = self._place[:-1]
        return ""

    def _begin(self, source: ParsedText, items: list[Item], leaf: Leaf, *, is_tall: bool) -> None:
        """Lay out the begin of the open paragraph, as far as nothing that follows can change it."""
        block, margin = leaf.block, leaf.margin
        part = leaf.part if isinstance(leaf.part, Paragraph) else Paragraph("", [], [], margin)
        offset = len(BEGUN) if leaf.part else 0
        if len(block.text) < self._wait_for and not is_tall:
            return
        for cut in _cuts(block.text, offset):
            place = _place(source, block, cut)
            spans, is_settled = self._layout.inline.settled_spans(
                block.text[offset:cut], source.env(block.line), margin.style
            )
            if place and (is_settled or is_tall or len(block.text) > _LONGEST):
                break
        else:
            self._wait_for = len(block.text) + _LONG // 2
            return
        self._wait_for = _LONG
        *lines, last = wrap([*part.last, *spans], margin.room)
        laid_out = self._layout.set(lines, margin.after if part.lines else margin)
        taken = (
            None if part.source is None else part.source + source.text[block.begin + offset : place]
        )
        leaf.part = Paragraph(taken, part.lines + laid_out, last, margin.after)
        block.text = BEGUN + block.text[cut:]
        self._text = self._text[: block.begin] + BEGUN + self._text[place:]
        self._place = (*items, leaf.part)

    def _freeze(self, items: list[Item], leaf: Leaf) -> Lines:
        """Put the begin of the open paragraph on the screen for good, and give its lines."""
        part = leaf.part
        if not isinstance(part, Paragraph) or not part.lines:
            return []
        leaf.part = Paragraph(None, [], part.last, part.margin)
        leaf.margin = part.margin
        self._place = (*_begin(items), leaf.part)
        return part.lines

    def _shorten(
        self, source: ParsedText, leaf: Leaf, *, is_tall: bool
    ) -> tuple[Lines, tuple[int, int]]:
        """Give the lines of the open block that are final, and which lines of the source they are: first and end."""
        line = leaf.block.line
        match leaf.block.kind:
            case "fence":
                lines, count = self._code(leaf, is_tall=is_tall)
                return lines, (line + 1, line + 1 + count)
            case "html_block" | "code_block":
                return self._raw(leaf), (line + 1, max(line + 1, leaf.block.end - 1))
            case "table":
                lines, end = self._rows(source, leaf, is_tall=is_tall)
                return lines, (line + 2, end)
            case _:
                return [], (line, line)

    def _code(self, leaf: Leaf, *, is_tall: bool) -> tuple[Lines, int]:
        """Take the complete lines of code; blank ones at the end and what may be half a comment wait, if they can."""
        block, margin = leaf.block, leaf.margin
        state = leaf.part.state if isinstance(leaf.part, Fence) else ()
        body, count = block.text, block.text.count("\n")
        if (
            block.end - block.line - 1 == count <= self.tallest and not is_tall
        ):  # it is not closed yet
            written = len(body.rstrip())
            body = body[: body.find("\n", written) + 1] if written else ""
            body = body if code.is_whole(block.token.info, body, state) else ""
        if not body:
            return [], 0
        lines = [] if leaf.part else self._layout.fence_mark(block, margin, opening=True)
        laid_out, state = self._layout.code(block, body, state, margin)
        leaf.part = Fence(state)
        return self._layout.set(lines + laid_out, margin), body.count("\n")

    def _raw(self, leaf: Leaf) -> Lines:
        """Take all lines of what is shown as it stands but the last."""
        first, last = int(leaf.part is not None), leaf.block.end - leaf.block.line - 1
        if last <= first:
            return []
        leaf.part = RawBlock()
        return self._layout.raw(leaf.block, first, last, leaf.margin)

    def _rows(self, source: ParsedText, leaf: Leaf, *, is_tall: bool) -> tuple[Lines, int]:
        """Take the rows of a table that is taller than the screen: its columns stay as they are."""
        block, margin = leaf.block, leaf.margin
        part = leaf.part if isinstance(leaf.part, Table) else None
        first, count = 1 if part else 0, len(tables.rows_of(block))
        if not part and (is_tall or count > self.tallest):
            widths = self._layout.widths(source, block, margin)
            if count > 1 or widths:  # without any, it is a list of cells, which only gets longer
                part = leaf.part = Table(widths if count > 1 else ())
        if part is None:
            return [], block.line + 2
        return self._layout.rows(
            source, block, first, part, margin
        ) if count > first else [], block.end


def _begin(items: list[Item]) -> list[Item]:
    for item in items:
        item.begun = True
    return items


def _context(source: ParsedText, items: list[Item], line: int) -> str:
    """Give the source that the block at a line stands in, without what is finished."""
    context = ""
    marked = [item for item in items if item.block.kind == "list_item"]
    for item, inner in zip_longest(marked, marked[1:]):
        first = item.block.line
        if not item.begun:
            return context + source.lines(first, line)
        if first == line or (inner and inner.block.line == first):
            continue
        mark = _mark(source, item.block)
        blank = _NO_MARK.sub(" ", _TIGHT_QUOTE.sub("> ", mark)).rstrip()
        context += f"{mark}{DONE}\n{blank}\n"
    return context


def _mark(source: ParsedText, item: Block) -> str:
    """Give what stands before the text of a list item, the marks of what it stands in included."""
    first = item.children[0]
    if first.line == item.line and first.kind != "code_block":
        return source.text[source.start(item.line) : first.begin]
    line = (
        source.line(item.line)
        if first.line > item.line
        else source.text[source.start(item.line) : first.begin]
    )
    return line.rstrip() + " "


def _cuts(text: str, offset: int) -> Iterator[int]:
    """Where the source of a paragraph may be cut in two, the most promising place first."""
    if text.startswith("[") and len(text) < _LONGEST:
        return  # it may be a definition yet
    limit = len(text) - _KEPT
    words = [found.end() for found in _BETWEEN_WORDS.finditer(text, offset + 1, max(limit, 0))]
    within = [
        place
        for place in range(limit, limit - _KEPT, -1)
        if place > offset and _is_within_word(text, place)
    ][:1]
    if words and words[-1] > (offset + limit) // 2:
        within = []
    yield from within + words[-1:] + words[len(words) // 2 :][:1]


def _is_within_word(text: str, place: int) -> bool:
    return (
        text[place - 1].isalnum()
        and text[place].isalnum()
        and not _ENTITY.search(text, max(0, place - 40), place)
    )


def _place(source: ParsedText, block: Block, cut: int) -> int | None:
    """Where in the source a place in the text of a paragraph is; None if it cannot be told."""
    number = block.text.count("\n", 0, cut)
    lines = block.text.split("\n")
    rest = lines[number][cut - sum(len(line) + 1 for line in lines[:number]) :]
    line = source.line(block.line + number)
    line = line.rstrip() if number == len(lines) - 1 else line
    return (
        source.start(block.line + number) + len(line) - len(rest) if line.endswith(rest) else None
    )
