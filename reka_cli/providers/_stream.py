"""The JSON objects of an answer, whether they are streamed or come in one body."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

from reka_cli.errors import Refused, ServiceError
from reka_cli.transport import Response, sse

_PARTS = {"choices", "finish_reason", "text"}  # what an answer has one of, on either protocol
_PAGE = "the service answered with a web page where an answer was due"
_BLANK = b"\xef\xbb\xbf \t\r\n"  # or a byte order mark
_IN_A_STREAM = _PARTS | {"usage"}  # what else a chunk may have
_DONE = frozenset({"[DONE]", "DONE"})  # the second: googleapis/java-genai #1084
_FIELD = rb"\Z|:|(?:data|event|id|retry)\b"
_HOW_IT_BEGINS = 64  # bytes
Objects = Generator[dict[str, Any] | None, None, None]


def json_objects(response: Response, left_out: list[str] | None = None) -> Objects:
    """Give each object as it comes, and None for `[DONE]`, after which nothing is read.

    Events of other types than "message" are left out. The words of the first one, or of the first
    object that is no part of an answer, are added to `left_out`: it may be an error.

    Raises ServiceError for an error event or an `error` field, for what is not JSON, and for what
    is no object; and whatever reading raises.
    """
    if response.media_type == "application/json":
        yield from _whole_answer(response)
        return
    begin = bytearray()
    any_came = False
    with closing(response.chunks()) as chunks:
        for event in sse.events(_reject_web_page(chunks, begin)):
            any_came = any_came or bool(event.event)
            found: dict[str, Any] | None = None
            if event.event == "error":
                _object(response, event.data, event.event)
            if event.data.strip().strip('"') in _DONE:
                response.drain()
                yield None
                return
            if event.event == "message" and event.data.strip():
                found = _object(response, event.data, event.event)
                if found is None:
                    continue
                yield found
            if left_out == [] and event.data.strip() and not _is_part(found):
                left_out.append(response.quote(found) or response.quote(event.data))
    if not any_came and not re.match(_FIELD, begin.lstrip(_BLANK)):
        raise ServiceError("the service sent something that is no stream of events")


def _whole_answer(response: Response) -> Objects:
    """Yield the object of an answer that is not streamed."""
    body = response.body()
    if _is_page(body):
        raise Refused(_PAGE)
    whole = _object(response, body.decode("utf-8-sig", "replace"), "message")
    if whole is None:
        return
    words = "" if whole.keys() & _PARTS else response.quote(whole)
    if words:
        raise ServiceError(f"the service reported an error: {words}")
    yield whole


def tokens(value: object) -> int | None:
    """Give a number of tokens as a service counts them; None for what is none."""
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _is_part(found: dict[str, Any] | None) -> bool:
    """Return whether an object is one of those that an answer is streamed in."""
    if found is None:
        return False
    return not _IN_A_STREAM.isdisjoint(found) or found.get("object") == "chat.completion.chunk"


def _reject_web_page(chunks: Iterable[bytes], begin: bytearray) -> Iterator[bytes]:
    """Pass a stream on, unless it begins as a web page does, whatever type it claims; keep how it begins."""
    for chunk in chunks:
        if len(begin) < _HOW_IT_BEGINS:
            begin += chunk[:_HOW_IT_BEGINS]
            if _is_page(begin):
                raise Refused(_PAGE)
        yield chunk


def _is_page(body: bytes | bytearray) -> bool:
    return body.lstrip(_BLANK).startswith(b"<")


def _object(response: Response, data: str, event: str) -> dict[str, Any] | None:
    """Return the object of an event; None for `null`, which some servers send to keep a line open.

    Raises ServiceError for an error, and for what is no object.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        if event != "error":
            raise ServiceError(
                "the service sent something that is not JSON in its answer"
            ) from error
        found = {"error": data}
    failed = found if event == "error" else _find_error(found)
    if event == "error" or failed is not None:
        raise ServiceError(
            f"the service reported an error: {response.quote(failed) or 'it does not say which'}"
        )
    if found is not None and not isinstance(found, dict):
        words = response.quote(found)
        if words:
            raise ServiceError(f"the service reported an error: {words}")
        raise ServiceError("the service sent an answer that is no object")
    return found


def _find_error(found: object) -> dict[str, Any] | None:
    """Return the object that has an `error`: the whole one, or one of its `choices`."""
    if not isinstance(found, dict):
        return None
    if found.get("error") or found.get("object") == "error":
        return found
    choices = found.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        for part in (choice, choice.get("delta"), choice.get("message")):
            if isinstance(part, dict) and part.get("error"):
                return part
    return None
