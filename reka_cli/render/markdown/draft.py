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
from reka_cli.render.markdown.blocks import Block, Parser, Source
from reka_cli.render.markdown.layout import (
    BEGUN,
    DONE,
    Fence,
    Item,
    Layout,
    Lines,
    Open,
    Paragraph,
    Part,
    Place,
    Raw,
    Table,
)
from reka_cli.render.markdown.lines import Margin, wrapped
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

    @property
    def text(self) -> str:
        """What of the answer is not finished, as far as it is its own text."""
        return self._text.translate({ord(DONE): None, ord(BEGUN): None})

    @property
    def size(self) -> int:
        """How many characters are not finished."""
        return len(self._text)

    @property
    def characters(self) -> int:
        """How many characters were read to get here, each time anew."""
        return self._parser.characters + self._layout.inline.characters

    def feed(self, text: str) -> None:
        """Take new text, without control characters."""
        self._text += text
        self._has_new_lines = self._has_new_lines or "\n" in text

    def resize(self, width: int, tallest: int) -> None:
        self.tallest = tallest
        if width != self._layout.width:
            self._layout.width = width
            self._undo()

    def finished(self) -> Lines:
        """Give the lines that became final with the last complete line of the text."""
        finished: Lines = []
        if self._has_new_lines:
            self._has_new_lines = False
            self._settle(finished)
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
        self._text, self._place = "", ()
        return finished

    def _open_lines(self, finished: Lines, *, is_tall: bool = False) -> Lines:
        source = self._read(_MARK_ONLY.sub("", self._text), finished)
        found = Open()
        lines = self._layout.blocks(source, self._place, found)
        if found.block is None or found.margin is None:
            return lines
        if found.block.kind == "paragraph" and found.is_alone:
            self._begin(source, found, force=is_tall)
            if is_tall:
                self._freeze(found, finished)
        return lines + self._layout.block(source, found.block, found.margin, found.part)

    def _settle(self, finished: Lines, *, is_tall: bool = False) -> None:
        """Take out what is final; decide by complete lines only, for half a line may still become anything."""
        source = self._read(self._text[: self._text.rfind("\n") + 1], finished)
        rest = self._text[len(source.text) :]
        found = Open()
        lines = self._layout.blocks(source, self._place, found)
        finished += lines
        if found.block is None:
            self._text = self._text if source.blocks else rest
            return
        self._parser.keep_references(source, found.block.line)
        part, text = self._shortened(source, found, finished, is_tall=is_tall)
        if found.part is None:
            self._wait_for = _LONG
        self._text = _context(source, found) + text + rest
        self._place = (*found.items, part) if part else tuple(found.items)

    def _read(self, text: str, finished: Lines) -> Source:
        """Read a part of the text; where a paragraph turned out to be something else, take back what was made of it."""
        source = self._parser.read(text)
        if BEGUN not in text or _begins_with_paragraph(source.blocks):
            return source
        return self._parser.read(text.replace(BEGUN, self._undo() or self._release(finished), 1))

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
        assert isinstance(part, Paragraph)
        finished += self._layout.set(wrapped(part.last, part.margin.room), part.margin)
        self._text = self._text.replace(BEGUN, "", 1)
        self._place = self._place[:-1]
        return ""

    def _begin(self, source: Source, found: Open, *, force: bool) -> None:
        """Lay out the begin of the open paragraph, as far as nothing that follows can change it."""
        block, margin, part = found.block, found.margin, found.part
        assert block
        assert margin
        assert part is None or isinstance(part, Paragraph)
        offset = len(BEGUN) if part else 0
        if len(block.text) < self._wait_for and not force:
            return
        for cut in _cuts(block.text, offset):
            place = _place(source, block, cut)
            spans, is_settled = self._layout.inline.settled_spans(block.text[offset:cut], source.env, margin.style)
            if place and (is_settled or force or len(block.text) > _LONGEST):
                break
        else:
            self._wait_for = len(block.text) + _LONG // 2
            return
        self._wait_for = _LONG
        *lines, last = wrapped([*(part.last if part else []), *spans], margin.room)
        before = part.lines if part else []
        begun = before + self._layout.set(lines, margin.after if before else margin)
        taken = (
            None
            if part and part.source is None
            else (part.source or "" if part else "") + source.text[block.begin + offset : place]
        )
        self._text = self._text[: block.begin] + BEGUN + self._text[place:]
        block.text = BEGUN + block.text[cut:]
        found.part = Paragraph(taken, begun, last, margin.after)
        self._place = (*found.items, found.part)

    def _freeze(self, found: Open, finished: Lines) -> None:
        """Put the begin of the open paragraph on the screen for good."""
        part = found.part
        if isinstance(part, Paragraph) and part.lines:
            finished += part.lines
            found.part = Paragraph(None, [], part.last, part.margin)
            found.margin = part.margin
            self._place = (*_begun(found.items), found.part)

    def _shortened(self, source: Source, found: Open, finished: Lines, *, is_tall: bool) -> tuple[Part | None, str]:
        """Take finished lines out of the open block; give what was made of it, and what is left of its source."""
        block, margin = found.block, found.margin
        assert block
        assert margin
        before = len(finished)
        part, first, end = found.part, 0, 0
        match block.kind:
            case "fence":
                part, end = self._code(block, margin, found.part, finished, is_tall=is_tall)
                first = 1
            case "html_block" | "code_block":
                part, end = self._raw(block, margin, found.part, finished)
                first = 1
            case "table":
                part, end = self._rows(source, found, finished, is_tall=is_tall)
                first = 2
        if len(finished) > before:
            _begun(found.items)
        line = block.line
        text = source.text[source.start(line) : source.start(line + first)]
        return part, text + source.text[source.start(line + max(first, end)) :]

    def _code(
        self, block: Block, margin: Margin, part: Part | None, finished: Lines, *, is_tall: bool
    ) -> tuple[Part | None, int]:
        """Take out the complete lines of code; blank ones at the end and half a comment wait, if they can."""
        state = part.state if isinstance(part, Fence) else ()
        body, count = block.text, block.text.count("\n")
        if block.end - block.line - 1 == count <= self.tallest and not is_tall:  # it is not closed yet
            written = len(body.rstrip())
            body = body[: body.find("\n", written) + 1] if written else ""
            if not code.is_whole(block.token.info, body, state):
                return part, 1
        if not body:
            return part, 1
        lines = [] if part else self._layout.fence_mark(block, margin, opening=True)
        laid_out, state = self._layout.code(block, body, state, margin)
        finished += self._layout.set(lines + laid_out, margin)
        return Fence(state), 1 + body.count("\n")

    def _raw(self, block: Block, margin: Margin, part: Part | None, finished: Lines) -> tuple[Part | None, int]:
        """Take out all lines of what is shown as it stands but the last."""
        first, last = int(part is not None), block.end - block.line - 1
        if last <= first:
            return part, 1
        finished += self._layout.raw(block, first, last, margin)
        return Raw(), last

    def _rows(self, source: Source, found: Open, finished: Lines, *, is_tall: bool) -> tuple[Part | None, int]:
        """Take out the rows of a table but the last, if it is taller than the screen: its columns stay as they are."""
        block, margin, part = found.block, found.margin, found.part
        assert block
        assert margin
        rows = tables.rows_of(block)
        if len(rows) < 3 or not (isinstance(part, Table) or is_tall or len(rows) > self.tallest):
            return part, 2
        columns = part if isinstance(part, Table) and part.width == margin.width else None
        columns = columns or Table(self._layout.widths(source, block, margin), margin.width)
        finished += self._layout.rows(source, block, 1 if part else 0, len(rows) - 1, columns, margin)
        return columns, rows[-1].line - block.line


def _begins_with_paragraph(blocks: list[Block]) -> bool:
    while blocks:
        first = next((block for block in blocks if (block.kind, block.text) != ("paragraph", DONE)), None)
        if first is None or not first.children or first.kind == "table":
            return first is not None and first.kind == "paragraph" and first.text.startswith(BEGUN)
        blocks = first.children
    return False


def _begun(items: list[Item]) -> list[Item]:
    for item in items:
        item.begun = True
    return items


def _context(source: Source, found: Open) -> str:
    """Give the source that the open block stands in, without what is finished."""
    assert found.block
    context = ""
    items = [item for item in found.items if item.block.kind == "list_item"]
    for item, inner in zip_longest(items, items[1:]):
        line = item.block.line
        if not item.begun:
            return context + source.text[source.start(line) : source.start(found.block.line)]
        if line == found.block.line or (inner and inner.block.line == line):
            continue
        mark = _mark(source, item.block)
        blank = _NO_MARK.sub(" ", _TIGHT_QUOTE.sub("> ", mark)).rstrip()
        context += f"{mark}{DONE}\n{blank}\n"
    return context


def _mark(source: Source, item: Block) -> str:
    """Give what stands before the text of a list item, the marks of what it stands in included."""
    first = item.children[0]
    if first.line == item.line and first.kind != "code_block":
        return source.text[source.start(item.line) : first.begin]
    line = source.line(item.line) if first.line > item.line else source.text[source.start(item.line) : first.begin]
    return line.rstrip() + " "


def _cuts(text: str, offset: int) -> Iterator[int]:
    """Where the source of a paragraph may be cut in two, the most promising place first."""
    if text.startswith("["):
        return  # it may be a definition yet
    limit = len(text) - _KEPT
    words = [found.end() for found in _BETWEEN_WORDS.finditer(text, offset + 1, max(limit, 0))]
    within = [place for place in range(limit, limit - _KEPT, -1) if place > offset and _is_within_word(text, place)][:1]
    if words and words[-1] > (offset + limit) // 2:
        within = []
    yield from within + words[-1:] + words[len(words) // 2 :][:1]


def _is_within_word(text: str, place: int) -> bool:
    return text[place - 1].isalnum() and text[place].isalnum() and not _ENTITY.search(text, max(0, place - 40), place)


def _place(source: Source, block: Block, cut: int) -> int | None:
    """Where in the source a place in the text of a paragraph is; None if it cannot be told."""
    number = block.text.count("\n", 0, cut)
    lines = block.text.split("\n")
    rest = lines[number][cut - sum(len(line) + 1 for line in lines[:number]) :]
    line = source.line(block.line + number)
    line = line.rstrip() if number == len(lines) - 1 else line
    return source.start(block.line + number) + len(line) - len(rest) if line.endswith(rest) else None
