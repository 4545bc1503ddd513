"""Styled text to lines of a terminal: how wide it is, where it breaks, which bytes show it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from rich.cells import get_character_cell_size
from rich.style import Style

from reka_cli.render.markdown.inline import Span
from reka_cli.render.markdown.style import PLAIN, RESET, Palette

Spans = list[Span]

# Han, kana, hangul and full-width forms may be broken between any two, but not before what closes
_WIDE = "\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\U00020000-\U0003fffd"
_CLOSING = "\u3001\u3002\u300d\u300f\u3011\u30fb\u30fc\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f"
_WORD = re.compile(rf"(?:[{_WIDE}][{_CLOSING}]*|[^\s{_WIDE}]+)\s*|\s+")
_EMOJI_STYLE = "\ufe0f"
_WIDE_ALONE = frozenset(
    map(chr, (*range(0x1F1E6, 0x1F200), *range(0x1F3FB, 0x1F400)))
)  # halves of flags, skin colors


@lru_cache(4096)
def cells(text: str) -> int:
    """Give the most columns any terminal takes for a text.

    They disagree on emoji that are joined or styled; what is thought too wide is broken early, what is thought too
    narrow would break by itself and put everything below out of place.
    """
    if text.isascii():
        return len(text)
    width = last = 0
    for character in text:
        if character == _EMOJI_STYLE:
            width += last == 1
        else:
            last = 2 if character in _WIDE_ALONE else get_character_cell_size(character)
            width += last
    return width


def wrap(spans: Spans, width: int) -> list[Spans]:
    """Break styled text into lines of at most `width` columns, each as early as the text before it allows.

    The lines but the last stay as they are when the text goes on after a space or within a word.
    """
    text = "".join(part for part, _ in spans)
    lines: list[Spans] = []
    for first, last in _pieces(text):
        begins = [first, *_breaks(text[first:last], first, width)]
        lines += _cut(spans, begins, last)
    return lines


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    while (end := text.find("\n", begin)) >= 0:
        yield begin, end
        begin = end + 1
    yield begin, len(text)


def _breaks(text: str, offset: int, width: int) -> Iterator[int]:
    if cells(text.rstrip()) <= width:
        return
    column = 0
    for word in _WORD.finditer(text):
        bare = word[0].rstrip()
        size = cells(bare)
        if column and column + size > width:
            yield offset + word.start()
            column = 0
        if size > width:
            chops = list(_chops(bare, width))
            yield from (offset + word.start() + place for place in chops)
            size = cells(bare[chops[-1] :] if chops else bare)
        column += size + len(word[0]) - len(bare)


def _chops(word: str, width: int) -> Iterator[int]:
    """Where a word that is wider than a line is cut."""
    column = 0
    for place, character in enumerate(word):
        size = cells(character)
        if column and size and column + size > width:
            yield place
            column = 0
        column += size


def _cut(spans: Spans, begins: list[int], end: int) -> list[Spans]:
    lines: list[Spans] = []
    edges = [*begins[1:], end]
    place = index = 0
    while index < len(spans) and place + len(spans[index][0]) <= begins[0]:
        place += len(spans[index][0])
        index += 1
    for begin, edge in zip(begins, edges, strict=True):
        line: Spans = []
        while index < len(spans) and place < edge:
            part, style = spans[index]
            line.append((part[max(0, begin - place) : edge - place], style))
            if place + len(part) > edge:
                break
            place += len(part)
            index += 1
        lines.append(line)
    return lines


def render_line(spans: Iterable[Span], palette: Palette) -> str:
    """Give the text that shows a line: it begins and ends without a style, and has no blanks at its end."""
    out: list[str] = []
    current = ""
    for text, style in strip_end(spans):
        sequence = palette.sequence(style)
        if sequence != current:
            out.append((RESET if current else "") + sequence)
            current = sequence
        out.append(text)
    if current:
        out.append(RESET)
    return "".join(out)


def strip_end(spans: Iterable[Span]) -> Spans:
    """Take the blanks at the end of a line away."""
    spans = list(spans)
    while spans:
        text, style = spans.pop()
        if text := text.rstrip(" "):
            return [*spans, (text, style)]
    return spans


@dataclass(frozen=True)
class Margin:
    """What stands left of a block: before its `first` line, and before the `rest`; `style` is that of its text."""

    width: int  # columns of the terminal
    style: Style
    first: tuple[Span, ...] = ()
    rest: tuple[Span, ...] = ()
    is_quoted: bool = False

    @property
    def room(self) -> int:
        """Columns that are left for the block."""
        return max(1, self.width - _size(self.rest))

    @property
    def after(self) -> Margin:
        """The margin of what follows within the same block."""
        return replace(self, first=self.rest)

    def inside(self, mark: str, style: Style) -> Margin:
        """Go into an item of a list, behind its mark."""
        return self._deeper((mark, style), (" " * cells(mark), PLAIN))

    def inside_quote(self, style: Style) -> Margin:
        """Go into a quotation."""
        return replace(self._deeper(("▌ ", style), ("▌ ", style)), style=style, is_quoted=True)

    def _deeper(self, first: Span, rest: Span) -> Margin:
        half = self.width // 2  # at least so much stays for the text
        return replace(
            self, first=_fit((*self.first, first), half), rest=_fit((*self.rest, rest), half)
        )


def _fit(spans: tuple[Span, ...], room: int) -> tuple[Span, ...]:
    while len(spans) > 1 and _size(spans) > room:
        spans = spans[1:]
    return spans


def _size(spans: tuple[Span, ...]) -> int:
    return sum(cells(text) for text, _ in spans)
