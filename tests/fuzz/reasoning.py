"""Reasoning and wrappers in a text: wherever it is cut, it is split the same, and loses nothing but tags and blanks."""

from __future__ import annotations

import random
import re

from fuzz._draw import cut, joined
from reka_cli.messages import ReasoningDelta
from reka_cli.providers._reasoning import Splitter, TextWasReasoning

TAGS = (
    "<reasoning>",
    "</reasoning>",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<result>",
    "</result>",
    "<sep>",
)
PARTS = (
    *TAGS,
    *TAGS,
    "<",
    ">",
    "</",
    "<th",
    "ink>",
    "A",
    "WORD ",
    " ",
    "\n",
    "\t",
    "  X",
    "É",
    "<sep",
)
_WORDS = re.compile(r"[A-ZÉ]+")  # of which no tag has a letter


def once(data: random.Random) -> None:
    text = joined(data, PARTS)
    whole = _split([text])
    assert _split(cut(data, text)) == whole, text
    assert "".join(_WORDS.findall(whole[0] + whole[1])) == "".join(_WORDS.findall(text)), text


def _split(pieces: list[str]) -> tuple[str, str]:
    splitter = Splitter()
    deltas = [delta for piece in pieces for delta in splitter.feed(piece)] + list(splitter.flush())
    reasoning = text = ""
    for delta in deltas:
        if isinstance(delta, TextWasReasoning):
            reasoning, text = reasoning + text, ""
        elif isinstance(delta, ReasoningDelta):
            reasoning += delta.text
        else:
            text += delta.text
    return reasoning, text
