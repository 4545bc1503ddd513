"""A page of help as plain text, for a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from reka_cli.help.page import Page
from reka_cli.help.wrapping import (
    INDENT,
    entry_text,
    is_stacked,
    term_column,
    wrapped,
    wrapped_command,
    wrapped_usage,
)


def render(page: Page, width: int) -> str:
    """Return a page in lines of at most `width` columns; a word that is longer is not broken."""
    return "\n\n".join(_blocks(page, width)) + "\n"


def _blocks(page: Page, width: int) -> Iterator[str]:
    yield wrapped(page.summary, width)
    if page.usage:
        yield wrapped_usage(page.usage, width)
    if page.examples:
        commands = [wrapped_command(one, width) for one in page.examples]
        yield "\n".join(["Examples:", *commands])
    for paragraph in page.paragraphs:
        yield wrapped(paragraph, width)
    column = term_column(page, width)
    for section in page.sections:
        beside = None if is_stacked(section, width) else column
        entries = [entry_text(entry, width, beside, INDENT) for entry in section.entries]
        yield "\n".join([f"{section.title}:", *entries])
