"""The protocol of the official API in OpenAI's form, as Reka documents it and local servers speak it.

Behavior, and where it was seen (docs/protocols.md, B and C; llama.cpp's server: measured 2026-11-22) or that it is
assumed:

- Any key is taken, or none, as local servers do (C); `sandbox-bad-key` gets 401 (body seen, 2026-09-29).
- `GET /v1/models`: the newest documented envelope (B8), with the limits and prices of Reka's own models. The values of
  `supported_features` are assumed. A model that is not listed answers too, unless its name begins with `sandbox`: 404
  (B9; the body is assumed).
- `POST /v1/chat/completions`: the first delta has the role and `content: null` (llama.cpp); then new text only; then an
  empty delta with `finish_reason` (llama.cpp), usage without being asked (B4) on a chunk with empty `choices`
  (llama.cpp), and `[DONE]` (assumed of Reka, B4). `model` is the literal `default` (B4). Tokens are words.
- System text must be a string and come first, history must be text (the template of vllm-reka; that it is refused with
  400 is assumed). More than three images: 400 (documented, B). What is no image, or an image elsewhere: 400
  (assumed; the sandbox fetches nothing). An image for `sandbox-text`: 500 in the words of llama.cpp.
- `response_format`: `json_object` gets 400, an object schema without `properties` 503 (B7; the bodies are assumed).
- Without `stream`, what a course would say is put into one object; a course that breaks off or waits does so too.
- A wrong method: 405 (seen, 2026-09-29); an unknown path: 404 (seen; its body is assumed).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, assert_never

from reka_cli.sandbox.answers import answer, texts_so_far
from reka_cli.sandbox.api_request import ParsedRequest, read
from reka_cli.sandbox.built_in_faults import PREFIX, TEXT_ONLY
from reka_cli.sandbox.fault import Fault
from reka_cli.sandbox.state import SandboxState, UnknownModel
from reka_cli.sandbox.steps import (
    BareLine,
    BodyPart,
    Cut,
    End,
    Fail,
    RawBytes,
    Reply,
    Say,
    Separate,
    Step,
    Think,
    Wait,
    WholeReply,
    limit_words,
)

BAD_KEY = "sandbox-bad-key"
NO_IMAGE = (
    b'{"error": {"code": 500, "type": "server_error", "message": "image input is not supported - hint: if this is '
    b'unexpected, you may need to provide the mmproj"}}'
)


def reply(state: SandboxState, method: str, path: str, authorization: str, body: bytes) -> Reply:
    if authorization == f"Bearer {BAD_KEY}":
        return _error(401, "authentication_error", "Unauthorized")
    match method, path:
        case "GET", "/v1/models":
            return _json(200, {"object": "list", "data": models(state.faults)})
        case "POST", "/v1/chat/completions":
            return _chat(state, body)
        case _, "/v1/models" | "/v1/chat/completions":
            return _json(405, {"detail": "Method Not Allowed"})
    return _json(404, {"detail": "Not Found"})


def models(faults: Mapping[str, Fault]) -> list[dict[str, Any]]:
    """List the models: one that takes images, one that does not, and one for each fault."""
    text_only = {
        "input_modalities": ["text"],
        "pricing": {"prompt": "0.0000001", "completion": "0.0000002"},
    }
    return [
        _model("sandbox", "Sandbox"),
        _model(TEXT_ONLY, "Sandbox, text only") | text_only,
        *(_model(PREFIX + name, f"Sandbox that {fault.does}") for name, fault in faults.items()),
    ]


def _model(identity: str, name: str) -> dict[str, Any]:
    return {
        "id": identity,
        "object": "model",
        "created": 1_774_828_800,  # 2026-03-30, whenever it is asked
        "owned_by": "reka-cli sandbox",
        "name": name,
        "input_modalities": ["text", "image", "video"],
        "output_modalities": ["text"],
        "context_length": 16_384,
        "max_output_length": 14_745,
        "pricing": {"prompt": "0.0000001", "completion": "0.0000001"},
        "supported_features": ["structured_outputs"],
    }


def _chat(state: SandboxState, body: bytes) -> Reply:
    try:
        asked = read(body)
        fault = state.fault(asked.model)
        text = _text(asked, fault)
    except UnknownModel as error:
        return _error(404, "not_found_error", str(error))
    except ValueError as error:
        return _error(400, "validation_error", str(error))
    if asked.model == TEXT_ONLY and (asked.images or asked.clips):
        return WholeReply(500, NO_IMAGE)
    if (
        isinstance(asked.schema, dict)
        and asked.schema.get("type") == "object"
        and "properties" not in asked.schema
    ):
        return _error(
            503,
            "server_error",
            "the sandbox fails at an object schema without properties, as Reka does",
        )
    if instead := fault.strikes(has_image=bool(asked.images)):
        return instead
    steps = (fault.api_course or fault.course)(texts_so_far(text))
    if asked.max_tokens is not None:
        steps = limit_words(steps, asked.max_tokens)
    if asked.streamed:
        return fault.put(_Chunks(asked.words).parts(steps))
    return fault.put(_completion(steps, asked.words), "application/json")


def _text(asked: ParsedRequest, fault: Fault) -> str:
    if asked.schema is not None:
        return fault.json_answer(asked.schema, asked.turns)
    return answer(asked.question, asked.images, asked.turns, asked.clips)


class _Chunks:
    """The chunks of one answer."""

    def __init__(self, words_asked: int) -> None:
        self._head = _head("chat.completion.chunk")
        self._words_asked = words_asked
        self._told: dict[str, str] = {}  # field of the delta -> its text so far
        self._begun = False

    def parts(self, steps: Iterable[Step]) -> Iterator[BodyPart]:
        for step in steps:
            match step:
                case Say(text):
                    yield from self._tell("content", text)
                case Think(text, field):
                    yield from self._tell(field, text)
                case End():
                    yield from self._end(step)
                case Fail(message):
                    yield _sse(_error_body("server_error", message))
                case RawBytes(data):
                    yield data
                case Wait() | Cut():
                    yield step
                case Separate() | BareLine():
                    pass
                case _:
                    assert_never(step)

    def _tell(self, field: str, text: str) -> Iterator[bytes]:
        yield from self._begin()
        new = text.removeprefix(self._told.get(field, ""))
        self._told[field] = text
        if new:
            yield self._chunk({field: new})

    def _end(self, end: End) -> Iterator[bytes]:
        yield from self._begin()
        yield self._chunk({}, end.finish_reason)
        if end.closing:
            yield _sse(self._head | {"choices": [], "usage": _usage(self._words_asked, self._told)})
            yield b"data: [DONE]\n\n"

    def _begin(self) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            yield self._chunk({"role": "assistant", "content": None})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return _sse(
            self._head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
        )


def _completion(steps: Iterable[Step], words_asked: int) -> Iterator[BodyPart]:
    """Put what is said up to the end into one object; nothing at all becomes an empty body."""
    told: dict[str, str] = {}
    finish_reason = None
    for step in steps:
        match step:
            case Say(text):
                told["content"] = text
            case Think(text, field):
                told[field] = text
            case Fail(message):
                yield json.dumps(_error_body("server_error", message)).encode()
                return
            case Wait() | Cut():
                yield step
            case End():
                finish_reason = step.finish_reason
                break
    if told or finish_reason:
        answered = {"role": "assistant", "content": "", **told}
        choice = {"index": 0, "message": answered, "finish_reason": finish_reason}
        head = _head("chat.completion")
        yield json.dumps(
            head | {"choices": [choice], "usage": _usage(words_asked, told)}, ensure_ascii=False
        ).encode()


def _head(kind: str) -> dict[str, Any]:
    identity = f"chatcmpl-{secrets.token_hex(12)}"
    return {"id": identity, "object": kind, "created": int(time.time()), "model": "default"}


def _usage(words_asked: int, told: dict[str, str]) -> dict[str, int]:
    words = sum(len(text.split()) for text in told.values())
    return {
        "prompt_tokens": words_asked,
        "completion_tokens": words,
        "total_tokens": words_asked + words,
    }


def _error(code: int, kind: str, message: str) -> WholeReply:
    return _json(code, _error_body(kind, message))


def _error_body(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "code": None, "param": None}}


def _json(code: int, value: object) -> WholeReply:
    return WholeReply(code, json.dumps(value).encode())


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(value, ensure_ascii=False).encode()
