"""A page of help for a terminal, with Rich's layout and colors."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from reka_cli.help.page import Entry, Page, Section
from reka_cli.help.wrapping import (
    entry_text,
    is_stacked,
    term_column,
    wrapped,
    wrapped_command,
    wrapped_usage,
)

_TITLE = "bold"
_TERM = "bold cyan"
_VALUE = "yellow"
_NOTE = "dim"
_BORDER = "dim"
_BORDER_COLUMNS = 4  # of a panel: a line and a space on both sides


def render(page: Page, width: int) -> str:
    """Return a page for a terminal of `width` columns, with colors if it has them."""
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        for block in _blocks(page, width):
            console.print(block, soft_wrap=isinstance(block, Text))
    return capture.get()


def _blocks(page: Page, width: int) -> Iterator[Text | Panel]:
    yield Text(f"{wrapped(page.summary, width)}\n", style=_TITLE)
    if page.usage:
        yield Text(f"{wrapped_usage(page.usage, width)}\n")
    if page.examples:
        yield Text("Examples:", style=_TITLE)
        yield Text("\n".join(wrapped_command(one, width) for one in page.examples) + "\n")
    for paragraph in page.paragraphs:
        yield Text(f"{wrapped(paragraph, width)}\n")
    column = term_column(page, width)
    for section in page.sections:
        yield _panel(section, width, None if is_stacked(section, width) else column)


def _panel(section: Section, width: int, column: int | None) -> Panel:
    entries = [_entry(one, width - _BORDER_COLUMNS, column) for one in section.entries]
    body = Text("\n").join(entries)
    return Panel(body, title=section.title, title_align="left", border_style=_BORDER)


def _entry(entry: Entry, width: int, column: int | None) -> Text:
    text = Text(entry_text(entry, width, column))
    text.stylize(_TERM, 0, len(entry.term))
    value = entry.term.rpartition(" ")[2]
    if entry.term.startswith("-") and not value.startswith("-"):
        text.stylize(_VALUE, len(entry.term) - len(value), len(entry.term))
    if entry.note:
        text.stylize(_NOTE, text.plain.rindex(entry.note))
    return text
