"""Texts with `{column}` in them, filled in from a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from reka_cli.errors import UsageError
from reka_cli.escapes import one_line

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template:
    """A text that is parsed once and filled in for each row; `what` names it in errors.

    `{{` and `}}` are literal braces. A value is filled in as it is and never expanded again.
    """

    def __init__(self, text: str, what: str) -> None:
        self._what = what
        self._parts: list[tuple[str, str | None]] = []  # a literal, and the column that follows it
        literal = ""
        at = 0
        for found in _PARTS.finditer(text):
            literal += text[at : found.start()]
            at = found.end()
            if found[0] in ("{{", "}}"):
                literal += found[0][0]
            elif found[1]:
                self._parts.append((literal, found[1]))
                literal = ""
            else:
                raise UsageError(
                    f"there is a single {found[0][0]!r} in {what}",
                    hint="{column} is a column, {{ and }} are braces",
                )
        self._parts.append((literal + text[at:], None))

    @property
    def columns(self) -> list[str]:
        return [column for _, column in self._parts if column is not None]

    def check(self, known: Collection[str]) -> None:
        """Raise UsageError if a column is not among those that the input has."""
        for column in self.columns:
            if column not in known:
                names = ", ".join(f"{{{one_line(one, 40)}}}" for one in list(known)[:20])
                raise UsageError(
                    f"there is no column {one_line(column, 40)!r} for {self._what}",
                    hint=f"the columns are {names}; {{{{ and }}}} are braces",
                )

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with the values of one row. Raises KeyError for a column it lacks."""
        return "".join(
            literal if column is None else literal + values[column]
            for literal, column in self._parts
        )
