"""Bytes to server-sent events, wherever the bytes were cut.

Source: WHATWG HTML, 9.2.6 "Interpreting an event stream", with three departures:

- A last event counts without its blank line (clients of 2024 saw Reka's streams end so).
- A line that begins with `{` is an event of its own (Reka's short answers came as one bare JSON
  line; no field of the standard begins so).
- A field `error` is an error event of its own, and an event named "error" counts without data:
  llama-server reported failures as a line `error: {...}` before `data: [DONE]` until 2025-09
  (ggml-org/llama.cpp #16104, #16109). The standard ignores both, and half an answer seems complete.
- A line with no field of the standard is an event of its own without a type, for the same reason:
  some servers write the words of an error into the stream as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reka_cli.errors import ServiceError

MAX_EVENT_BYTES = 16 << 20  # bytes of one event; the longest answers are a thousand times shorter

_LINE_COST = 64  # bytes of memory that a line takes beside its own

_IGNORED = {"", "id", "retry"}  # fields; a comment is a line whose field has no name
_BOM = b"\xef\xbb\xbf"
_LINE_END = rb"\r\n|\n|\r"


@dataclass(frozen=True)
class ServerSentEvent:
    """One event: its type and its data, lines joined by newlines.

    The type is "message" unless the event is named, and "" for a line that is not of the standard.
    """

    event: str
    data: str


def events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Give the events that have data, each as soon as its end is seen; bytes that are not UTF-8 become U+FFFD.

    Raises ServiceError for an event of more than LARGEST bytes, so that memory stays flat whatever comes.
    """
    name = ""
    size = 0
    data: list[str] = []
    for raw in _lines(chunks):
        line = raw.decode("utf-8", "replace")
        if not line:
            yield from _dispatch(name, data)
            name, data, size = "", [], 0
        elif line.startswith("{"):
            is_error = name == "error"
            yield ServerSentEvent("error" if is_error else "message", line)
            name = "" if is_error else name
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
                size += len(raw) + _LINE_COST
                _check_size(size)
            elif field == "event":
                name = "error" if value.lower() == "error" else value
            elif field.lower() == "error":
                if data:
                    yield ServerSentEvent(name or "message", "\n".join(data))
                yield ServerSentEvent("error", value)
                name, data, size = "", [], 0
            elif field not in _IGNORED:
                yield ServerSentEvent("", line)
    yield from _dispatch(name, data)


def _dispatch(name: str, data: list[str]) -> Iterator[ServerSentEvent]:
    if data or name == "error":
        yield ServerSentEvent(name or "message", "\n".join(data))


def _check_size(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise ServiceError(f"the service sent more than {MAX_EVENT_BYTES >> 20} MB as one event")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give whole lines without their ends; a line is complete at its first end byte, a `\\n` after `\\r` is dropped."""
    line = bytearray()  # that has not ended
    after_cr = False
    for chunk in _without_bom(chunks):
        begin = 1 if after_cr and chunk.startswith(b"\n") else 0
        after_cr = chunk.endswith(b"\r") or (after_cr and not chunk)
        *ended, rest = _split(chunk[begin:])
        if ended and line:
            ended[0] = bytes(line + ended[0])
            line.clear()
        yield from ended
        if rest:
            line += rest
            _check_size(len(line))
    if line:
        yield bytes(line)


def _split(chunk: bytes) -> list[bytes]:
    return (
        re.split(_LINE_END, chunk) if b"\r" in chunk else chunk.split(b"\n")
    )  # which takes a tenth of the time


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    begin = b""
    following = iter(chunks)
    for chunk in following:
        begin += chunk
        if len(begin) >= len(_BOM) or not _BOM.startswith(begin):
            break
    yield begin.removeprefix(_BOM)
    yield from following
