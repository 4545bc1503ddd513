"""Reasoning and wrappers that servers leave in the text: `<think>` before an answer, `<answer>` around it.

Sources: RekaAI/reka-flash-3 model card (`<reasoning>`, and `<sep>`, the models' turn separator);
llama.cpp PR 21616 of 2026-04 (`<answer>`, `<result>`); vllm #17144 and llama.cpp #11861 (`</think>`
without `<think>`, which the template has put into the prompt).

An answer may speak of tags: only those before its first word open anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reka_cli.errors import ServiceError
from reka_cli.messages import ReasoningDelta, TextDelta

_REASONING = {"<reasoning>": "</reasoning>", "<think>": "</think>"}
_WRAPPERS = {"<answer>": "</answer>", "<result>": "</result>"}
_OPENING = (*_REASONING, *_WRAPPERS)
_REASONING_TAGS = (*_REASONING, *_REASONING.values())
_REASONING_TAG = "|".join(_REASONING_TAGS)
_MOST_TAGS = 100  # that open something; models write two or three
_MOST_BLANKS = 1 << 20  # characters that are held back until more text shows that they belong to it
_QUOTES = frozenset("`\"'“”‘’«»()[]<>")  # beside a tag that the answer speaks of
_AFTER_A_WORD = frozenset(" \t.,;:!?")  # likewise, if a blank precedes the tag


@dataclass(frozen=True)
class TextWasReasoning:
    """All text so far was reasoning: its closing tag has no opening tag."""


Delta = TextDelta | ReasoningDelta | TextWasReasoning


class Splitter:
    """Splits a text that arrives in pieces of any size into reasoning and answer.

    Tags and the blanks around the answer are dropped. Raises ServiceError for more than a megabyte of
    blanks and closing tags in a row.
    """

    def __init__(self) -> None:
        self._held = ""  # may be the beginning of a tag
        self._blanks: list[str] = []  # blanks and closing tags before it, perhaps the last ones
        self._blanks_size = 0
        self._opened = 0
        self._closing = ""  # the tag that ends the open reasoning
        self._has_begun = False  # the answer
        self._has_text = False  # a TextDelta was returned
        self._ends: tuple[str, ...] = ("<sep>",)
        self._stray = _StrayTag()

    def feed(self, piece: str) -> Iterator[Delta]:
        """Yield what is certain after another piece."""
        self._held += piece
        while True:
            while not self._has_begun:
                if self._closing:
                    yield from self._take_reasoning()
                    if self._closing:
                        return
                elif not self._open():
                    return
            if "<" not in self._held or not self._stray.find(self._held):
                break
            yield from self._end_stray_reasoning()
        text = self._take_text()
        if text:
            self._has_text = True
            yield TextDelta(text)

    def flush(self) -> Iterator[Delta]:
        """Yield what was held back: the text has ended."""
        if self._has_begun and self._stray.find(self._held, is_end=True):
            yield from self._end_stray_reasoning()
            yield from self.feed("")
        held = "".join([*self._blanks, self._held])
        self._held, self._blanks = "", []
        if self._closing:
            if held:
                yield ReasoningDelta(held)
            return
        for tag in self._ends:
            held = held.replace(tag, "")
        text = held.rstrip()
        if text:
            yield TextDelta(text)

    def _take_text(self) -> str:
        """Take what certainly belongs to the answer."""
        held = self._held
        certain = len(held)
        if "<" in held:
            certain -= max(_overlap(held, tag) for tag in self._ends)
            certain = min(certain, len(held) - self._stray.size_to_hold(held))
        end = _end_begins(held, certain, self._ends)
        text = held[:end]
        if end and self._blanks:
            text = "".join([*self._blanks, text])
            self._blanks, self._blanks_size = [], 0
        if end < len(held):
            self._hold_blanks(held[end:], certain - end)
        else:
            self._held = ""
        self._stray.pass_by(held[:certain])
        return text

    def _hold_blanks(self, text: str, size: int) -> None:
        self._blanks.append(text[:size])
        self._blanks_size += size
        self._held = text[size:]
        if self._blanks_size > _MOST_BLANKS:
            megabytes = _MOST_BLANKS >> 20
            raise ServiceError(f"the service sent more than {megabytes} MB of blanks in a row")

    def _open(self) -> bool:
        """Take the next opening tag, or begin the answer. Return False if that is not certain yet."""
        text = self._held.lstrip()
        self._hold_blanks(self._held, len(self._held) - len(text))
        if self._opened < _MOST_TAGS:
            for tag in _OPENING:
                if text.startswith(tag):
                    self._take_opening(tag, text)
                    return True
            if any(tag.startswith(text) for tag in _OPENING):
                return False
        self._has_begun = True
        self._held = _trim("".join([*self._blanks, text]))
        self._blanks, self._blanks_size = [], 0
        return True

    def _take_opening(self, tag: str, text: str) -> None:
        self._opened += 1
        self._held = text.removeprefix(tag)
        self._blanks, self._blanks_size = [], 0
        if tag in _WRAPPERS:
            self._ends += (_WRAPPERS[tag],)
        else:
            self._closing = _REASONING[tag]
            self._stray.stop()

    def _take_reasoning(self) -> Iterator[ReasoningDelta]:
        thought, closed, rest = self._held.partition(self._closing)
        if closed:
            self._held, self._closing = rest, ""
        else:
            end = len(thought) - _overlap(thought, self._closing)
            thought, self._held = thought[:end], thought[end:]
        if thought:
            yield ReasoningDelta(thought)

    def _end_stray_reasoning(self) -> Iterator[Delta]:
        """Yield the text before the closing tag that was found, and begin the answer after it."""
        start, end = self._stray.place
        thought = "".join([*self._blanks, self._held[:start]]).rstrip()
        self._held, self._has_begun = self._held[end:], False
        self._blanks, self._blanks_size = [], 0
        self._stray.stop()
        if self._has_text:
            if thought:
                yield TextDelta(thought)
            yield TextWasReasoning()
        elif thought:
            yield ReasoningDelta(thought)


class _StrayTag:
    """Looks in an answer for the closing tag of reasoning that was never opened.

    A tag that the answer speaks of is quoted, in a code block, inside a sentence, or comes after its
    opening tag.
    """

    def __init__(self) -> None:
        self.place = (0, 0)  # of the tag that was found
        self._is_looking = True
        self._before = ""  # the last character before the text to look in
        self._code: list[str] = []  # text with backticks

    def stop(self) -> None:
        self._is_looking = False
        self._code.clear()

    def find(self, text: str, *, is_end: bool = False) -> bool:
        """Return whether a stray tag is in the text that follows what was passed by."""
        if not self._is_looking:
            return False
        for tag in re.finditer(_REASONING_TAG, text):
            if tag[0] in _REASONING:
                self.stop()
                return False
            start, end = tag.span()
            if end == len(text) and not is_end:
                return False
            if not self._is_mention(text, start, end):
                self.place = start, end
                return True
        return False

    def size_to_hold(self, text: str) -> int:
        """Return how many characters at the end of a text may be of a tag, or a tag before what follows."""
        if not self._is_looking:
            return 0
        for tag in _REASONING.values():
            if text.endswith(tag):
                return len(tag)
        return max(_overlap(text, tag) for tag in _REASONING_TAGS)

    def pass_by(self, text: str) -> None:
        """Remember what is needed of a text that is searched."""
        if not self._is_looking or not text:
            return
        self._before = text[-1]
        if "`" in text:
            self._code.append(text)
        elif self._code:
            self._code.append(" ")

    def _is_mention(self, text: str, start: int, end: int) -> bool:
        before = text[start - 1] if start else self._before
        after = text[end : end + 1]
        if before in _QUOTES or after in _QUOTES:
            return True
        if before in (" ", "\t") and after in _AFTER_A_WORD:
            return True
        code = "".join([*self._code, text[:start]])
        return code.count("```") % 2 == 1


def _trim(text: str) -> str:
    """Drop the blank lines before an answer, and the one blank that models begin with, but not an indentation."""
    answer = text.lstrip()
    indentation = text[: len(text) - len(answer)].rpartition("\n")[2]
    return answer if indentation == " " else indentation + answer


def _end_begins(text: str, end: int, tags: tuple[str, ...]) -> int:
    """Return where the closing tags and blanks begin that precede `end`."""
    while True:
        while text[end - 1 : end].isspace():
            end -= 1
        for tag in tags:
            if text.endswith(tag, 0, end):
                end -= len(tag)
                break
        else:
            return end


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` are the beginning of `tag`, but not all of it."""
    if "<" not in text[1 - len(tag) :]:
        return 0  # nearly always
    for length in range(len(tag) - 1, 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
