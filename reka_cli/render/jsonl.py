"""Events as they come, one line of JSON each. Shape: docs/json.md."""

from __future__ import annotations

from typing import Any, assert_never

from reka_cli.answer import Answer
from reka_cli.errors import RekaError
from reka_cli.escapes import json_line
from reka_cli.messages import Done, Notice, ReasoningDelta, Start, TextDelta, Usage
from reka_cli.render.json import answer_object
from reka_cli.terminal import Terminal

FOR_PROGRAMS = True


def render(answer: Answer, terminal: Terminal) -> None:
    """Write each event to stdout at once, and last the whole answer; an error is written by who catches it."""

    def put(kind: str, **fields: Any) -> None:
        terminal.write(json_line({"type": kind, **fields}))

    for event in answer:
        match event:
            case Start(model):
                put("start", provider=answer.provider, model=model)
            case TextDelta(text):
                put("delta", text=text)
            case ReasoningDelta(text):
                put("reasoning", text=text)
            case Notice(text):
                put("notice", text=text)
            case Usage() | Done():
                pass  # the last line tells
            case _:
                assert_never(event)
    put("end", **answer_object(answer))


def end_with(error: RekaError, terminal: Terminal) -> None:
    """Write the last line of an answer that failed."""
    terminal.write(json_line({"type": "error", "error": error.as_dict()}))
