"""Misbehaviour on request: ask for a model called `sandbox-NAME`, and the sandbox fails as services do.

Each fault says where it was seen, or that it is assumed. A fault is either an answer instead of the stream
(`status`) or a course the stream takes (`course`), in steps that know no wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

PREFIX = "sandbox-"


@dataclass(frozen=True)
class Say:
    """The whole text so far, as the wire sends it."""

    text: str


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Raw:
    """Bytes put into the stream as they are."""

    data: bytes


@dataclass(frozen=True)
class BareLine:
    """The whole answer as one JSON line that is no server-sent event."""

    text: str


@dataclass(frozen=True)
class End:
    """The regular end, with its reason and the final text."""

    finish_reason: str
    text: str


@dataclass(frozen=True)
class Cut:
    """The connection breaks off."""


Step = Say | Wait | Raw | BareLine | End | Cut
Course = Callable[[Sequence[str]], Iterable[Step]]


@dataclass(frozen=True)
class Status:
    """An HTTP answer instead of a stream."""

    code: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    does: str
    source: str
    status: Status | None = None
    course: Course | None = None
    once: bool = False  # only every other request, so that one more attempt succeeds
    close_framing: bool = False  # no Content-Length, no chunks: the body ends with the connection
    hang_up: bool = False  # no answer at all


def whole(texts: Sequence[str]) -> Iterator[Step]:
    """The good course: the text grows, then the models' separator comes letter by letter, then the end without it."""
    yield from map(Say, texts)
    for length in range(1, len(_SEPARATOR) + 1):
        yield Say(texts[-1] + _SEPARATOR[:length])
    yield End("stop", texts[-1])


def find(model: str) -> Fault | None:
    """Give the fault that a model name asks for; any other name answers normally."""
    return FAULTS.get(model.removeprefix(PREFIX)) if model.startswith(PREFIX) else None


_SEPARATOR = "\n <sep>"
_CHALLENGE = b"<!doctype html><title>Just a moment...</title><p>sandbox: this stands for a challenge page"
_GARBAGE = b"data: {not json\n\n"
_ERROR_EVENT = b'event: error\ndata: {"message": "the sandbox gives up"}\n\n'
_ERROR_FIELD = b'data: {"error": "the sandbox gives up"}\n\n'
_OTHER_EVENTS = b': a comment\n\nevent: ping\ndata: 1\n\ndata: {"type": "search", "text": "sandbox"}\n\n'
_ESCAPES = "\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r"


def _half(texts: Sequence[str]) -> list[Step]:
    return [Say(text) for text in texts[: len(texts) // 2]]


def _ended_early(texts: Sequence[str], finish_reason: str) -> list[Step]:
    half = texts[: len(texts) // 2]
    return [*map(Say, half), End(finish_reason, half[-1])]


def _take_back(texts: Sequence[str]) -> list[Step]:
    return [*map(Say, texts), End("stop", texts[len(texts) // 2])]


def _slow(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield Wait(0.05)
        yield step


def _repeat(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield from (step, step) if isinstance(step, Say) else (step,)


def _rewrite(texts: Sequence[str]) -> Iterator[Step]:
    yield from _half(texts)
    yield from (Say(text.replace("a stand-in", "a substitute", 1)) for text in texts[len(texts) // 2 :])
    yield End("stop", texts[-1].replace("a stand-in", "a substitute", 1))


def _error(code: int, message: str, **headers: str) -> Status:
    body = f'{{"error": {{"type": "sandbox", "message": "{message}"}}}}'.encode()
    return Status(code, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


_ASSUMED = "assumed: nobody recorded this of Reka's web session"
_HTTP = "assumed of Reka; what HTTP services in general do"
_V1 = "a finish_reason of API v1, 2024"
_A6, _A7, _A8 = (f"seen by clients: docs/protocols.md, {section}" for section in ("A6", "A7", "A8"))

FAULTS: dict[str, Fault] = {
    "400": Fault("refuses the request", _HTTP, _error(400, "the sandbox refuses this request")),
    "401": Fault("takes no token", _HTTP, _error(401, "Unauthorized")),
    "401-once": Fault("wants a fresh token", _HTTP, _error(401, "Unauthorized"), once=True),
    "402": Fault("wants money", "docs/protocols.md, B9: P001", _error(402, "P001: Insufficient Balance")),
    "403": Fault("forbids it", _HTTP, Status(403, _CHALLENGE, "text/html")),
    "404": Fault("knows no such model", "docs/protocols.md, B8", _error(404, "no such model")),
    "413": Fault("finds it too large", _HTTP, Status(413)),
    "422": Fault(
        "finds it malformed", "docs/protocols.md, B9", Status(422, b'{"detail": [{"msg": "field required"}]}')
    ),
    "429": Fault("is asked too often", _A8, _error(429, "slow down")),
    "429-later": Fault("asks to come back in an hour", _HTTP, _error(429, "slow down", Retry_After="3600")),
    "429-once": Fault("is asked too often, once", _A8, _error(429, "slow down", Retry_After="0"), once=True),
    "500": Fault("fails", _HTTP, _error(500, "internal error")),
    "502": Fault("has no service behind its gateway", _HTTP, Status(502, b"<h1>Bad Gateway</h1>", "text/html")),
    "503": Fault("is overloaded", _HTTP, _error(503, "overloaded")),
    "503-once": Fault("is overloaded, once", _HTTP, _error(503, "overloaded", Retry_After="0"), once=True),
    "504": Fault("takes too long behind its gateway", _HTTP, Status(504, b"", "text/plain")),
    "html": Fault("serves a challenge page with status 200", _ASSUMED, Status(200, _CHALLENGE, "text/html")),
    "redirect": Fault("sends elsewhere", _ASSUMED, Status(302, headers={"Location": "https://elsewhere.invalid/"})),
    "hang-up": Fault("closes the connection without an answer", _HTTP, hang_up=True),
    "silent": Fault("never begins", _HTTP, course=lambda _: [Wait(3600)]),
    "empty": Fault("ends without a word", _HTTP, course=lambda _: [Say(""), End("stop", "")]),
    "nothing": Fault("sends an empty body", _HTTP, course=lambda _: []),
    "cut": Fault("breaks off in the middle", _HTTP, course=lambda texts: [*_half(texts), Cut()]),
    "no-end": Fault("stops without a finish_reason", _A6, course=lambda texts: map(Say, texts)),
    "length": Fault("reaches its longest answer", _V1, course=lambda texts: _ended_early(texts, "length")),
    "context": Fault("runs out of context", _V1, course=lambda texts: _ended_early(texts, "context")),
    "filtered": Fault("filters the rest", _ASSUMED, course=lambda texts: _ended_early(texts, "content_filter")),
    "stall": Fault("falls silent in the middle", _HTTP, course=lambda texts: [*_half(texts), Wait(3600)]),
    "garbage": Fault("sends what is no JSON", _ASSUMED, course=lambda texts: [*_half(texts), Raw(_GARBAGE)]),
    "error-event": Fault("reports an error", _ASSUMED, course=lambda texts: [*_half(texts), Raw(_ERROR_EVENT)]),
    "error-field": Fault(
        "reports an error as a field", _ASSUMED, course=lambda texts: [*_half(texts), Raw(_ERROR_FIELD)]
    ),
    "rewrite": Fault("rewrites what it already sent", _ASSUMED, course=_rewrite),
    "take-back": Fault("takes the end of its answer back", _A7, course=_take_back),
    "repeat": Fault("sends each text twice", _ASSUMED, course=_repeat),
    "blanks": Fault("begins with blanks", _A7, course=lambda texts: whole(["  " + text for text in texts])),
    "bare-json": Fault("answers with one bare JSON line", _A7, course=lambda texts: [BareLine("  " + texts[-1])]),
    "other-events": Fault("sends other events too", _A6, course=lambda texts: [Raw(_OTHER_EVENTS), *whole(texts)]),
    "osc52": Fault("tries to rule the terminal", _ASSUMED, course=lambda texts: whole([_ESCAPES + t for t in texts])),
    "only-escapes": Fault("sends nothing but escape sequences", _ASSUMED, course=lambda _: whole([_ESCAPES])),
    "close": Fault("ends its body by closing the connection", _HTTP, course=whole, close_framing=True),
    "slow": Fault("says twenty words a second", "that is how models speak", course=_slow),
}
