"""A question whose answer must be valid against a schema: asked, validated, asked once more."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from reka_cli.errors import IncompleteAnswer
from reka_cli.messages import ChatRequest, Done, Events, Message, Notice, Start, TextDelta, Usage
from reka_cli.schema.validator import Validator

_FENCE = r"(?s)```(?:[A-Za-z]+(?=\s|[\[{\"]))?(.*)```"


def ask_until_valid(
    ask: Callable[[ChatRequest], Events],
    request: ChatRequest,
    validator: Validator,
    *,
    allow_partial: bool = False,
) -> Events:
    """Ask for a valid answer, once more if the first is not; yield its text in one delta.

    No other text is yielded: not that of an answer that is not valid, nor, without
    `allow_partial`, of one that is not complete. Raises IncompleteAnswer, after the
    usage of both, if the second answer is not valid either.
    """
    attempt = _Attempt()
    yield from attempt.run(ask(request))
    usages = attempt.usages
    problem = validator.find_problem(attempt.text)
    if problem is not None and attempt.is_complete:
        yield Notice(f"the answer is not valid: {problem}; asking once more", is_retry=True)
        request = _add_repair(request, attempt.text, problem)
        attempt = _Attempt()
        yield from attempt.run(ask(request), has_started=True)
        usages += attempt.usages
        problem = validator.find_problem(attempt.text)
    if problem is None and (attempt.is_complete or allow_partial):
        yield TextDelta(attempt.text)
    yield from _add_up(usages)
    yield replace(attempt.done, text=None)
    if problem is not None and attempt.is_complete:
        raise IncompleteAnswer(f"the answer is not valid against the schema: {problem}")
    if problem is not None and attempt.text and attempt.done.finish_reason == "length":
        message = "the JSON was cut off: it reached the maximum number of tokens"
        raise IncompleteAnswer(message, hint="--max-tokens with a higher number")


class _Attempt:
    """One answer, whose text is kept until it is complete."""

    def __init__(self) -> None:
        self.usages: list[Usage] = []
        self.done = Done(None)
        self._pieces: list[str] = []

    @property
    def is_complete(self) -> bool:
        return self.done.is_complete

    @property
    def text(self) -> str:
        text = "".join(self._pieces) if self.done.text is None else self.done.text
        fenced = re.fullmatch(_FENCE, text.strip())
        return fenced[1].strip() if fenced else text.strip()

    def run(self, events: Events, *, has_started: bool = False) -> Events:
        """Keep text, usage and end, and yield the other events."""
        with closing(events):
            for event in events:
                match event:
                    case TextDelta(piece):
                        self._pieces.append(piece)
                    case Usage():
                        self.usages.append(event)
                    case Done():
                        self.done = event
                    case Start() if has_started:
                        pass
                    case _:
                        yield event


def _add_repair(request: ChatRequest, text: str, problem: str) -> ChatRequest:
    again = f"That is not valid: {problem}. Answer again, with nothing but the corrected JSON."
    repair = (Message("assistant", text), Message("user", again))
    return replace(request, messages=request.messages + repair)


def _add_up(usages: list[Usage]) -> list[Usage]:
    """Return one usage for all attempts; a number that one of them lacks is not known."""

    def total(values: list[Any]) -> Any:
        return None if None in values else sum(values)

    if not usages:
        return []
    input_tokens = total([usage.input_tokens for usage in usages])
    output_tokens = total([usage.output_tokens for usage in usages])
    return [Usage(input_tokens, output_tokens, total([usage.cost_usd for usage in usages]))]
