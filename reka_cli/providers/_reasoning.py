"""Reasoning and wrappers that servers leave in the text: `<think>` before an answer, `<answer>` around it.

Source: RekaAI/reka-flash-3 model card (`<reasoning>`, and `<sep>`, the models' turn separator); llama.cpp PR 21616 of
2026-04 (`<answer>`, `<result>`). Only what stands before the first word opens anything: an answer may speak of tags.
"""

from __future__ import annotations

from collections.abc import Iterator

from reka_cli.errors import ServiceError
from reka_cli.messages import ReasoningDelta, TextDelta

_REASONING = {"<reasoning>": "</reasoning>", "<think>": "</think>"}
_WRAPPERS = {"<answer>": "</answer>", "<result>": "</result>"}
_OPENING = (*_REASONING, *_WRAPPERS)
_MOST_TAGS = 100  # that open something; what models write has two or three
_MOST_BLANKS = (
    1 << 20
)  # characters that are held back until it shows whether they are a part of the answer

Delta = TextDelta | ReasoningDelta


class Splitter:
    """Splits a text that comes in pieces, cut anywhere; what is lost is tags and the blanks around the answer.

    Raises ServiceError for blanks and closing tags without end, which would be held back.
    """

    def __init__(self) -> None:
        self._held = ""  # what may be the begin of a tag
        self._blanks: list[
            str
        ] = []  # in front of it: blanks, and closing tags, of which it is not known what follows
        self._blanks_size = 0
        self._opened = 0
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
        if text := self._text():
            yield TextDelta(text)

    def flush(self) -> Iterator[Delta]:
        """Give what was held back, now that nothing more comes."""
        held = "".join([*self._blanks, self._held])
        self._held, self._blanks = "", []
        if self._closing:
            if held:
                yield ReasoningDelta(held)
            return
        for tag in self._ends:
            held = held.replace(tag, "")
        if text := held.rstrip():
            yield TextDelta(text)

    def _text(self) -> str:
        """Take what is surely a part of the answer."""
        held = self._held
        half_a_tag = len(held) - _longest_overlap(held, self._ends)
        cut = _end_begins(held, half_a_tag, self._ends)
        text = held[:cut]
        if cut and self._blanks:
            text = "".join([*self._blanks, text])
            self._blanks, self._blanks_size = [], 0
        if cut < len(held):
            self._hold_blanks(held[cut:], half_a_tag - cut)
        else:
            self._held = ""
        return text

    def _hold_blanks(self, text: str, size: int) -> None:
        self._blanks.append(text[:size])
        self._blanks_size += size
        self._held = text[size:]
        if self._blanks_size > _MOST_BLANKS:
            raise ServiceError(
                f"the service sent more than {_MOST_BLANKS >> 20} MB of blanks in a row"
            )

    def _open(self) -> bool:
        """Take the next opening tag, or begin the answer; False if that cannot be told yet."""
        text = self._held.lstrip()
        self._hold_blanks(self._held, len(self._held) - len(text))
        for tag in _OPENING if self._opened < _MOST_TAGS else ():
            if text.startswith(tag):
                self._opened += 1
                self._held, self._blanks, self._blanks_size = text.removeprefix(tag), [], 0
                self._closing = _REASONING.get(tag, "")
                self._ends += (_WRAPPERS[tag],) if tag in _WRAPPERS else ()
                return True
        if self._opened < _MOST_TAGS and any(tag.startswith(text) for tag in _OPENING):
            return False
        self._has_begun, self._held = True, _trim("".join([*self._blanks, text]))
        self._blanks, self._blanks_size = [], 0
        return True

    def _reason(self) -> Iterator[ReasoningDelta]:
        thought, closed, rest = self._held.partition(self._closing)
        if closed:
            self._held, self._closing = rest, ""
        else:
            cut = len(thought) - _overlap(thought, self._closing)
            thought, self._held = thought[:cut], thought[cut:]
        if thought:
            yield ReasoningDelta(thought)


def _trim(text: str) -> str:
    """Drop the blank lines before an answer, and the one blank that models begin with, but not an indentation."""
    lines = text[: len(text) - len(text.lstrip())].rpartition("\n")[2]
    return ("" if lines == " " else lines) + text.lstrip()


def _end_begins(text: str, cut: int, ends: tuple[str, ...]) -> int:
    """Where a tail before `cut` begins that may turn out to be nothing but closing tags and blanks."""
    while True:
        while text[cut - 1 : cut].isspace():
            cut -= 1
        for tag in ends:
            if text.endswith(tag, 0, cut):
                cut -= len(tag)
                break
        else:
            return cut


def _longest_overlap(text: str, tags: tuple[str, ...]) -> int:
    return max(_overlap(text, tag) for tag in tags) if "<" in text else 0


def _overlap(text: str, tag: str) -> int:
    """How much of the end of `text` is the begin of `tag`."""
    if tag[0] not in text[1 - len(tag) :]:
        return 0  # nearly always
    return next((length for length in range(len(tag) - 1, 0, -1) if text.endswith(tag[:length])), 0)
