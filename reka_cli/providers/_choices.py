"""The choices of a chunk, and which of them are of the one answer.

Some servers count `index` up with every chunk of the one answer (microsoft/foundry-local #263,
2025-09), so an index alone does not tell choices apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from reka_cli.errors import ServiceError
from reka_cli.providers._assembly import read_finish_reason
from reka_cli.providers._content import NOTHING, Content, read_message

MIXED = "the service mixed several answers in one stream"
_MOST_CHOICES = 4  # that a server sends beside each other unasked; more in a row is a count


class Choice(NamedTuple):
    """One entry of `choices`, in the shape that is common to all servers."""

    position: object  # its `index`; None if there is none
    content: Content
    is_message: bool  # the content is that of a message, not of a delta
    is_last: bool  # it has a finish reason, or it is in a whole completion and not in a chunk
    finish_reason: str | None

    @property
    def has_content(self) -> bool:
        return bool(self.content)

    @property
    def says_something(self) -> bool:
        return bool(self.finish_reason) or bool(self.content)


def parse_choices(chunk: dict[str, Any]) -> list[Choice]:
    """Return the choices of a chunk. Raises ServiceError for content that is not text."""
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return []
    is_whole = chunk.get("object") == "chat.completion"
    return [_parse_choice(one, is_whole) for one in choices if isinstance(one, dict)]


def _parse_choice(raw: dict[str, Any], is_whole: bool) -> Choice:
    index, delta, message = raw.get("index"), raw.get("delta"), raw.get("message")
    if index is not None and type(index) is not int:
        index = repr(index)  # of whatever type, it tells choices apart
    content = read_message(delta) if isinstance(delta, dict) else NOTHING
    is_message = False
    if not content:
        if isinstance(message, dict):
            content, is_message = read_message(message), True
        elif isinstance(raw.get("text"), str):
            content = Content(raw["text"])  # of a text completion, the older protocol
    finish_reason = read_finish_reason(raw.get("finish_reason"))
    is_last = is_whole or finish_reason is not None
    return Choice(index, content, is_message, is_last, finish_reason)


class ChoiceSelection:
    """Which choices are of the one answer.

    The first index seen is that of the answer. As long as each index is the one before and one
    more, the choices may be one answer that is counted, or several beside each other: those after
    the first are held back. An index that comes twice shows that they are several; more than
    _MOST_CHOICES in a row show that it is a count.
    """

    def __init__(self) -> None:
        self.has_dropped = False
        self.is_doubtful = (
            False  # those left out may be a short count whose end has the first index
        )
        self._main: object = None
        self._latest: object = None
        self._in_a_row = 1
        self._has_begun = False
        self._held: list[Choice] = []
        self._is_apart = False
        self._is_counted = False

    def select(self, choices: list[Choice]) -> list[Choice]:
        """Return those that are sure to be of the answer, in their order."""
        if len(choices) == 1:
            is_sure = self._is_apart and choices[0].position == self._main
            return choices if is_sure else self._select_one(choices[0])
        if not choices:
            return []
        if self._is_counted:
            raise ServiceError(MIXED)
        if self._main is None:
            indices = [choice.position for choice in choices]
            self._main = 0 if 0 in indices or indices[0] is None else indices[0]
        return self._tell_apart(choices)

    def release(self) -> list[Choice]:
        """Return what is held back, now that no index came twice."""
        held, self._held = self._held, []
        return held

    def is_main(self, choice: Choice) -> bool:
        return self._is_counted or choice.position in (None, self._main)

    def _select_one(self, choice: Choice) -> list[Choice]:
        if self._is_apart:
            return self._keep_main([choice])
        index = choice.position
        if self._main is None:
            self._main = self._latest = 0 if index is None else index
            self._has_begun = choice.says_something
            return [choice]
        if _follows(index, self._latest):
            self._latest = index
            self._in_a_row += 1
            return self._hold(choice)
        if not choice.says_something:
            return []
        if self._is_counted and index is not None and choice.has_content:
            raise ServiceError(MIXED)
        is_begin = not self._has_begun and not self._held and self.is_main(choice)
        if self._is_counted or is_begin:
            self._has_begun = True
            return [choice]
        return self._tell_apart([choice])

    def _hold(self, choice: Choice) -> list[Choice]:
        if self._is_counted:
            return [choice]
        if choice.says_something:
            self._held.append(choice)
        if self._in_a_row <= _MOST_CHOICES:
            return []
        self._is_counted = True
        return self.release()

    def _tell_apart(self, choices: list[Choice]) -> list[Choice]:
        self._is_apart = True
        self.has_dropped = self.has_dropped or bool(self._held)
        self.is_doubtful = bool(self._held) and not any(choice.has_content for choice in choices)
        self._held.clear()
        return self._keep_main(choices)

    def _keep_main(self, choices: list[Choice]) -> list[Choice]:
        for choice in choices:
            if not self.is_main(choice) and choice.says_something:
                self.has_dropped = True
                self.is_doubtful = False
        return [choice for choice in choices if self.is_main(choice)][:1]


def _follows(index: object, latest: object) -> bool:
    return isinstance(index, int) and isinstance(latest, int) and index == latest + 1
