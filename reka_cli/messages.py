"""The values that travel: a question on its way down, events on their way up."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Image:
    """A checked picture: encoded bytes as they will be sent, and what they are (`width` and `height` in pixels)."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    name: str


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
    mmproj: str | None = None  # path of the part of a local model that takes pictures
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
    """

    finish_reason: str | None
    text: str | None = None
    model_served: str | None = None


Event = Start | TextDelta | ReasoningDelta | Notice | Usage | Done
Events = Generator[Event, None, None]  # to close it is to close the connection it comes from
