"""What a fault is: one way in which a service misbehaves.

It is an answer instead of the stream (`instead`), a course that the stream takes (`course`), in steps that know no
protocol, another way to put the stream on the wire (`framing`), or another text where JSON is due (`json_text`). What one
protocol alone can have leaves the other as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reka_cli.sandbox import instances
from reka_cli.sandbox.steps import (
    BodyPart,
    Cut,
    End,
    Reply,
    Say,
    Separate,
    Step,
    Stream,
    Verbatim,
    WholeReply,
)

Course = Callable[[Sequence[str]], Iterable[Step]]
Framing = Callable[[Stream], Iterable[BodyPart]]


def whole(texts: Sequence[str]) -> Iterator[Step]:
    """The good course: the text grows, then the models' separator comes, then the end without it."""
    yield from map(Say, texts)
    yield Separate(texts[-1])
    yield End("stop", texts[-1])


def half(texts: Sequence[str]) -> list[Step]:
    return [Say(text) for text in texts[: len(texts) // 2]]


@dataclass(frozen=True)
class Fault:
    does: str
    source: str
    instead: WholeReply | Verbatim | Cut | None = None
    course: Course = whole
    api_course: Course | None = None  # where the API's protocol goes another way
    framing: Framing | None = None
    json_text: Callable[[Any], str] = (
        instances.valid_json
    )  # schema -> the answer that is to satisfy it
    once: bool = False  # only every other request, so that one more attempt succeeds
    for_images: bool = False  # only where there is an image
    framed: bool = True  # with Content-Length or chunks; else the body ends with the connection

    def strikes(self, *, has_image: bool) -> WholeReply | Verbatim | Cut | None:
        """Give the answer instead of the stream, if there is to be one."""
        return self.instead if has_image or not self.for_images else None

    def put(self, parts: Iterable[BodyPart], media_type: str = "text/event-stream") -> Reply:
        """Give the reply that sends these parts."""
        stream, framing = Stream(parts, media_type, self.framed), self.framing
        return stream if framing is None else Verbatim(lambda: framing(stream))

    def json_answer(self, schema: Any, turns: int) -> str:
        """Give the answer to a schema; who fails once is right in a later turn, whichever server it comes to."""
        return instances.valid_json(schema) if self.once and turns > 1 else self.json_text(schema)


NO_FAULT = Fault("answers", "")
