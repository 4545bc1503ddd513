"""Reasoning and wrappers that servers leave in the text: `<think>` before an answer, `<answer>` around it.

Source: RekaAI/reka-flash-3 model card (`<reasoning>`, and `<sep>`, the models' turn separator); llama.cpp PR 21616 of
2026-04 (`<answer>`, `<result>`). Only what stands before the first word opens anything: an answer may speak of tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from reka_cli.messages import ReasoningDelta, TextDelta

_REASONING = {"<reasoning>": "</reasoning>", "<think>": "</think>"}
_WRAPPERS = {"<answer>": "</answer>", "<result>": "</result>"}
_OPENING = (*_REASONING, *_WRAPPERS)

Delta = TextDelta | ReasoningDelta


class Splitter:
    """Splits a text that comes in pieces, cut anywhere; what is lost is tags and the blanks around the answer."""

    def __init__(self) -> None:
        self._held = ""
        self._closing = ""  # the tag that ends the reasoning we are in
        self._has_begun = False  # the answer
        self._ends: tuple[str, ...] = ("<sep>",)

    def feed(self, piece: str) -> Iterator[Delta]:
        """Give what is sure by now."""
        self._held += piece
        while not self._has_begun:
            if self._closing:
                yield from self._reason()
                if self._closing:
                    return
            elif not self._open():
                return
        end = _end_begins(self._ends).search(self._held)
        cut = end.start() if end else len(self._held)
        if cut:
            yield TextDelta(self._held[:cut])
        self._held = self._held[cut:]

    def flush(self) -> Iterator[Delta]:
        """Give what was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        if self._closing:
            if held:
                yield ReasoningDelta(held)
            return
        text = _end(self._ends).sub("", held, count=1).rstrip()
        if text:
            yield TextDelta(text)

    def _open(self) -> bool:
        """Take the next opening tag, or begin the answer; False if that cannot be told yet."""
        text = self._held.lstrip()
        for tag in _OPENING:
            if text.startswith(tag):
                self._held = text.removeprefix(tag)
                self._closing = _REASONING.get(tag, "")
                self._ends += (_WRAPPERS[tag],) if tag in _WRAPPERS else ()
                return True
        if any(tag.startswith(text) for tag in _OPENING):
            return False
        self._has_begun, self._held = True, text
        return True

    def _reason(self) -> Iterator[ReasoningDelta]:
        thought, closed, rest = self._held.partition(self._closing)
        if closed:
            self._held, self._closing = rest, ""
        else:
            cut = re.search(f"(?:{_begins(self._closing)})?\\Z", thought)
            assert cut  # noqa: S101 - the empty end always matches
            thought, self._held = thought[: cut.start()], thought[cut.start() :]
        if thought:
            yield ReasoningDelta(thought)


@cache
def _end_begins(ends: tuple[str, ...]) -> re.Pattern[str]:
    """Match a tail of the text that may turn out to be nothing but closing tags and blanks."""
    return re.compile(rf"\s*(?:(?:{'|'.join(ends)})\s*)*(?:{'|'.join(map(_begins, ends))})?\Z")


@cache
def _end(ends: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\A\s*(?:(?:{'|'.join(ends)})\s*)+")


def _begins(tag: str) -> str:
    return "|".join(re.escape(tag[:length]) for length in range(len(tag) - 1, 0, -1))
