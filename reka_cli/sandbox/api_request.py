"""The body of a chat completion, held against the rules of the API and read into what the sandbox needs of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reka_cli.sandbox.answers import MeasuredImage, VideoInfo, measure

_MOST_IMAGES = 3


@dataclass(frozen=True)
class ParsedRequest:
    """A request: `question` is the text of the last user message, `words` counts those of all messages."""

    model: str
    question: str
    images: Sequence[MeasuredImage]
    clips: Sequence[VideoInfo]
    turns: int  # without the system message
    words: int
    streamed: bool
    max_tokens: int | None
    schema: Any = None  # of the answer; None if it is to be text


def read(body: bytes) -> ParsedRequest:
    """Read a request; raise ValueError with what is wrong with it."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is no JSON: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise ValueError("model: required, a string")
    max_tokens = request.get("max_tokens")
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise ValueError("max_tokens: must be a positive integer")
    messages = list(_messages(request.get("messages")))
    questions = [" ".join(_parts_of_kind(str, parts)) for role, parts in messages if role == "user"]
    if not questions:
        raise ValueError("messages: there is no user message")
    parts = [part for _, parts in messages for part in parts]
    images = _parts_of_kind(MeasuredImage, parts)
    if len(images) > _MOST_IMAGES:
        raise ValueError(f"messages: at most {_MOST_IMAGES} images per prompt, not {len(images)}")
    return ParsedRequest(
        model=request["model"],
        question=questions[-1],
        images=images,
        clips=_parts_of_kind(VideoInfo, parts),
        turns=sum(role != "system" for role, _ in messages),
        words=sum(len(text.split()) for text in _parts_of_kind(str, parts)),
        streamed=request.get("stream") is True,
        max_tokens=max_tokens,
        schema=_schema(request.get("response_format")),
    )


_Part = str | MeasuredImage | VideoInfo
_Kind = TypeVar("_Kind", str, MeasuredImage, VideoInfo)


def _parts_of_kind(kind: type[_Kind], parts: Sequence[_Part]) -> list[_Kind]:
    return [part for part in parts if isinstance(part, kind)]


def _messages(messages: Any) -> Iterator[tuple[str, list[_Part]]]:
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: required, a list that is not empty")
    for index, message in enumerate(messages):
        match message:
            case {"role": "system"} if index:
                raise ValueError("messages: a system message can only be the first")
            case {"role": "system" | "assistant" | "user" as role, "content": str(text)}:
                yield role, [text]
            case {"role": "user", "content": [_, *_] as parts}:
                yield "user", list(map(_part, parts))
            case {"role": "system" | "assistant" as role}:
                raise ValueError(f"messages: the content of the role {role} must be a string")
            case {"role": "user"}:
                raise ValueError(
                    "messages: the content of the role user must be a string or a list of parts"
                )
            case _:
                raise ValueError("messages: a role must be one of system, user and assistant")


def _part(part: Any) -> _Part:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            _, data = _of_data_url(url)
            if image := measure(data):
                return image
            raise ValueError("messages: an image_url is no image")
        case {"type": "video_url", "video_url": {"url": str(url)}}:
            return _clip(url)
    raise ValueError(
        "messages: a part must be text, or an image_url or video_url with an object that has a url"
    )


def _clip(url: str) -> VideoInfo:
    if url.startswith(("https://", "http://")):
        return VideoInfo("a URL", None)
    media_type, data = _of_data_url(url)
    if not media_type.startswith("video/"):
        raise ValueError("messages: a video_url claims to be no video")
    return VideoInfo(media_type, len(data))


def _of_data_url(url: str) -> tuple[str, bytes]:
    """Give the media type that a data URL claims, and its bytes."""
    head, _, encoded = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        raise ValueError(
            "messages: the sandbox fetches nothing: an image must be a data URL with base64"
        )
    try:
        return head.removeprefix("data:").partition(";")[0], base64.b64decode(
            encoded, validate=True
        )
    except ValueError as error:
        raise ValueError("messages: a data URL is no base64") from error


def _schema(response_format: Any) -> Any:
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": dict() | bool() as schema}}:
            return schema
        case {"type": "json_schema"}:
            raise ValueError("response_format: json_schema needs a schema")
    raise ValueError("response_format: only text and json_schema are supported")
