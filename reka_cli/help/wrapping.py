"""Line breaks of help: between words, and in a command so that it can still be pasted."""

from __future__ import annotations

import re
import textwrap

from reka_cli.help.page import Entry, Page, Section

INDENT = "  "

_NARROW = 60  # columns: below, a meaning has no space beside its term
_WIDEST_TERM = 0.45  # of a line
_GAP = "  "  # between a term and its meaning
_NO_BREAK = "\xa0"
_WORDS = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""")  # of a shell command, with their quotes
_CONTINUED = " \\"
_USAGE = "Usage: "


def is_stacked(section: Section, width: int) -> bool:
    """Return whether meanings stand below their terms, because there is no space beside them."""
    return width < _NARROW or _widest(section) > width * _WIDEST_TERM


def term_column(page: Page, width: int) -> int:
    """Return how wide the column of terms is in the sections that have one."""
    sections = [one for one in page.sections if not is_stacked(one, width)]
    return max((_widest(one) for one in sections), default=0)


def entry_text(entry: Entry, width: int, column: int | None, indent: str = "") -> str:
    """Return a term with its meaning beside it, behind `column` columns, or below it for None."""
    meaning = f"{entry.meaning} {entry.note.replace(' ', _NO_BREAK)}".rstrip()
    if column is None:
        below = indent + INDENT
        return f"{indent}{entry.term}\n{wrapped(meaning, width, below, below)}"
    before = f"{indent}{entry.term:{column}}{_GAP}"
    return wrapped(meaning, width, before, " " * len(before)).rstrip()


def wrapped_usage(usage: str, width: int) -> str:
    return wrapped(usage, width, _USAGE, " " * len(_USAGE))


def wrapped(text: str, width: int, before: str = "", after: str = "") -> str:
    """Break a text between words; its first line begins with `before`, the others with `after`.

    At a no-break space (U+00A0) it is not broken. It becomes a space.
    """
    filled = textwrap.fill(
        text,
        width,
        initial_indent=before,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_NO_BREAK, " ")


def wrapped_command(command: str, width: int) -> str:
    """Break a shell command with backslashes, never inside quotes, and indent it."""
    first, *words = _WORDS.findall(command)
    lines = [INDENT + first]
    for word in words:
        if len(lines[-1]) + 1 + len(word) + len(_CONTINUED) > width:
            lines[-1] += _CONTINUED
            lines.append(INDENT * 2 + word)
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


def _widest(section: Section) -> int:
    return max((len(entry.term) for entry in section.entries), default=0)
