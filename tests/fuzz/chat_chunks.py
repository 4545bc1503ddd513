"""One answer in the chunks of servers with habits of their own: it is passed on whole, and once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, count, repeat
from typing import Any

from fuzz._draw import cut, joined
from reka_cli.messages import Notice, TextDelta
from reka_cli.providers._chat_chunks import ChatAnswer
from reka_cli.providers._reasoning import Splitter, TextWasReasoning

PARTS = (
    "a",
    "b c",
    " ",
    "\n",
    "<",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<sep>",
    "é",
    "🐈",
    "word " * 5,
)


def once(data: random.Random) -> None:
    text = joined(data, PARTS)
    answer = ChatAnswer()
    events = []
    for chunk in _chunks(data, text):
        events += answer.read(chunk)
    events += answer.end(is_done=True)

    deltas = "".join(event.text for event in events if isinstance(event, TextDelta))
    done = answer.done()
    assert done.finish_reason == "stop", text
    assert (deltas if done.text is None else done.text) == _answer_in(text), text
    if "</think>" not in text:  # else the text before it may have been reasoning
        assert done.text is None, text
        assert not any(isinstance(event, Notice) for event in events), text


def _chunks(data: random.Random, text: str) -> Iterator[dict[str, Any]]:
    pieces = cut(data, text)
    whole = list(accumulate(pieces))
    first = data.choice((0, 0, 1, -2))
    indices = data.choice((repeat(first), count(first), repeat(None)))
    style = data.choice(("deltas", "messages", "both", "last", "repeat"))
    if style == "repeat" and (len(pieces) < 4 or len(text.strip()) < 16 or "" in pieces):
        style = "last"
    parts: list[dict[str, Any]] = (
        [{"delta": {"role": "assistant", "content": ""}}] if data.random() < 0.5 else []
    )
    for piece, so_far in zip(pieces, whole, strict=True):
        parts += [] if style == "messages" else [{"delta": {"content": piece}}]
        if style == "messages" or (style == "both" and data.random() < 0.1):
            parts.append({"delta": {}, "message": {"content": so_far}})
    if style == "last":
        parts.append({"message": {"content": text}})
    if style == "repeat":
        parts.append({"delta": {"content": text}})
    if parts and (style in ("last", "repeat") or data.random() < 0.5):
        parts[-1] = parts[-1] | {"finish_reason": "stop"}
    for part, index in zip(parts, indices, strict=False):
        yield {"choices": [part if index is None else part | {"index": index}]}


def _answer_in(text: str) -> str:
    splitter = Splitter()
    answer = ""
    for delta in [*splitter.feed(text), *splitter.flush()]:
        if isinstance(delta, TextDelta):
            answer += delta.text
        elif isinstance(delta, TextWasReasoning):
            answer = ""
    return answer
