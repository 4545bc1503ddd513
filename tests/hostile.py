"""What no service does on purpose: HTTP that is none, streams that do not end, and answers nobody can read.

Seen one by one of proxies, gateways, half-written servers and attackers; none of it is recorded of Reka.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, repeat

import framing
from framing import chunk, chunked, each, head, then, unframed

from reka_cli.sandbox.fault import Fault, Framing, half, whole
from reka_cli.sandbox.steps import (
    BodyPart,
    Cut,
    End,
    RawBytes,
    Say,
    Step,
    Stream,
    Verbatim,
    Wait,
    WholeReply,
)

_HTTP = (
    "nobody does so on purpose: RFC 9110 and 9112 forbid it, or allow it where nobody expects it"
)
_SSE = "allowed or forbidden by WHATWG HTML 9.2, and either way not to be relied on"
_JSON = "JSON that a careless reader trips over (RFC 8259, 9)"
_ENDLESS = "an attacker, or a service that has lost its way"

_SLOW_S, _QUICK_S = 0.05, 0.01  # between two bytes, between two parts
_MANY = 100_000
_LONG = b"x" * 65_536
_API_DELTA = b'data: {"choices": [{"index": 0, "delta": {"%s": "%s"}, "finish_reason": null}]}\n\n'
_TRICKS = (
    "\x1b[31mred \x1b]8;;https://evil.example/\x1b\\a link\x1b]8;;\x1b\\ \x9b2J\x1bP$q\x1b\\ \u202ereversed\u202c "
    "\x1b[201~ \x07\r\n\x1b]0;title\x07"
)


def _as_is(*parts: BodyPart) -> Verbatim:
    return Verbatim(lambda: parts)


def _answer(status: str, *fields: str, body: bytes = b"") -> Verbatim:
    return _as_is(
        head(*fields, f"Content-Length: {len(body)}", "Connection: close", status=status) + body
    )


def _moved(code: int, location: str = "https://elsewhere.invalid/") -> WholeReply:
    return WholeReply(code, headers={"Location": location})


def _for_ever(
    part: bytes, wait_s: float = 0.0, begin: bytes = b""
) -> Callable[[], Iterator[BodyPart]]:
    """After `begin`, one part again and again."""

    def parts() -> Iterator[BodyPart]:
        yield begin
        for again in repeat(part):
            if wait_s:
                yield Wait(wait_s)
            yield again

    return parts


def _error(message: str) -> WholeReply:
    return WholeReply(500, json.dumps({"error": {"message": message}}).encode())


def _half_then(*parts: bytes) -> Callable[[Sequence[str]], list[Step]]:
    return lambda texts: [*half(texts), *map(RawBytes, parts)]


def _half_then_ever(part: bytes | None) -> Callable[[Sequence[str]], Iterator[Step]]:
    """Stay alive and say nothing: with the same text again, or with other bytes."""

    def course(texts: Sequence[str]) -> Iterator[Step]:
        yield from half(texts)
        for _ in repeat(None):
            yield Wait(_QUICK_S)
            yield RawBytes(part) if part else Say(texts[len(texts) // 2 - 1])

    return course


def _growing(texts: Sequence[str]) -> Iterator[Step]:
    """A text so far that grows by four megabytes."""
    for size in count(4, 4):
        yield Say(texts[-1] + "x" * (size << 20))


def _api_deltas(field: bytes, text: bytes) -> Callable[[Sequence[str]], Iterator[Step]]:
    def course(texts: Sequence[str]) -> Iterator[Step]:
        yield from half(texts)
        for _ in repeat(None):
            yield Wait(0)
            yield RawBytes(_API_DELTA % (field, text))

    return course


def _flip_flop(texts: Sequence[str]) -> Iterator[Step]:
    yield from half(texts)
    for number in count():
        yield Wait(0)
        yield Say("tails" if number % 2 else "heads")


def _letter_by_letter(text: str) -> Callable[[Sequence[str]], Iterator[Step]]:
    def course(texts: Sequence[str]) -> Iterator[Step]:
        yield from (Say(text[:end]) for end in range(1, len(text) + 1))
        yield from whole([text + so_far for so_far in texts])

    return course


def _after_the_end(texts: Sequence[str]) -> list[Step]:
    return [
        *whole(texts),
        Say(texts[-1] + " more"),
        RawBytes(b"data: [DONE]\n\n"),
        End("length", texts[-1] + " more"),
    ]


def _after_the_reason(texts: Sequence[str]) -> list[Step]:
    said = End("stop", texts[-1], closing=False)
    return [*map(Say, texts), said, Say(texts[-1] + " more"), End("length", texts[-1] + " more")]


def _utf16(parts: Iterable[BodyPart]) -> Iterator[BodyPart]:
    yield "\ufeff".encode("utf-16-le")
    yield from each(lambda data: data.decode().encode("utf-16-le"))(parts)


def _first(begin: bytes) -> framing.Recode:
    def recoded(parts: Iterable[BodyPart]) -> Iterator[BodyPart]:
        yield begin
        yield from parts

    return recoded


def _changed(old: bytes, new: bytes) -> Framing:
    return chunked(recode=each(lambda data: data.replace(old, new)))


def _numbers(digits: bytes) -> framing.Recode:
    """Other numbers of tokens."""
    return each(lambda data: re.sub(rb'(_tokens": )\d+', lambda match: match[1] + digits, data))


def _twice(parts: Iterable[BodyPart]) -> Iterable[BodyPart]:
    return framing.compressed(31)(framing.compressed(31)(parts))


def _partial(stream: Stream) -> Iterable[BodyPart]:
    yield head(framing.CHUNKED, "Content-Range: bytes 0-9/99", status="206 Partial Content")
    yield from (chunk(part) for part in stream.parts if isinstance(part, bytes))
    yield framing.LAST_CHUNK


def _zip_bomb(_: object) -> Iterable[BodyPart]:
    """A line of a gigabyte in one of a megabyte."""
    return framing.compressed(31)(iter([b"data: ", *repeat(b"x" * (16 << 20), 64)]))


_DEEP = b"[" * _MANY + b"]" * _MANY
_ERROR_HEAD = head(framing.CHUNKED, status="500 Oh", media_type="application/json")

HOSTILE: dict[str, Fault] = {
    # what is no HTTP, or begins like it
    "no-http": Fault("speaks another protocol", _HTTP, _as_is(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "http-0.9": Fault("answers without status and headers", _HTTP, framing=framing.headless),
    "http-2": Fault("speaks HTTP/2", _HTTP, _as_is(b"HTTP/2.0 200 OK\r\n\r\n")),
    "odd-status": Fault("has a status that is no number", _HTTP, _as_is(b"HTTP/1.1 OK OK\r\n\r\n")),
    "status-999": Fault("has a status that nobody knows", _HTTP, _answer("999 ")),
    "endless-status": Fault(
        "never ends its status line", _ENDLESS, Verbatim(_for_ever(_LONG, begin=b"HTTP/1.1 200 "))
    ),
    "endless-headers": Fault(
        "never ends its headers", _ENDLESS, Verbatim(_for_ever(b"X-More: x\r\n", begin=head()[:-2]))
    ),
    "slow-headers": Fault(
        "sends its headers letter by letter",
        _ENDLESS,
        Verbatim(_for_ever(b"x", _SLOW_S, head("X-Long: ")[:-4])),
    ),
    "many-headers": Fault(
        "sends 100000 headers",
        _ENDLESS,
        Verbatim(lambda: [head(*(f"X-{n}: x" for n in range(_MANY)))]),
    ),
    "huge-cookie": Fault(
        "sets a cookie of a megabyte",
        _ENDLESS,
        Verbatim(lambda: [head(f"Set-Cookie: a={'x' * (1 << 20)}")]),
    ),
    "odd-headers": Fault(
        "sends headers that are none",
        _HTTP,
        framing=chunked(
            "X-Null: \0",
            "X-Latin: \xe9\xff",
            " folded",
            ": nameless",
            "X-Esc: \x1b[31m",
            "without colon",
        ),
    ),
    "continue": Fault(
        "says a thousand times to go on",
        _HTTP,
        framing=framing.after(lambda: [b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000),
    ),
    "endless-continue": Fault(
        "says for ever to go on",
        _ENDLESS,
        Verbatim(_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", _QUICK_S)),
    ),
    "early-hints": Fault(
        "hints before it answers",
        _HTTP,
        framing=framing.after(lambda: [b"HTTP/1.1 103 Early Hints\r\n\r\n"]),
    ),
    "reset": Fault("makes the connection void", _HTTP, Cut(reset=True)),
    # statuses that are no answer
    "101": Fault(
        "changes to another protocol",
        _HTTP,
        _as_is(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    ),
    "204": Fault("has nothing to say", _HTTP, _as_is(head(status="204 No Content"))),
    "204-body": Fault(
        "has nothing to say and says it",
        _HTTP,
        _as_is(head("Content-Length: 9", status="204 No Content"), b"data: {}\n"),
    ),
    "205": Fault("wants the form cleared", _HTTP, _answer("205 Reset Content")),
    "206": Fault("gives a part of its answer", _HTTP, framing=_partial),
    "300": Fault("gives a choice", _HTTP, _answer("300 Multiple Choices", body=b"{}")),
    "301": Fault("has moved", _HTTP, _moved(301)),
    "303": Fault("answers elsewhere", _HTTP, _moved(303)),
    "304": Fault("has nothing new", _HTTP, _answer("304 Not Modified")),
    "307": Fault("wants it sent elsewhere", _HTTP, _moved(307)),
    "308": Fault("wants it sent elsewhere for good", _HTTP, _moved(308)),
    "redirect-loop": Fault("sends to the same place", _HTTP, _moved(302, "")),
    "retry-negative": Fault(
        "asks to come back before now", _HTTP, _answer("429 x", "Retry-After: -5")
    ),
    "retry-huge": Fault(
        "asks to come back in ages", _HTTP, _answer("429 x", f"Retry-After: {'9' * 400}")
    ),
    "retry-rubbish": Fault(
        "asks to come back soon", _HTTP, _answer("429 x", "Retry-After: soon; or later \xff")
    ),
    "retry-past": Fault(
        "asks to come back in 1970",
        _HTTP,
        _answer("429 x", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"),
    ),
    # errors that say too much
    "endless-error": Fault(
        "never ends its error", _ENDLESS, Verbatim(_for_ever(chunk(_LONG), begin=_ERROR_HEAD))
    ),
    "slow-error": Fault(
        "tells its error letter by letter",
        _ENDLESS,
        Verbatim(_for_ever(chunk(b"x"), _SLOW_S, _ERROR_HEAD)),
    ),
    "long-error": Fault("tells its error in 100000 words", _ENDLESS, _error("sandbox " * 100_000)),
    "deep-error": Fault("nests its error", _JSON, WholeReply(500, b'{"error": ' + _DEEP + b"}")),
    "error-tricks": Fault("puts escape sequences into its error", _ENDLESS, _error(_TRICKS)),
    # bodies that are not framed as they should be
    "cut-chunk": Fault(
        "breaks off in the size of a chunk", _HTTP, course=half, framing=then(lambda: [b"1"])
    ),
    "odd-chunk": Fault(
        "has a chunk of no size",
        _HTTP,
        course=half,
        framing=then(lambda: [b"size\r\n", *[b"x" * 99]]),
    ),
    "huge-chunk": Fault(
        "announces a chunk of sixteen exabytes",
        _HTTP,
        course=half,
        framing=then(lambda: [b"f" * 16 + b"\r\nx"]),
    ),
    "endless-chunk-size": Fault(
        "never ends the size of a chunk",
        _ENDLESS,
        course=half,
        framing=then(_for_ever(_LONG, begin=b"1;")),
    ),
    "trailers": Fault(
        "sends headers after its answer",
        _HTTP,
        framing=chunked("Trailer: X-Sum", last=b"0\r\nX-Sum: 1\r\n\r\n"),
    ),
    "endless-trailers": Fault(
        "never ends the headers after its answer",
        _ENDLESS,
        framing=then(_for_ever(b"X-Sum: 1\r\n", begin=b"0\r\n")),
    ),
    "short-length": Fault(
        "announces too little",
        _HTTP,
        course=half,
        framing=framing.with_length(lambda size: size, b"data: more\n\n"),
    ),
    "long-length": Fault(
        "announces too much", _HTTP, framing=framing.with_length(lambda size: 10 * size)
    ),
    "long-length-cut": Fault(
        "announces more than comes",
        _HTTP,
        course=half,
        framing=framing.with_length(lambda size: 10 * size),
    ),
    "negative-length": Fault(
        "announces less than nothing", _HTTP, framing=framing.with_length(lambda _: -1)
    ),
    "odd-length": Fault(
        "announces a length that is no number", _HTTP, framing=unframed("Content-Length: many")
    ),
    "two-lengths": Fault(
        "announces two lengths", _HTTP, framing=unframed("Content-Length: 1", "Content-Length: 2")
    ),
    "two-framings": Fault(
        "announces a length and sends chunks", _HTTP, framing=chunked("Content-Length: 5")
    ),
    "odd-framing": Fault(
        "frames its body as nobody knows", _HTTP, framing=unframed("Transfer-Encoding: banana")
    ),
    "http-1.0": Fault("speaks HTTP/1.0", _HTTP, framing=unframed(version=b"1.0")),
    "reset-later": Fault(
        "makes the connection void in the middle",
        _HTTP,
        course=lambda texts: [*half(texts), Cut(reset=True)],
    ),
    "gzip": Fault(
        "compresses unasked",
        _HTTP,
        framing=chunked("Content-Encoding: gzip", recode=framing.compressed(31)),
    ),
    "deflate": Fault(
        "compresses unasked, without a header",
        _HTTP,
        framing=chunked("Content-Encoding: deflate", recode=framing.compressed(15)),
    ),
    "brotli": Fault(
        "compresses unasked, as not all can read",
        _HTTP,
        framing=chunked("Content-Encoding: br", recode=framing.brotli),
    ),
    "gzip-twice": Fault(
        "compresses what is compressed",
        _HTTP,
        framing=chunked("Content-Encoding: gzip, gzip", recode=_twice),
    ),
    "gzip-broken": Fault(
        "says that it compresses", _HTTP, framing=chunked("Content-Encoding: gzip")
    ),
    "gzip-bomb": Fault(
        "compresses a gigabyte of nothing",
        _ENDLESS,
        framing=chunked("Content-Encoding: gzip", recode=_zip_bomb),
    ),
    # streams of events
    "byte-by-byte": Fault(
        "sends each byte for itself", _HTTP, framing=chunked(recode=framing.byte_by_byte)
    ),
    "drip": Fault(
        "sends the rest letter by letter for ever",
        _ENDLESS,
        course=half,
        framing=then(_for_ever(chunk(b"x"), _SLOW_S, chunk(b"data: "))),
    ),
    "comments": Fault(
        "sends nothing but comments for ever", _ENDLESS, course=_half_then_ever(b": alive\n\n")
    ),
    "no-progress": Fault(
        "says nothing new for ever",
        _ENDLESS,
        course=_half_then_ever(None),
        api_course=_half_then_ever(_API_DELTA % (b"content", b"")),
    ),
    "endless-line": Fault(
        "sends an event without end",
        _ENDLESS,
        course=half,
        framing=then(_for_ever(chunk(_LONG), begin=chunk(b"data: "))),
    ),
    "endless-data": Fault(
        "sends an event of lines without end",
        _ENDLESS,
        course=half,
        framing=then(_for_ever(chunk(b"data: x\n" * 4096))),
    ),
    "endless-text": Fault(
        "never ends its answer",
        _ENDLESS,
        course=_growing,
        api_course=_api_deltas(b"content", _LONG[:16384]),
    ),
    "endless-blanks": Fault(
        "sends blanks without end", _ENDLESS, api_course=_api_deltas(b"content", b" " * 4096)
    ),
    "endless-reasoning": Fault(
        "never ends its reasoning", _ENDLESS, api_course=_api_deltas(b"reasoning", _LONG[:16384])
    ),
    "flip-flop": Fault(
        "rewrites its answer for ever", _ENDLESS, course=_flip_flop, api_course=whole
    ),
    "after-end": Fault("goes on after its end", _SSE, course=_after_the_end),
    "after-reason": Fault("goes on after its finish_reason", _SSE, course=_after_the_reason),
    "mark": Fault(
        "begins with a byte order mark", _SSE, framing=chunked(recode=_first(b"\xef\xbb\xbf"))
    ),
    "crlf": Fault("ends its lines with CRLF", _SSE, framing=_changed(b"\n", b"\r\n")),
    "cr": Fault("ends its lines with CR", _SSE, framing=_changed(b"\n", b"\r")),
    "empty-data": Fault(
        "sends events without data",
        _SSE,
        course=lambda texts: [RawBytes(b"data:\n\ndata\n\nevent: message\n\n"), *whole(texts)],
    ),
    "utf-16": Fault("sends UTF-16", _SSE, framing=chunked(recode=_utf16)),
    "no-utf-8": Fault(
        "sends bytes that are not UTF-8", _SSE, framing=_changed(b"sandbox", b"s\xffndbox")
    ),
    "plain-text": Fault(
        "answers in plain text", _SSE, _answer("200 OK", body=b"This is the sandbox.\n")
    ),
    "mislabelled": Fault(
        "calls its stream JSON", _SSE, framing=chunked(media_type="application/json")
    ),
    "unlabelled": Fault("calls its stream nothing", _SSE, framing=unframed(media_type="")),
    "page-as-json": Fault(
        "calls a challenge page JSON",
        _SSE,
        WholeReply(200, b"<!doctype html><title>Just a moment...</title>"),
    ),
    "page-as-stream": Fault(
        "calls a challenge page a stream",
        _SSE,
        WholeReply(200, b"\n <html><title>Just a moment...</title>", "text/event-stream"),
    ),
    "endless-json": Fault(
        "never ends its JSON",
        _ENDLESS,
        Verbatim(_for_ever(_LONG, begin=head(media_type="application/json") + b'{"text": "')),
    ),
    # JSON
    "deep": Fault(
        "nests its JSON 100000 deep", _JSON, course=_half_then(b'data: {"text": ', _DEEP, b"}\n\n")
    ),
    "digits": Fault(
        "sends a number of 10000 digits",
        _JSON,
        course=_half_then(b'data: {"created": ', b"1" * 10_000, b"}\n\n"),
    ),
    "raw-null": Fault(
        "sends bytes that JSON forbids", _JSON, course=_half_then(b'data: {"text": "a\0b"}\n\n')
    ),
    "no-object": Fault("sends JSON that is no object", _JSON, course=_half_then(b"data: [5]\n\n")),
    "no-text": Fault(
        "sends a text that is a number",
        _JSON,
        course=_half_then(b'data: {"text": 5, "choices": [{"delta": {"content": 5}}]}\n\n'),
    ),
    "odd-reason": Fault(
        "ends for a reason that is no word",
        _JSON,
        course=_half_then(
            b'data: {"finish_reason": ["stop"], "choices": [{"finish_reason": ["stop"]}]}\n\n'
        ),
    ),
    "capital-reason": Fault(
        "ends with STOP", _JSON, course=lambda texts: [*map(Say, texts), End("STOP", texts[-1])]
    ),
    "large-counts": Fault(
        "counts tokens in 4000 digits", _JSON, framing=chunked(recode=_numbers(b"9" * 4000))
    ),
    "odd-counts": Fault("counts tokens in words", _JSON, framing=chunked(recode=_numbers(b"true"))),
    "negative-counts": Fault(
        "counts fewer tokens than none", _JSON, framing=chunked(recode=_numbers(b"-1"))
    ),
    "double-keys": Fault(
        "says everything twice in an object",
        _JSON,
        framing=_changed(b'data: {"', b'data: {"text": 5, "choices": 5, "'),
    ),
    "nulls": Fault(
        "puts NUL between its letters",
        _JSON,
        course=lambda texts: whole([text.replace("a", "a\0") for text in texts]),
    ),
    "half-characters": Fault(
        "sends halves of characters", _JSON, framing=_changed(b"stand-in", b"stand\\ud83din")
    ),
    "tricks": Fault(
        "puts escape sequences into its answer, cut anywhere",
        _ENDLESS,
        course=_letter_by_letter(_TRICKS),
    ),
}
