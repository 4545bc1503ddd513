"""The steps an answer takes, in terms of no protocol, and the replies that the protocols make of them; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Say:
    """The whole text so far."""

    text: str


@dataclass(frozen=True)
class Think:
    """The whole trace of reasoning so far, and where the API's protocol puts it."""

    text: str
    field: Literal["reasoning_content", "reasoning"] = "reasoning_content"


@dataclass(frozen=True)
class Separate:
    """The models' separator after the text; the API's protocol keeps it to itself."""

    text: str


@dataclass(frozen=True)
class BareLine:
    """The whole answer as one JSON line that is no server-sent event; on the web's protocol alone."""

    text: str


@dataclass(frozen=True)
class Fail:
    """An error as a field of an event."""

    message: str


@dataclass(frozen=True)
class RawBytes:
    """Bytes put into the stream as they are."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Cut:
    """The connection breaks off: it ends, or with `reset` the other side is told that it is void."""

    reset: bool = False


@dataclass(frozen=True)
class End:
    """The regular end, with its reason and the final text.

    On the API's protocol usage and `[DONE]` follow, unless `closing` is false.
    """

    finish_reason: str
    text: str
    closing: bool = True


Step = Say | Think | Separate | BareLine | Fail | RawBytes | Wait | Cut | End
BodyPart = bytes | Wait | Cut


@dataclass(frozen=True)
class WholeReply:
    """An HTTP answer that is no stream."""

    code: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """A body in parts, with status 200; unframed, it has neither length nor chunks and ends with the connection."""

    parts: Iterable[BodyPart]
    media_type: str = "text/event-stream"
    framed: bool = True


@dataclass(frozen=True)
class Verbatim:
    """Bytes as they go over the wire, status line and all, made anew for each request; then the connection ends."""

    parts: Callable[[], Iterable[BodyPart]]


Reply = WholeReply | Stream | Verbatim | Cut


def limit_words(steps: Iterable[Step], most_words: int) -> Iterator[Step]:
    """End with `length` where more would be thought and said than so many words."""
    thought = said = ""
    for step in steps:
        match step:
            case Think(text) if len(f"{text} {said}".split()) <= most_words:
                thought = text
            case Say(text) if len(f"{thought} {text}".split()) <= most_words:
                said = text
            case Think() | Say():
                yield End("length", said)
                return
        yield step
