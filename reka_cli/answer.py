"""The events of one answer, and whether it is complete."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from copy import copy
from typing import Self, assert_never

from reka_cli.errors import IncompleteAnswer, NetworkError, RekaError, ServiceError, release_frames
from reka_cli.escapes import is_blank, one_line
from reka_cli.limits.call import Cancellation
from reka_cli.messages import (
    Done,
    Event,
    Events,
    Image,
    Notice,
    ReasoningDelta,
    Start,
    TextDelta,
    Usage,
)

# of an answer and its reasoning: several times what the longest context window of a model holds
MAX_CHARACTERS = 32_000_000

_WORD = r"[A-Za-z_-]{1,30}"
_TOO_LONG = "the answer was cut off: it reached the longest the service gives"
_FILTERED = "the answer was cut off by a filter of the service"
_REFUSED = "the model refused to answer"
_ENDS = {
    "length": _TOO_LONG,
    "max_tokens": _TOO_LONG,
    "max_length": _TOO_LONG,
    "context": "the answer was cut off: the conversation is longer than the model can take",
    "content_filter": _FILTERED,
    "safety": _FILTERED,
    "refusal": _REFUSED,
}
_LONGEST_REFUSAL = 300  # characters of it in a message


def limit_length(events: Events) -> Events:
    """Pass on no more than MAX_CHARACTERS characters, so that memory stays flat whatever comes; raise ServiceError then."""
    left = MAX_CHARACTERS
    with closing(events):
        for event in events:
            if isinstance(event, TextDelta | ReasoningDelta):
                left -= len(event.text)
                if left < 0:
                    raise ServiceError(
                        f"the service sent more than {MAX_CHARACTERS // 10**6} million characters as one answer"
                    )
            yield event


class Answer:
    """The events of one answer, once: iterate it, or `read()` it.

    A context manager: `close()` ends it early, `cancel()` does so from any thread. Dropping the
    last reference to it closes it too.

    Iterating raises RekaError: what the service or the network did, or IncompleteAnswer after the
    last event of an answer that is not complete, is empty, or was canceled. `text` is what came so
    far, and the service's final text at the end; `usage`, `finish_reason` and `model_served` are
    None until then, and stay so if the service does not say. `attempts` is 1 and one more for each
    request that was sent again. Seconds (`first_token_s`, None before the first word, and
    `total_s`, so far or until the end) count from when the question was complete.
    """

    def __init__(
        self,
        events: Events,
        provider: str,
        model: str,
        *,
        images: Sequence[Image] = (),
        allow_partial: bool = False,
        cancellation: Cancellation | None = None,
    ) -> None:
        self.provider = provider
        self.images = tuple(images)
        self._cancellation = cancellation or Cancellation()
        self._record = _Record(model)
        # the generator knows the record and not the answer: no cycle keeps what is dropped
        self._events = _record_events(events, self._record, allow_partial=allow_partial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return _Reader(self._events, self._record)

    @property
    def model(self) -> str:
        return self._record.model

    @property
    def text(self) -> str:
        return self._record.text.getvalue()

    @property
    def reasoning(self) -> str | None:
        """What the model thought before it answered; None if it does not say."""
        return self._record.reasoning.getvalue() or None

    @property
    def usage(self) -> Usage | None:
        return self._record.usage

    @property
    def finish_reason(self) -> str | None:
        return self._record.done.finish_reason

    @property
    def model_served(self) -> str | None:
        return self._record.done.model_served

    @property
    def attempts(self) -> int:
        return self._record.attempts

    @property
    def first_token_s(self) -> float | None:
        return self._record.first_token_s

    @property
    def total_s(self) -> float:
        return self._record.total_s

    @property
    def is_canceled(self) -> bool:
        return self._cancellation.is_canceled

    def read(self) -> str:
        """Wait for the end and return the whole text; raise, each time, what kept it from being complete."""
        for _ in self:
            pass
        if self._record.failure:
            raise copy(self._record.failure)  # which has no traceback that grows with each call
        return self.text

    def close(self) -> None:
        """End the answer; while another thread reads it, that thread is interrupted as by `cancel()`."""
        self._record.closed_by = threading.get_ident()
        try:
            self._events.close()
        except ValueError:  # the generator is running
            self.cancel()

    def cancel(self) -> None:
        """Interrupt whoever reads the answer, whatever it waits for; its connection is closed.

        From any thread and from a signal handler: it takes no lock. The reader gets
        IncompleteAnswer. An answer that is complete already stays so.
        """
        self._cancellation.cancel()


class _Reader:
    """Iterates an answer; raises IncompleteAnswer in a thread whose answer another one closed.

    Between two events nothing can be interrupted, and the thread would take the answer for complete.
    """

    def __init__(self, events: Events, record: _Record) -> None:
        self._events = events
        self._record = record

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        record = self._record
        try:
            return next(self._events)
        except (StopIteration, ValueError):  # the second while it is being closed
            if record.failure is None or record.closed_by in (None, threading.get_ident()):
                raise
        raise copy(record.failure)


class _Record:
    """What is known of an answer so far."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.text = io.StringIO()
        self.reasoning = io.StringIO()
        self.usage: Usage | None = None
        self.done = Done(None)  # until the last event
        self.attempts = 1
        self.first_token_s: float | None = None
        self.passed_on_chars = 0
        self.closed_by: int | None = None  # the thread
        self.failure: RekaError | None = IncompleteAnswer("the answer was closed before its end")
        self._asked_at = time.monotonic()
        self._ended_at: float | None = None

    @property
    def total_s(self) -> float:
        return (self._ended_at or time.monotonic()) - self._asked_at

    def end(self) -> None:
        self._ended_at = time.monotonic()

    def add(self, event: Event) -> None:
        match event:
            case Start(model):
                self.model = model
            case TextDelta(text):
                if self.first_token_s is None:
                    self.first_token_s = self.total_s
                self.text.write(text)
                self.passed_on_chars += len(text)
            case ReasoningDelta(text):
                self.reasoning.write(text)
            case Usage():
                self.usage = event
            case Done():
                self._add_done(event)
            case Notice(is_retry=is_retry):
                self.attempts += is_retry
            case _:
                assert_never(event)

    def _add_done(self, done: Done) -> None:
        self.done = done
        if done.text is not None:
            self.text = io.StringIO()
            self.text.write(done.text)
        if done.reasoning:
            self.reasoning.write(done.reasoning)

    @property
    def has_text(self) -> bool:
        """Whether there is anything to see."""
        return not is_blank(self.text.getvalue())

    def fail(self, error: RekaError) -> RekaError:
        """Keep an error for later readers, without its traceback, which would lead back to this record."""
        error.partial_chars = self.passed_on_chars
        self.failure = copy(error)
        return error

    def raise_if_incomplete(self) -> None:
        """Raise IncompleteAnswer if the answer is not complete."""
        lack = self.lack()
        if lack:
            raise lack

    def lack(self) -> IncompleteAnswer | None:
        """Return what keeps the answer from being complete."""
        if self.done.is_complete:
            return None if self.has_text else IncompleteAnswer("the answer is empty")
        words = one_line(self.done.refusal or "", _LONGEST_REFUSAL)
        if words:
            return IncompleteAnswer(f"{_REFUSED}: {words}")
        reason = self.done.finish_reason
        if reason is None:
            message = "the answer was cut off: the service did not say that this is its end"
            return IncompleteAnswer(message)
        message = _ENDS.get(reason.strip().lower(), "")
        if message == _TOO_LONG and self.reasoning.getvalue() and not self.has_text:
            message = "the answer is empty: the reasoning used up the tokens it may take"
            return IncompleteAnswer(message, hint="--max-tokens with a higher number")
        if not message:
            # a word, and nothing that a service might smuggle into a message of ours
            shown = repr(reason) if re.fullmatch(_WORD, reason) else "something else"
            message = f"the service ended its answer with {shown}, not with 'stop'"
        return IncompleteAnswer(message)


def _record_events(events: Events, record: _Record, *, allow_partial: bool) -> Events:
    """Pass events on, record them, and raise after the last one what keeps the answer from being complete."""
    try:
        for event in events:
            record.add(event)
            yield event
        if allow_partial and record.has_text:
            lack = record.lack()
            if lack:
                yield Notice(f"{lack.message} (accepted as it is)")
        else:
            record.raise_if_incomplete()
        record.failure = None
    except RekaError as error:
        release_frames(error)
        if isinstance(error, NetworkError) and record.passed_on_chars:
            raise record.fail(
                IncompleteAnswer(f"the answer was cut off: {error.message}")
            ) from error
        record.fail(error)
        raise
    finally:
        record.end()
        events.close()
