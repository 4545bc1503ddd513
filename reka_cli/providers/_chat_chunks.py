"""The one answer in the chunks of an OpenAI-compatible stream.

Servers differ in two ways that would otherwise lose or double a text. Some count `index` up with
every chunk of the one answer (microsoft/foundry-local #263, 2025-09). Some send the whole `message`
after its deltas, or the text so far in every chunk (hermes-browser-extension #11, ragflow #15286).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from reka_cli.errors import ServiceError
from reka_cli.messages import Event, Notice, ReasoningDelta, TextDelta
from reka_cli.providers._reasoning import Splitter
from reka_cli.providers._text_so_far import TextSoFar

_REASONING = ("reasoning_content", "reasoning")  # differs from model to model at Reka, 2026-10
# types of typed parts: OpenAI's chat and responses, Anthropic's, Mistral's
_PART_KINDS = {
    None: "text",
    "text": "text",
    "output_text": "text",
    "text_delta": "text",
    "thinking": "reasoning",
    "thinking_delta": "reasoning",
    "reasoning": "reasoning",
    "reasoning_text": "reasoning",
    "summary_text": "reasoning",
    "refusal": "refusal",
}
_PART_TEXTS = ("text", "thinking", "reasoning", "summary", "refusal", "content")
_LONGEST_REFUSAL = 2_000  # characters that are kept of it
_MOST_CHOICES = 4  # that a server sends beside each other unasked; more in a row is a count
_FEWEST_DELTAS = 3  # before a last delta that repeats them
_SHORTEST_REPEAT = 16  # characters of it; "no, no" may be an answer

_MIXED = "the service mixed several answers in one stream"
_END_OF_THINKING = re.compile(r"^[ \t]*</think>[ \t]*$|</think>[ \t]*\n[ \t]*\n", re.MULTILINE)
_WENT_ON = "the service went on after the end of its answer"


class _Choice(NamedTuple):
    """One entry of `choices`, in the shape that is common to all servers."""

    position: object  # its `index`; None if there is none
    parts: dict[str, Any]  # the delta, or the message if `is_message`
    is_message: bool
    is_last: bool  # it has a finish reason, or it is in a whole completion and not in a chunk
    finish_reason: str | None

    @property
    def has_text(self) -> bool:
        return _says_something(self.parts)

    @property
    def says_something(self) -> bool:
        return bool(self.finish_reason) or self.has_text

    @property
    def content(self) -> str:
        content = self.parts.get("content")
        if content is None or isinstance(content, str):
            return content or ""
        raise ServiceError("the service sent an answer whose text is no text")

    @property
    def reasoning(self) -> str:
        for field in _REASONING:
            thought = self.parts.get(field)
            if isinstance(thought, str) and thought:
                return thought
        return ""


class ChatAnswer:
    """Put an answer together: `read` each chunk, then `end`; both yield what is new.

    Raises ServiceError for several answers that cannot be told apart, and for what is not text.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.refusal = ""  # the model's words
        self._selection = _Selection()
        self._splitter = Splitter()
        self._text = TextSoFar()
        self._thoughts = io.StringIO()
        self._deltas = 0
        self._first_message: str | None = None
        self._messages_grow: bool | None = None  # or are parts; None until the second
        self._goes_on = False
        self._answer_alone = ""

    @property
    def replacement(self) -> str | None:
        """The whole text where it is not the joined deltas, else None."""
        return self._answer_alone or self._text.replacement

    @property
    def has_ended(self) -> bool:
        """Whether a finish reason can be trusted: of a text that went on after one, only its last."""
        return self.finish_reason is not None and not self._goes_on

    def read(self, chunk: dict[str, Any]) -> Iterator[Event]:
        """Yield what a chunk adds."""
        yield from self._take_all(self._selection.select(_parse(chunk)))

    def end(self, *, is_done: bool) -> Iterator[Event]:
        """Yield what was held back; `is_done` is whether the service said `[DONE]`."""
        yield from self._take_all(self._selection.release())
        if self._selection.is_doubtful or (
            self.finish_reason is None and is_done and self._selection.has_dropped
        ):
            raise ServiceError(_MIXED)
        if self.finish_reason is None and is_done:
            self.finish_reason = "stop"
        for delta in self._splitter.flush():
            yield from self._pass_on(delta)
        yield from self._text.end()
        yield from self._drop_reasoning()

    def _drop_reasoning(self) -> Iterator[Event]:
        """Replace a text that begins with reasoning, which ends with `</think>` but has no beginning.

        Templates that put `<think>` into the prompt leave only its end in the answer (vllm #17144,
        llama.cpp #11861). An answer that speaks of the tag has it inside a line or in code.
        """
        text = self._text.shown
        found = _END_OF_THINKING.search(text)
        if found is None or "<think>" in text or text[: found.start()].count("```") % 2:
            return
        answer = text[found.end() :].strip()
        if answer and text[: found.start()].strip():
            self._answer_alone = answer
            yield Notice("the text before </think> is the model's reasoning, not its answer")

    def _take_all(self, choices: list[_Choice]) -> Iterator[Event]:
        for choice in choices:
            if self.finish_reason is None:
                yield from self._take(choice)
            elif self._selection.is_main(choice) and self._adds(choice):
                if not self._goes_on:
                    self._goes_on = True
                    yield Notice(_WENT_ON)
                yield from self._take(choice)

    def _take(self, choice: _Choice) -> Iterator[Event]:
        content, reasoning = choice.content, choice.reasoning
        refusal = choice.parts.get("refusal")
        if isinstance(refusal, str) and len(self.refusal) < _LONGEST_REFUSAL:
            self.refusal = refusal if choice.is_message else self.refusal + refusal
        if self._is_whole(choice, content):
            yield from self._compare(reasoning, content)
        else:
            if reasoning:
                yield from self._pass_on(ReasoningDelta(reasoning))
            if content:
                self._deltas += 1
                for delta in self._splitter.feed(content):
                    yield from self._pass_on(delta)
        self.finish_reason = choice.finish_reason

    def _pass_on(self, delta: TextDelta | ReasoningDelta) -> Iterable[Event]:
        if isinstance(delta, TextDelta):
            return self._text.add(delta.text)
        self._thoughts.write(delta.text)
        return (delta,)

    def _is_whole(self, choice: _Choice, content: str) -> bool:
        """Return whether a choice has the whole text, not the next part of it.

        A message after deltas is whole. Where there are nothing but messages, the second shows
        whether they grow or are parts.
        """
        if not choice.is_message or self._messages_grow is False:
            return choice.is_last and self._repeats(choice, content)
        if self._deltas or self._messages_grow or not content:
            return True
        if self._first_message is None:
            self._first_message = content
            return True
        self._messages_grow = content.startswith(self._first_message)
        return self._messages_grow

    def _repeats(self, choice: _Choice, content: str) -> bool:
        """Return whether the last part is the entire text so far, once more."""
        is_long = self._deltas >= _FEWEST_DELTAS and len(content) >= _SHORTEST_REPEAT
        return (is_long or choice.is_message) and self._is_shown(content)

    def _is_shown(self, content: str) -> bool:
        if len(content) < self._text.size or not content.strip():
            return False
        return _split(Splitter(), content)[1] == self._text.shown

    def _compare(self, reasoning: str, content: str) -> Iterator[Event]:
        """Yield what a whole message has beside what is known of it."""
        splitter = Splitter()
        thoughts, text = _split(splitter, content)
        yield from self._compare_reasoning(reasoning + thoughts)
        if content.strip():
            self._splitter = splitter
            yield from self._text.update(text)

    def _compare_reasoning(self, thoughts: str) -> Iterator[Event]:
        size = self._thoughts.tell()
        if len(thoughts) > size and thoughts.startswith(self._thoughts.getvalue()):
            yield from self._pass_on(ReasoningDelta(thoughts[size:]))

    def _adds(self, choice: _Choice) -> bool:
        content = choice.content
        if not choice.is_message and choice.reasoning:
            return True
        return bool(content.strip()) and not self._is_shown(content)


class _Selection:
    """Which choices are of the one answer.

    The first index seen is that of the answer. As long as each index is the one before and one
    more, the choices may be one answer that is counted, or several beside each other: those after
    the first are held back. An index that comes twice shows that they are several; more than
    _MOST_CHOICES in a row show that it is a count.
    """

    def __init__(self) -> None:
        self.has_dropped = False
        self.is_doubtful = (
            False  # those left out may be a short count whose end has the first index
        )
        self._main: object = None
        self._latest: object = None
        self._in_a_row = 1
        self._has_begun = False
        self._held: list[_Choice] = []
        self._is_apart = False
        self._is_counted = False

    def select(self, choices: list[_Choice]) -> list[_Choice]:
        """Return those that are sure to be of the answer, in their order."""
        if len(choices) == 1:
            is_sure = self._is_apart and choices[0].position == self._main
            return choices if is_sure else self._select_one(choices[0])
        if not choices:
            return []
        if self._is_counted:
            raise ServiceError(_MIXED)
        if self._main is None:
            indices = [choice.position for choice in choices]
            self._main = 0 if 0 in indices or indices[0] is None else indices[0]
        return self._tell_apart(choices)

    def release(self) -> list[_Choice]:
        """Return what is held back, now that no index came twice."""
        held, self._held = self._held, []
        return held

    def is_main(self, choice: _Choice) -> bool:
        return self._is_counted or choice.position in (None, self._main)

    def _select_one(self, choice: _Choice) -> list[_Choice]:
        if self._is_apart:
            return self._keep_main([choice])
        index = choice.position
        if self._main is None:
            self._main = self._latest = 0 if index is None else index
            self._has_begun = choice.says_something
            return [choice]
        if _follows(index, self._latest):
            self._latest = index
            self._in_a_row += 1
            return self._hold(choice)
        if not choice.says_something:
            return []
        if self._is_counted and index is not None and choice.has_text:
            raise ServiceError(_MIXED)
        is_begin = not self._has_begun and not self._held and self.is_main(choice)
        if self._is_counted or is_begin:
            self._has_begun = True
            return [choice]
        return self._tell_apart([choice])

    def _hold(self, choice: _Choice) -> list[_Choice]:
        if self._is_counted:
            return [choice]
        if choice.says_something:
            self._held.append(choice)
        if self._in_a_row <= _MOST_CHOICES:
            return []
        self._is_counted = True
        return self.release()

    def _tell_apart(self, choices: list[_Choice]) -> list[_Choice]:
        self._is_apart = True
        self.has_dropped = self.has_dropped or bool(self._held)
        self.is_doubtful = bool(self._held) and not any(choice.has_text for choice in choices)
        self._held.clear()
        return self._keep_main(choices)

    def _keep_main(self, choices: list[_Choice]) -> list[_Choice]:
        for choice in choices:
            if not self.is_main(choice) and choice.says_something:
                self.has_dropped = True
                self.is_doubtful = False
        return [choice for choice in choices if self.is_main(choice)][:1]


def _parse(chunk: dict[str, Any]) -> list[_Choice]:
    choices = chunk.get("choices")
    if not isinstance(choices, list):
        return []
    is_whole = chunk.get("object") == "chat.completion"
    return [_parse_choice(one, is_whole) for one in choices if isinstance(one, dict)]


def _parse_choice(raw: dict[str, Any], is_whole: bool) -> _Choice:
    index, delta, message = raw.get("index"), raw.get("delta"), raw.get("message")
    if index is not None and type(index) is not int:
        index = repr(index)  # of whatever type, it tells choices apart
    parts: dict[str, Any] = delta if isinstance(delta, dict) else {}
    is_message = isinstance(message, dict) and not _says_something(parts)
    if isinstance(message, dict) and is_message:
        parts = message
    if not isinstance(parts.get("content"), str | None):
        parts = _join_typed_parts(parts)
    reason = raw.get("finish_reason")
    finish_reason = reason if isinstance(reason, str) and reason.strip() else None
    return _Choice(index, parts, is_message, is_whole or finish_reason is not None, finish_reason)


def _join_typed_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Return a delta or message whose content is a list of typed parts, with the content as text.

    Raises ServiceError for a part that is neither text nor reasoning: it would be missing.
    """
    content = parts["content"]
    texts: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for part in content if isinstance(content, list) else [content]:
        kind, text = _typed_part(part)
        texts[kind].append(text)
    joined = {name: "".join(found) for name, found in texts.items()}
    reasoning = joined["reasoning"] + next((parts[one] for one in _REASONING if parts.get(one)), "")
    refusal = joined["refusal"] + (parts.get("refusal") or "")
    return {"content": joined["text"], _REASONING[0]: reasoning, "refusal": refusal}


def _typed_part(part: object) -> tuple[str, str]:
    """Return what a part is (text, reasoning, refusal) and its text."""
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, dict) or not {"type", *_PART_TEXTS} & part.keys():
        raise ServiceError("the service sent an answer whose text is no text")
    kind = part.get("type")
    known = _PART_KINDS.get(kind, "") if isinstance(kind, str | None) else ""
    value = next((part[name] for name in _PART_TEXTS if part.get(name)), "")
    while isinstance(value, dict):
        value = value.get("value") or value.get("text") or ""
    if isinstance(value, list):
        value = "".join(_typed_part(one)[1] for one in value)
    if not known or not isinstance(value, str):
        raise ServiceError(f"the service sent a part of type {str(kind)[:40]!r}, which is no text")
    return known, value


def _says_something(parts: dict[str, Any]) -> bool:
    return bool(parts.get("content") or parts.get("refusal")) or any(
        parts.get(field) for field in _REASONING
    )


def _follows(index: object, latest: object) -> bool:
    return isinstance(index, int) and isinstance(latest, int) and index == latest + 1


def _split(splitter: Splitter, content: str) -> tuple[str, str]:
    """Return the reasoning and the text in a content, as far as they are sure."""
    deltas = list(splitter.feed(content))
    thoughts = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
    return thoughts, "".join(one.text for one in deltas if isinstance(one, TextDelta))
