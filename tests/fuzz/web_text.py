"""Texts so far of the web session: what was passed on is the final text, unless a notice says that it is not."""

from __future__ import annotations

import random

from fuzz._draw import cut, joined
from reka_cli.messages import Done, Notice, TextDelta
from reka_cli.providers.web import _Progress, _visible

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
    progress, events = _Progress(), []
    for index, one in enumerate(texts):
        events += progress.events(one, is_last=index == len(texts) - 1)
    events += progress.end("stop")

    joined_deltas = "".join(event.text for event in events if isinstance(event, TextDelta))
    (done,) = (event for event in events if isinstance(event, Done))
    final = joined_deltas if done.text is None else done.text
    assert final == _visible(texts[-1]), texts
    told = any(isinstance(event, Notice) for event in events)
    assert told or joined_deltas == final, texts
    assert told == (done.text is not None), texts


def _other(data: random.Random, so_far: str) -> str:
    """What a service might send instead: less, or something else."""
    place = data.randint(0, len(so_far))
    return so_far[:place] + data.choice(("", "x", so_far[:place]))
