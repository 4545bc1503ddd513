"""The new parts of a text that a service sends whole, once at its end or again and again."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator

from reka_cli.errors import ServiceError
from reka_cli.messages import Event, Notice, TextDelta

MOST_REWRITINGS = 100  # in one answer; each is printed

_NEW_TEXT = "what follows replaces the text from the point where it differs"


class TextSoFar:
    """What was passed on of a text; `add` takes a new part, `update` the whole as it is now.

    Both raise ServiceError for more than MOST_REWRITINGS, so that work grows with what came.
    """

    def __init__(self) -> None:
        self._shown = ""  # what the deltas add up to, the last rewriting counted as its new text
        self._added = io.StringIO()  # after that, not joined yet
        self._shorter: str | None = None  # the text now, if it is a beginning of what was shown
        self._rewritings = 0
        self._is_replaced = False

    @property
    def shown(self) -> str:
        if self._added.tell():
            self._shown += self._added.getvalue()
            self._added = io.StringIO()
        return self._shown

    @property
    def size(self) -> int:
        """The length of `shown`, without joining it."""
        return len(self._shown) + self._added.tell()

    @property
    def replacement(self) -> str | None:
        """The whole text where it is not the joined deltas, else None."""
        return self.shown if self._is_replaced else None

    @property
    def is_shorter(self) -> bool:
        """Whether the latest whole text is only a beginning of what was shown."""
        return self._shorter is not None

    def restart(self) -> None:
        """Begin a new text, which replaces what was shown."""
        self._shown = ""
        self._added = io.StringIO()
        self._shorter = None
        self._is_replaced = True

    def add(self, text: str) -> Iterable[Event]:
        """Return the events of a text that goes on with `text`."""
        if self._shorter is None:
            self._added.write(text)
            return (TextDelta(text),)
        self._count()
        return self.update(self._shorter + text)

    def update(self, text: str) -> Iterator[Event]:
        """Yield the events of a text that is `text` now."""
        shown = self.shown
        if shown.startswith(text):
            self._shorter = text if len(text) < len(shown) else None  # the end decides
            return
        self._shorter = None
        self._shown = text
        if text.startswith(shown):
            yield TextDelta(text[len(shown) :])
            return
        self._count()
        self._is_replaced = True
        common = len(os.path.commonprefix([shown, text]))
        yield Notice(f"the service rewrote its answer: {_NEW_TEXT}")
        yield TextDelta("\n" + text[common:])

    def end(self) -> Iterator[Event]:
        """Say so if the end of the text was taken back."""
        if self._shorter is not None:
            self._shown, self._shorter = self._shorter, None
            self._added = io.StringIO()
            self._is_replaced = True
            yield Notice("the service took back the end of its answer")

    def _count(self) -> None:
        self._rewritings += 1
        if self._rewritings > MOST_REWRITINGS:
            raise ServiceError(f"the service rewrote its answer more than {MOST_REWRITINGS} times")
