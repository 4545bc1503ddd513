"""What comes back: the events of one answer, and whether it is whole."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Self, assert_never

from reka_cli.errors import IncompleteAnswer, NetworkError, RekaError, ServiceError
from reka_cli.escapes import clean
from reka_cli.messages import Done, Event, Events, Image, Notice, ReasoningDelta, Start, TextDelta, Usage

LONGEST = 32_000_000  # characters, reasoning too: some times what the longest context of a model holds

_WHOLE = frozenset({"stop"})  # docs.reka.ai, API v1 (2024): stop, length, context; what is not known is not whole
_WORD = r"[A-Za-z_-]{1,30}"
_CUT = {
    "length": "the answer was cut off: it reached the longest the service gives",
    "context": "the answer was cut off: the conversation is longer than the model can take",
    "content_filter": "the answer was cut off by a filter of the service",
}


def bounded(events: Events) -> Events:
    """Pass on no more than LONGEST characters, so that memory stays flat whatever comes; raise ServiceError then."""
    left = LONGEST
    with closing(events):
        for event in events:
            if isinstance(event, TextDelta | ReasoningDelta):
                left -= len(event.text)
                if left < 0:
                    raise ServiceError(
                        f"the service sent more than {LONGEST // 10**6} million characters as one answer"
                    )
            yield event


class Answer:
    """The events of one answer, once: iterate it, or `read()` it; `close()` ends it early.

    Iterating raises RekaError: what the service or the network did, or IncompleteAnswer after the last event of an
    answer that is not whole or is empty. `text` is what came so far, and the service's final text at the end;
    `usage`, `finish_reason` and `model_served` are None until then, and stay so if the service does not tell.
    `attempts` is 1 and one more for each request that was sent again. Seconds (`first_token_s`, None before the first
    word, and `total_s`, so far or until the end) count from when the question was complete.
    """

    def __init__(
        self, events: Events, provider: str, model: str, *, images: Sequence[Image] = (), allow_partial: bool = False
    ) -> None:
        self.provider = provider
        self.model = model
        self.images = tuple(images)
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model_served: str | None = None
        self.attempts = 1
        self.first_token_s: float | None = None
        self._asked_at = time.monotonic()
        self._ended_at: float | None = None
        self._text = io.StringIO()
        self._reasoning = io.StringIO()
        self._passed_on = 0  # characters
        self._allow_partial = allow_partial
        self._failure: RekaError | None = IncompleteAnswer("the answer was closed before its end")
        self._events = self._watched(events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Events:
        return self._events

    @property
    def text(self) -> str:
        return self._text.getvalue()

    @property
    def reasoning(self) -> str | None:
        """What the model thought before it answered; None if it does not tell."""
        return self._reasoning.getvalue() or None

    @property
    def total_s(self) -> float:
        return (self._ended_at or time.monotonic()) - self._asked_at

    def read(self) -> str:
        """Wait for the end and return the whole text; raise, each time, what kept it from being whole."""
        for _ in self:
            pass
        if self._failure:
            raise self._failure
        return self.text

    def close(self) -> None:
        self._events.close()

    def _watched(self, events: Events) -> Events:
        try:
            for event in events:
                self._note(event)
                yield event
            if lack := self._lack():
                if not (self._allow_partial and clean(self.text).strip()):
                    raise lack
                yield Notice(f"{lack.message} (accepted as it is)")
            self._failure = None
        except RekaError as error:
            began = isinstance(error, NetworkError) and self._passed_on
            self._failure = IncompleteAnswer(f"the answer was cut off: {error.message}") if began else error
            self._failure.partial_chars = self._passed_on
            if began:
                raise self._failure from error
            raise
        finally:
            self._ended_at = time.monotonic()
            events.close()

    def _note(self, event: Event) -> None:
        match event:
            case Start(model):
                self.model = model
            case TextDelta(text):
                if self.first_token_s is None:
                    self.first_token_s = self.total_s
                self._text.write(text)
                self._passed_on += len(text)
            case ReasoningDelta(text):
                self._reasoning.write(text)
            case Usage():
                self.usage = event
            case Done(finish_reason, text, model_served):
                self.finish_reason, self.model_served = finish_reason, model_served
                if text is not None:
                    self._text = io.StringIO()
                    self._text.write(text)
            case Notice(is_retry=is_retry):
                self.attempts += is_retry
            case _:
                assert_never(event)

    def _lack(self) -> IncompleteAnswer | None:
        """What keeps the answer from being whole; a text of nothing but control characters is empty too."""
        if self.finish_reason in _WHOLE:
            return None if clean(self.text).strip() else IncompleteAnswer("the answer is empty")
        if self.finish_reason is None:
            return IncompleteAnswer("the answer was cut off: the service did not say that this is its end")
        if self.finish_reason == "length" and self.reasoning and not clean(self.text).strip():
            message = "the answer is empty: the reasoning used up the tokens it may take"
            return IncompleteAnswer(message, hint="--max-tokens with a higher number")
        # a word, and nothing that a service might smuggle into a message of ours
        reason = repr(self.finish_reason) if re.fullmatch(_WORD, self.finish_reason) else "something else"
        return IncompleteAnswer(
            _CUT.get(self.finish_reason, f"the service ended its answer with {reason}, not with 'stop'")
        )
