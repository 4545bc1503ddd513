"""The JSON objects of an answer, whether they are streamed or come in one body."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Protocol

from reka_cli.errors import (
    DeadlineExceeded,
    IncompleteAnswer,
    NetworkError,
    Refused,
    RekaError,
    ServiceError,
)
from reka_cli.messages import Event, Notice
from reka_cli.transport import Response, sse

_ANSWER_FIELDS = {"choices", "finish_reason", "text"}  # an answer has one, on either protocol
_CHUNK_FIELDS = _ANSWER_FIELDS | {"usage"}
_PAGE = "the service answered with a web page where an answer was due"
_NOT_JSON = "the service sent something that is not JSON in its answer"
_BLANK = b"\xef\xbb\xbf \t\r\n"  # or a byte order mark
_DONE = frozenset({"[DONE]", "DONE"})  # the second: googleapis/java-genai #1084
_HEARTBEATS = frozenset({"ping", "pong", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
_FIELD = rb"\Z|:|(?:data|event|id|retry)\b"
_BEGINNING = 64  # bytes
_LARGEST_BODY = 1 << 20  # bytes of an answer that is not streamed
Objects = Generator[dict[str, Any] | None, None, None]


class Assembly(Protocol):
    """What puts an answer together, and knows whether it has ended."""

    finish_reason: str | None

    @property
    def has_ended(self) -> bool: ...

    @property
    def rest_s(self) -> float: ...

    def read(self, found: dict[str, Any], /) -> Iterator[Event]: ...

    def end(self, *, is_done: bool) -> Iterator[Event]: ...


def read_answer(response: Response, answer: Assembly) -> Iterator[Event]:
    """Read a response to its end into `answer`, and yield the events.

    A finish reason ends the answer, or `[DONE]` if everything before it was understood. What fails
    after the end is a notice.
    """
    unread: list[str] = []
    is_done = False
    rest_s = math.inf
    had_ended = False
    try:
        for found in json_objects(response, unread):
            if found is None:
                is_done = True
                break
            yield from answer.read(found)
            has_ended = answer.has_ended
            if (has_ended or had_ended) and answer.rest_s != rest_s:
                rest_s = answer.rest_s
                response.end_within(rest_s)
            had_ended = has_ended
    except (NetworkError, DeadlineExceeded, ServiceError) as error:
        if not answer.has_ended:
            raise
        if isinstance(error, ServiceError):
            yield Notice(f"after the end of the answer: {error.message}")
    yield from answer.end(is_done=is_done and not unread)
    if unread and answer.finish_reason is None:
        raise IncompleteAnswer(f"the answer was cut off; the service said: {unread[0]}")


def json_objects(response: Response, unread: list[str]) -> Objects:
    """Return each object as it arrives, and None for `[DONE]`, after which nothing is read.

    The words of the first event that is no part of an answer are added to `unread`: it may be an
    error. Events that carry nothing, such as `null` and heartbeats, are skipped.

    Raises ServiceError for an error event or an `error` field, and for what is not JSON or not an
    object; and what reading raises.
    """
    if _is_json(response.media_type):
        return _whole_answer(response, response.body())
    return _streamed_objects(response, unread)


def _streamed_objects(response: Response, unread: list[str]) -> Objects:
    beginning = bytearray()
    has_events = False
    with closing(response.chunks()) as chunks:
        body = _reject_web_page(chunks, beginning)
        for event in sse.events(_join_pretty_json(body)):
            has_events = has_events or bool(event.event)
            data = event.data
            if event.event == "message" and data.startswith("{"):
                found = _object(response, data)
                yield found
                if not unread and _CHUNK_FIELDS.isdisjoint(found) and not _is_chunk(found):
                    unread.append(response.quote(found) or response.quote(data))
                continue
            if event.event == "error":
                raise _error(response, _parse(data))
            if data.strip(' \t\r\n\ufeff"').upper() in _DONE:
                response.drain()
                yield None
                return
            for odd in _objects_of_odd_event(response, event):
                if odd is not None:
                    yield odd
                elif not unread:
                    unread.append(response.quote(_parse(data)) or response.quote(data))
    if not has_events:
        _check_is_stream(beginning, unread)


def _check_is_stream(beginning: bytearray, unread: list[str]) -> None:
    """Raise ServiceError for a body without events that does not begin as an event stream does."""
    if re.match(_FIELD, beginning.lstrip(_BLANK)):
        return
    message = "the response is not an event stream"
    if unread and _is_readable(unread[0]):
        message += f": {unread[0]}"
    raise ServiceError(message)


def tokens(value: object) -> int | None:
    """Return a number of tokens as a service counts them; None for what is not one."""
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _whole_answer(response: Response, body: bytes) -> Objects:
    """Yield the object of an answer that is not streamed."""
    if _is_page(body):
        raise Refused(_PAGE)
    text = body.decode("utf-8-sig", "replace")
    value = _parse(text)
    if value is None:
        return
    if isinstance(value, str) and value == text:
        raise ServiceError(_NOT_JSON)
    whole = _checked(response, value)
    words = "" if whole.keys() & _ANSWER_FIELDS else response.quote(whole)
    if words:
        raise _error(response, whole)
    yield whole


def _objects_of_odd_event(response: Response, event: sse.ServerSentEvent) -> Objects:
    """Yield the objects of an event that is not just one object, and None if it cannot be read."""
    data = event.data.strip(" \t\r\n\ufeff")
    value = _parse(data)
    is_text = isinstance(value, str)
    if is_text and value.startswith("{") and value != data:
        value = _parse(value)  # JSON in a JSON string
    if _carries_nothing(value):
        return
    if event.event != "message":
        is_part = isinstance(value, dict) and ("choices" in value or "usage" in value)
        yield _checked(response, value) if is_part else None
        return
    if is_text and value == data:
        words = (
            "" if data.startswith(("{", "[")) or not _is_readable(data) else response.quote(data)
        )
        raise ServiceError(f"{_NOT_JSON}: {words}" if words else _NOT_JSON)
    for one in value if isinstance(value, list) else [value]:
        yield _checked(response, one)


def _carries_nothing(value: object) -> bool:
    if isinstance(value, str):
        return not value or value.lower() in _HEARTBEATS
    if isinstance(value, dict):
        kind = value.get("type")
        return not value or (isinstance(kind, str) and kind.lower() in _HEARTBEATS)
    return not value or isinstance(value, int | float)


def _parse(data: str) -> Any:
    """Return parsed JSON, or the text itself if it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data


def _object(response: Response, data: str) -> dict[str, Any]:
    """Return the object of an event. Raises ServiceError for an error, and for what is not JSON."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServiceError(_NOT_JSON) from error
    return _checked(response, found)


def _checked(response: Response, value: object) -> dict[str, Any]:
    """Return a value that is an object without an error; raise ServiceError for every other."""
    failed = _find_error(value)
    if failed is not None:
        raise _error(response, failed)
    if isinstance(value, dict):
        return value
    if response.quote(value):
        raise _error(response, value)
    raise ServiceError("the service sent an answer that is no object")


def _find_error(value: object) -> dict[str, Any] | None:
    """Return the object that has an error: the whole one, or one in its `choices`."""
    if not isinstance(value, dict):
        return None
    if value.get("error") or value.get("errors") or value.get("err"):
        return value
    if value.get("object") == "error" or value.get("type") == "error":
        return value
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        failed = _find_error_of_choice(choice)
        if failed is not None:
            return failed
    return None


def _find_error_of_choice(choice: object) -> dict[str, Any] | None:
    if not isinstance(choice, dict):
        return None
    if choice.get("error"):
        return choice
    delta, message = choice.get("delta"), choice.get("message")
    if isinstance(delta, dict) and delta.get("error"):
        return delta
    if isinstance(message, dict) and message.get("error"):
        return message
    return None


def _error(response: Response, value: object) -> RekaError:
    words = response.quote(value) or "it does not say which"
    return ServiceError(f"the service reported an error: {words}")


def _is_chunk(found: dict[str, Any]) -> bool:
    """Return whether an object without a field of a chunk carries nothing of an answer."""
    return found.get("object") == "chat.completion.chunk" or _carries_nothing(found)


def _is_json(media_type: str) -> bool:
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def _is_readable(text: str) -> bool:
    """Return whether a text can be shown: it is not that of another encoding."""
    return "\ufffd" not in text and "\0" not in text


def _reject_web_page(chunks: Iterable[bytes], beginning: bytearray) -> Iterator[bytes]:
    """Pass a stream on, unless it begins as a web page does, whatever its type; keep its beginning."""
    for chunk in chunks:
        if len(beginning) < _BEGINNING:
            beginning += chunk[:_BEGINNING]
            if _is_page(beginning):
                raise Refused(_PAGE)
        yield chunk


def _is_page(body: bytes | bytearray) -> bool:
    return body.lstrip(_BLANK).startswith(b"<")


def _join_pretty_json(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass a stream on; a body that is one JSON value over several lines is put on one line.

    Some servers send a body that is not streamed, but call it an event stream or plain text.
    """
    first = next(chunks, b"")
    if re.match(rb"[\[{]\s*[\r\n]", first.lstrip(_BLANK)):
        body = bytearray(first)
        for chunk in chunks:
            body += chunk
            if len(body) > _LARGEST_BODY:
                raise ServiceError(
                    f"the service sent more than {_LARGEST_BODY >> 20} MB as one answer"
                )
        value = _parse(body.decode("utf-8-sig", "replace"))
        first = bytes(body) if isinstance(value, str) else b"data: " + json.dumps(value).encode()
    yield first
    yield from chunks
