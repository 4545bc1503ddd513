"""Texts so far of the web session: what was passed on is the final text, unless a notice says that it is not."""

from __future__ import annotations

import random

from fuzz._draw import cut, joined
from reka_cli.messages import Notice, TextDelta
from reka_cli.providers._reasoning import Splitter
from reka_cli.providers.web import WebAnswer, _visible

PARTS = (
    "a",
    "b c",
    " ",
    "\n",
    "\n <sep>",
    "\n <sep> human:",
    "\n <s",
    " <sep",
    "é",
    "\ufffd",
    "\ud83d",
    "\ude00",
    "\x1b[m",
)


def once(data: random.Random) -> None:
    text = joined(data, PARTS)
    so_far, texts = "", []
    for piece in cut(data, text):
        so_far += piece
        texts.append(so_far if data.random() < 0.9 else _other(data, so_far))
    texts = texts or [""]
    answer, events = WebAnswer(), []
    for index, one in enumerate(texts):
        reason = "stop" if index == len(texts) - 1 else None
        events += answer.read({"text": one, "finish_reason": reason})
    events += answer.end(is_done=False)

    joined_deltas = "".join(event.text for event in events if isinstance(event, TextDelta))
    replacement = answer.done().text
    final = joined_deltas if replacement is None else replacement
    assert final == _answer(_visible(texts[-1], is_last=True)), texts
    told = any(isinstance(event, Notice) for event in events)
    assert told or joined_deltas == final, texts
    assert told == (replacement is not None), texts


def _answer(text: str) -> str:
    splitter = Splitter()
    return "".join(delta.text for delta in [*splitter.feed(text), *splitter.flush()])


def _other(data: random.Random, so_far: str) -> str:
    """What a service might send instead: less, or something else."""
    place = data.randint(0, len(so_far))
    return so_far[:place] + data.choice(("", "x", so_far[:place]))
