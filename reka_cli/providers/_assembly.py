"""One answer put together from what a service sends of it, on either protocol."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator

from reka_cli.messages import Done, Event, Notice, ReasoningDelta, TextDelta
from reka_cli.providers._reasoning import Splitter, TextWasReasoning
from reka_cli.providers._text_so_far import TextSoFar

_WENT_ON = "the service went on after the end of its answer"
_WAS_REASONING = "the text so far was the model's reasoning; its answer follows"
_NO_REASON = frozenset({"null", "none"})  # as text: DashScope sends "null" until the end
_LONGEST_REFUSAL = 2_000  # characters that are kept of it
_REST_S = 2.0  # after the end usage may still arrive; it is not worth more
_REST_AFTER_FIRST_TEXT_S = 5.0


def read_finish_reason(value: object) -> str | None:
    """Return the service's word for how an answer ended; None if it has not."""
    if not isinstance(value, str):
        return None
    word = value.strip()
    return None if not word or word.lower() in _NO_REASON else value


class AnswerAssembly:
    """What is known of an answer; its methods yield the events of what is new.

    Text after a finish reason shows that the reason was not the end (some services send one with
    every event), so the answer is complete again only at a reason that no text follows.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._refusal = ""
        self._splitter = Splitter()
        self._text = TextSoFar()
        self._reasoning = io.StringIO()
        self._late_reasoning = ""  # was returned as text
        self._whole: str | None = ""  # the latest whole text; None after a part of the text
        self._texts = 0
        self._goes_on = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing that follows can take the end back, but text."""
        return self.finish_reason is not None and not self._goes_on

    @property
    def rest_s(self) -> float:
        """How many seconds the rest of the response may take.

        A reason with the first text may be one of many, which only another text shows.
        """
        if not self.has_ended:
            return math.inf
        return _REST_S if self._texts > 1 else _REST_AFTER_FIRST_TEXT_S

    def done(self, model_served: str | None = None) -> Done:
        """Return the last event."""
        return Done(
            self.finish_reason,
            self._text.replacement,
            model_served,
            self._refusal or None,
            self._late_reasoning or None,
        )

    def _take_back_end(self) -> Iterator[Notice]:
        """Say that text follows the end, and wait for another one."""
        self.finish_reason = None
        if not self._goes_on:
            self._goes_on = True
            yield Notice(_WENT_ON)

    def _add(self, text: str) -> Iterator[Event]:
        """Read the next part of the text."""
        self._whole = None
        for delta in self._splitter.feed(text):
            yield from self._pass_on(delta)

    def _update(self, text: str) -> Iterator[Event]:
        """Read the whole text as it is now."""
        whole = self._whole
        if whole is not None and text.startswith(whole) and not self._text.is_shorter:
            self._whole = text
            for delta in self._splitter.feed(text[len(whole) :]):
                yield from self._pass_on(delta)
            return
        splitter = Splitter()
        reasoning, answer = split(splitter, text)
        yield from self._update_reasoning(reasoning)
        self._splitter, self._whole = splitter, text
        yield from self._text.update(answer)

    def _add_reasoning(self, text: str) -> Iterable[Event]:
        self._reasoning.write(text)
        return (ReasoningDelta(text),)

    def _update_reasoning(self, text: str) -> Iterable[Event]:
        size = self._reasoning.tell()
        if len(text) > size and text.startswith(self._reasoning.getvalue()):
            return self._add_reasoning(text[size:])
        return ()

    def _add_refusal(self, text: str, *, is_whole: bool) -> None:
        if is_whole:
            self._refusal = text
        elif len(self._refusal) < _LONGEST_REFUSAL:
            self._refusal += text

    def _flush(self) -> Iterator[Event]:
        """Yield what was held back: the answer has ended."""
        for delta in self._splitter.flush():
            yield from self._pass_on(delta)
        yield from self._text.end()

    def _pass_on(self, delta: TextDelta | ReasoningDelta | TextWasReasoning) -> Iterable[Event]:
        if isinstance(delta, TextDelta):
            return self._text.add(delta.text)
        if isinstance(delta, ReasoningDelta):
            return self._add_reasoning(delta.text)
        return self._begin_again()

    def _begin_again(self) -> Iterable[Event]:
        """Begin the answer: the text so far was reasoning. It was printed, and stays."""
        self._late_reasoning = self._text.shown
        self._reasoning.write(self._late_reasoning)
        self._text.restart()
        return Notice(_WAS_REASONING), TextDelta("\n\n")


def split(splitter: Splitter, text: str) -> tuple[str, str]:
    """Return the reasoning and the answer in a text, as far as they are certain."""
    reasoning = answer = ""
    for delta in splitter.feed(text):
        if isinstance(delta, TextDelta):
            answer += delta.text
        elif isinstance(delta, ReasoningDelta):
            reasoning += delta.text
        else:
            reasoning, answer = reasoning + answer, ""
    return reasoning, answer
