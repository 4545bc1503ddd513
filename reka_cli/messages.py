"""The values that travel: a question on its way down, events on their way up."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

BLOCK_BYTES = 1 << 16

Role = Literal["system", "user", "assistant"]

# docs.reka.ai, API v1 (2024) has "stop", "length" and "context"; other servers have the other names
# (dstack #2229, pi #2106, openai-dotnet #267, autogen #5020). An unknown name is no normal end.
_NORMAL_ENDS = frozenset({"stop", "eos", "eos_token", "end", "end_turn", "stop_sequence"})


class Blocks(Protocol):
    """Bytes that need not be in memory."""

    @property
    def size_bytes(self) -> int: ...

    def blocks(self) -> Iterator[bytes]:
        """Give them in order, from the start each time."""
        ...


@dataclass(frozen=True)
class Encoded:
    """An image as a file holds it: its bytes and what they are (`width` and `height` in pixels)."""

    content: bytes | Blocks = field(repr=False)
    media_type: str
    width: int
    height: int

    @property
    def size_bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.size_bytes

    @property
    def data(self) -> bytes:
        """All of it at once."""
        return self.content if isinstance(self.content, bytes) else b"".join(self.content.blocks())

    @cached_property
    def sha256(self) -> str:
        from hashlib import sha256

        digest = sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        content = self.content
        if isinstance(content, bytes):
            return (content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES))
        return content.blocks()


@dataclass(frozen=True)
class Image(Encoded):
    """A checked image as it will be sent.

    `name` is for messages to the user; `label`, if there is one, is told to the model. `original` is what the user
    gave, its size as it is seen; None if that is what is sent. `notice` is what the user should know of the change.
    """

    name: str
    label: str | None = None
    original: Encoded | None = None
    notice: str | None = None


@dataclass(frozen=True)
class Video:
    """A clip as the model will get it: `url` is http(s), or a data URL that holds it."""

    url: str = field(repr=False)
    name: str


@dataclass(frozen=True)
class Message:
    role: Role
    text: str
    images: tuple[Image, ...] = ()
    videos: tuple[Video, ...] = ()


@dataclass(frozen=True)
class Options:
    """What may be set for one question; None leaves it to the service."""

    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    mmproj: str | None = None  # path of the part of a local model that takes images
    context_tokens: int | None = None  # how much a local model can take at once


@dataclass(frozen=True)
class ChatRequest:
    """A question; an empty `model` leaves the choice to the provider, `schema` is the JSON Schema of the answer."""

    messages: tuple[Message, ...]
    model: str
    options: Options = Options()
    schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class Start:
    """The question is on its way to `model`; the first event."""

    model: str


@dataclass(frozen=True)
class TextDelta:
    """The new part of the answer, never the text so far."""

    text: str


@dataclass(frozen=True)
class ReasoningDelta:
    """The new part of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Something the user should know while the answer goes on: a retry, a rewritten passage."""

    text: str
    is_retry: bool = False  # a request is sent once more


@dataclass(frozen=True)
class Usage:
    """What was counted, and what it costs where the prices are known."""

    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None = None


@dataclass(frozen=True)
class Done:
    """The end; exactly one, last.

    `finish_reason` is the service's own word, None if the stream ended without one.
    `text` is the service's final text where it is not the joined deltas, else None.
    `model_served` is the name that the service itself gives to the model that answered.
    `refusal` is why the model refused to answer, in its words.
    `reasoning` is text that turned out to be reasoning after it was returned as text.
    """

    finish_reason: str | None
    text: str | None = None
    model_served: str | None = None
    refusal: str | None = None
    reasoning: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer has a normal end and the model did not refuse it."""
        if self.finish_reason is None or (self.refusal or "").strip():
            return False
        return self.finish_reason.strip().lower() in _NORMAL_ENDS


Event = Start | TextDelta | ReasoningDelta | Notice | Usage | Done
Events = Generator[Event, None, None]  # to close it is to close the connection it comes from
