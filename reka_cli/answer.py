"""What comes back: the events of one answer, and whether it is whole."""

from __future__ import annotations

from reka_cli.errors import IncompleteAnswer, NetworkError, RekaError
from reka_cli.escapes import clean
from reka_cli.messages import Done, Events, Notice, TextDelta, Usage

_WHOLE = frozenset({"stop"})  # docs.reka.ai, API v1 (2024): stop, length, context; what is not known is not whole
_CUT = {
    "length": "the answer was cut off: it reached the longest the service gives",
    "context": "the answer was cut off: the conversation is longer than the model can take",
    "content_filter": "the answer was cut off by a filter of the service",
}


class Answer:
    """The events of one answer, once: iterate it, or `read()` it; `close()` ends it early.

    Iterating raises RekaError: what the service or the network did, or IncompleteAnswer after the last event of an
    answer that is not whole or is empty. `text` is what came so far, and the service's final text at the end;
    `usage` and `finish_reason` are None until then, and stay so if the service does not tell.
    """

    def __init__(self, events: Events, provider: str, model: str, *, allow_partial: bool = False) -> None:
        self.provider = provider
        self.model = model
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self._pieces: list[str] = []
        self._allow_partial = allow_partial
        self._events = self._watched(events)

    def __iter__(self) -> Events:
        return self._events

    @property
    def text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def read(self) -> str:
        """Wait for the end and return the whole text."""
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        self._events.close()

    def _watched(self, events: Events) -> Events:
        passed_on = 0
        try:
            for event in events:
                match event:
                    case TextDelta(text):
                        self._pieces.append(text)
                        passed_on += len(text)
                    case Usage():
                        self.usage = event
                    case Done(finish_reason, text):
                        self.finish_reason = finish_reason
                        self._pieces = self._pieces if text is None else [text]
                yield event
            if lack := self._lack():
                if not (self._allow_partial and clean(self.text).strip()):
                    raise lack
                yield Notice(f"{lack.message} (accepted as it is)")
        except RekaError as error:
            error.partial_chars = passed_on
            if isinstance(error, NetworkError) and passed_on:
                lack = IncompleteAnswer(f"the answer was cut off: {error.message}")
                lack.partial_chars = passed_on
                raise lack from error
            raise
        finally:
            events.close()

    def _lack(self) -> IncompleteAnswer | None:
        """What keeps the answer from being whole; a text of nothing but control characters is empty too."""
        if self.finish_reason in _WHOLE:
            return None if clean(self.text).strip() else IncompleteAnswer("the answer is empty")
        if self.finish_reason is None:
            return IncompleteAnswer("the answer was cut off: the service did not say that this is its end")
        other = f"the service ended its answer with {clean(self.finish_reason)[:40]!r}, not with 'stop'"
        return IncompleteAnswer(_CUT.get(self.finish_reason, other))
