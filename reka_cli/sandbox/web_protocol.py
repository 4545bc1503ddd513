"""The protocol of Reka's web session, as others' clients show it.

Behavior, and where it was seen (docs/protocols.md, A) or that it is assumed:

- `GET /bff/auth/access_token` with a cookie `appSession` or `appSession.0`: `{"accessToken": JWT}`, 24 h (seen, A3).
  Without a session: a redirect to the login page (assumed). The cookie's value asks for more: `sandbox-expired`
  redirects to the login page, `sandbox-login-page` serves it with status 200 (both assumed), a value that begins
  with `sandbox-rotate` is refreshed by `Set-Cookie` (seen, A2).
- `POST /api/upload-image`, multipart, part `image`: `{"media_url": URL}`; the URL has a raw `|` and `=` (seen, A4).
  What is no image is refused with 400 (assumed).
- `POST /api/chat`: server-sent events with the text so far, `finish_reason` and `metadata` on the last one, the
  separator letter by letter before it (seen, A6 and A7); with `stream: false` one JSON object (seen, A6). Turns that
  do not alternate, media on a later turn, media that was never uploaded: 400 (rules of API v0; that the web session
  has them is assumed). A question that ends in a schema, as reka-cli asks, is answered with JSON (assumed of a model).
- A trace of reasoning comes as events of the type `thinking`, with the trace so far (assumed; that there are other
  types than `model` is seen, A6).
- A model whose name begins with `sandbox` and that does not exist: 404 (assumed); any other name is answered.
- A bearer token that the server did not mint: 401 (seen, A8).
"""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Iterable, Iterator, Sequence
from http.cookies import SimpleCookie
from typing import Any, assert_never

from reka_cli.sandbox.answers import MeasuredImage, answer, measure, texts_so_far
from reka_cli.sandbox.fault import Fault
from reka_cli.sandbox.instances import schema_in
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
)

LOGIN_PAGE = WholeReply(
    200,
    b"<!doctype html><title>Log in</title><p>sandbox: this stands for a login page",
    "text/html",
)
_SEPARATOR = "\n <sep>"


def is_authorized(state: SandboxState, authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    return scheme == "Bearer" and state.takes(token)


def refusal(code: int, message: str) -> WholeReply:
    return WholeReply(code, json.dumps({"error": {"message": message}}).encode())


def access_token(state: SandboxState, cookie: str) -> WholeReply:
    cookies = {name: morsel.value for name, morsel in SimpleCookie(cookie).items()}
    value = cookies.get("appSession") or cookies.get("appSession.0")
    if value == "sandbox-login-page":
        return LOGIN_PAGE
    if not value or value == "sandbox-expired":
        return WholeReply(302, headers={"Location": "/bff/auth/login"})
    headers = {}
    if value.startswith("sandbox-rotate"):
        headers["Set-Cookie"] = (
            f"appSession={value}x; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=86400"
        )
    return WholeReply(200, json.dumps({"accessToken": state.mint()}).encode(), headers=headers)


def upload(state: SandboxState, content_type: str, body: bytes) -> WholeReply:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    for part in form.iter_parts() if form.is_multipart() else ():
        if part.get_param("name", header="content-disposition") == "image":
            payload = part.get_payload(decode=True)
            image = measure(payload) if isinstance(payload, bytes) else None
            if image:
                return WholeReply(200, json.dumps({"media_url": state.keep(image)}).encode())
            return refusal(400, "the part named image is no image")
    return refusal(400, "there is no part named image")


def chat(state: SandboxState, body: bytes) -> Reply:
    try:
        request = json.loads(body)
        model, turns = str(request["model_name"]), _check_history(request["conversation_history"])
        images = [_image_of(state, turn) for turn in turns if "image_url" in turn]
        fault = state.fault(model)
        text = _text(turns, images, fault)
    except UnknownModel as error:
        return refusal(404, str(error))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return refusal(400, f"malformed request: {error}")
    if reply := fault.strikes(has_image=bool(images)):
        return reply
    if request.get("stream") is not True:
        return WholeReply(200, _event(text, "stop"))
    return fault.put(_parts(fault.course(texts_so_far(text))))


def _check_history(turns: Any) -> Sequence[dict[str, str]]:
    """Hold a history against the documented rules of API v0; raise ValueError where it breaks one."""
    if not isinstance(turns, list) or not turns:
        raise ValueError("conversation_history is empty")
    for index, turn in enumerate(turns):
        if turn["type"] != ("model" if index % 2 else "human"):
            raise ValueError("turns must alternate, human first")
        if not isinstance(turn["text"], str):
            raise TypeError("text is no text")
        if index and ("image_url" in turn or "media_type" in turn):
            raise ValueError("media is allowed on the first turn only")
    if len(turns) % 2 == 0:
        raise ValueError("the last turn must be human")
    return turns


def _image_of(state: SandboxState, turn: dict[str, str]) -> MeasuredImage:
    image = state.image(turn["image_url"])
    if image is None:
        raise ValueError("this image_url was not uploaded here")
    if turn.get("media_type") != "image":
        raise ValueError("media_type is missing, or not one the sandbox can measure")
    return image


def _text(turns: Sequence[dict[str, str]], images: Sequence[MeasuredImage], fault: Fault) -> str:
    """Give JSON if any question asks for it, by the schema of the latest that does; else what was measured."""
    for turn in turns[::-2]:
        if (schema := schema_in(turn["text"])) is not None:
            return fault.json_answer(schema, len(turns))
    return answer(turns[-1]["text"], images, len(turns))


def _parts(steps: Iterable[Step]) -> Iterator[BodyPart]:
    for step in steps:
        match step:
            case Say(text):
                yield _sse(_event(text))
            case Separate(text):
                yield from (
                    _sse(_event(text + _SEPARATOR[:length]))
                    for length in range(1, len(_SEPARATOR) + 1)
                )
            case End(finish_reason, text):
                yield _sse(_event(text, finish_reason))
            case Think(text):
                yield _sse(json.dumps({"type": "thinking", "text": text}).encode())
            case Fail(message):
                yield b"data: %s\n\n" % json.dumps({"error": message}).encode()
            case BareLine(text):
                yield _event(text, "stop") + b"\n"
            case RawBytes(data):
                yield data
            case Wait() | Cut():
                yield step
            case _:
                assert_never(step)


def _sse(data: bytes) -> bytes:
    return b"event: message\ndata: %s\n\n" % data


def _event(text: str, finish_reason: str | None = None) -> bytes:
    event: dict[str, object] = {"type": "model", "text": text}
    if finish_reason:
        words = len(text.split())
        event |= {
            "metadata": {"input_tokens": words, "generated_tokens": words},
            "finish_reason": finish_reason,
        }
    return json.dumps(event, ensure_ascii=False).encode()
