"""The one answer in the chunks of an OpenAI-compatible stream.

Some servers send the whole `message` after its deltas, or the text so far in every chunk
(hermes-browser-extension #11, ragflow #15286), which would double the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reka_cli.errors import ServiceError
from reka_cli.messages import Event
from reka_cli.providers._assembly import AnswerAssembly, split
from reka_cli.providers._choices import MIXED, Choice, ChoiceSelection, parse_choices
from reka_cli.providers._reasoning import Splitter

_FEWEST_DELTAS = 3  # before a last delta that repeats them
_SHORTEST_REPEAT = 16  # characters of it; "no, no" may be an answer
_SHORTEST_PHRASE = 8  # characters of words that no delta begins with by chance


class ChatAnswer(AnswerAssembly):
    """Put an answer together: `read` each chunk, then `end`; both yield what is new.

    Raises ServiceError for several answers that cannot be told apart, and for what is not text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.usage: object = None
        self.model_served: object = None
        self._selection = ChoiceSelection()
        self._deltas = 0
        self._first_message: str | None = None
        self._messages_grow: bool | None = None  # or are parts; None until the second
        self._deltas_grow: bool | None = None  # likewise; None until the second or third
        self._first_delta = ""
        self._held_delta = ""  # begins with the first one

    def read(self, chunk: dict[str, Any]) -> Iterator[Event]:
        """Yield what a chunk adds."""
        self.model_served = chunk.get("model") or self.model_served
        self.usage = chunk.get("usage") or self.usage
        for choice in self._selection.select(parse_choices(chunk)):
            yield from self._read_choice(choice)

    def end(self, *, is_done: bool) -> Iterator[Event]:
        """Yield what was held back; `is_done` is whether the service said `[DONE]`."""
        for choice in self._selection.release():
            yield from self._read_choice(choice)
        yield from self._release_delta()
        is_open = self.finish_reason is None
        if self._selection.is_doubtful or (is_open and is_done and self._selection.has_dropped):
            raise ServiceError(MIXED)
        if is_open and is_done:
            self.finish_reason = "stop"
        yield from self._flush()

    def _read_choice(self, choice: Choice) -> Iterator[Event]:
        has_ended = self.finish_reason is not None
        if has_ended and not (self._selection.is_main(choice) and self._adds(choice)):
            return
        content = choice.content
        if content:
            self._texts += 1
        if has_ended:
            yield from self._take_back_end()
        if content.refusal:
            self._add_refusal(content.refusal, is_whole=choice.is_message)
        if self._held_delta and choice.is_message:
            yield from self._release_delta(content.text)
        yield from self._read_content(choice)
        self.finish_reason = choice.finish_reason

    def _read_content(self, choice: Choice) -> Iterator[Event]:
        content = choice.content
        if self._is_whole(choice):
            yield from self._update_reasoning(content.reasoning)
            if content.text.strip():  # else a message repeats nothing, and takes nothing back
                yield from self._update(content.text)
        else:
            if content.reasoning:
                yield from self._add_reasoning(content.reasoning)
            if content.text:
                self._deltas += 1
                if self._deltas_grow is False:
                    yield from self._add(content.text)
                else:
                    yield from self._read_early_delta(content.text)

    def _read_early_delta(self, text: str) -> Iterator[Event]:
        """Read one of the first deltas, which show whether each has the whole text so far.

        A second delta that begins with the first one is held back, unless that is no chance.
        """
        first, held = self._first_delta, self._held_delta
        if self._deltas_grow:
            yield from self._update(text)
        elif held:
            self._held_delta = ""
            self._deltas_grow = text.startswith(held) and len(text) > len(held)
            if self._deltas_grow:
                yield from self._update(text)
            else:
                yield from self._add(held)
                yield from self._add(text)
        elif not first.strip():
            self._first_delta = text
            yield from self._add(text)
        elif _grows(first, text):
            if len(first) >= _SHORTEST_PHRASE and " " in first.strip():
                self._deltas_grow = True
                yield from self._update(text)
            else:
                self._held_delta = text
        else:
            self._deltas_grow = False
            yield from self._add(text)

    def _release_delta(self, following: str = "") -> Iterator[Event]:
        """Pass on the delta that is held back, unless the text that follows begins with it."""
        held, self._held_delta = self._held_delta, ""
        if held and not following.startswith(held):
            self._deltas_grow = False
            yield from self._add(held)

    def _is_whole(self, choice: Choice) -> bool:
        """Return whether a choice has the whole text, not the next part of it.

        A message after deltas is whole. Where there are only messages, the second shows whether
        they grow or are parts.
        """
        text = choice.content.text
        if not choice.is_message or self._messages_grow is False:
            return choice.is_last and self._repeats(choice)
        if self._deltas or self._messages_grow or not text:
            return True
        if self._first_message is None:
            self._first_message = text
            return True
        self._messages_grow = text.startswith(self._first_message)
        return self._messages_grow

    def _repeats(self, choice: Choice) -> bool:
        """Return whether the last part is the entire text so far, once more."""
        text = choice.content.text
        is_long = self._deltas >= _FEWEST_DELTAS and len(text) >= _SHORTEST_REPEAT
        return (is_long or choice.is_message) and self._is_shown(text)

    def _is_shown(self, text: str) -> bool:
        if len(text) < self._text.size or not text.strip():
            return False
        return split(Splitter(), text)[1] == self._text.shown

    def _adds(self, choice: Choice) -> bool:
        """Return whether a choice after the end of the answer has more than the answer once more."""
        content = choice.content
        if not choice.is_message and content.reasoning:
            return True
        return bool(content.text.strip()) and not self._is_shown(content.text)


def _grows(first: str, text: str) -> bool:
    """Return whether a text begins with another one and is not that one several times."""
    return text.startswith(first) and bool(text.replace(first, "").strip())
