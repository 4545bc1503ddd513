"""The stand-in, judged over HTTP by a client that is not ours (urllib of the standard library)."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service
from faults import FAULTS
from hostile import HOSTILE
from PIL import Image

from reka_cli.sandbox import instances
from reka_cli.sandbox.answers import measure
from reka_cli.sandbox.built_in_faults import model_names
from reka_cli.sandbox.state import SandboxState

OFFERED = (
    "400 401 401-once 402 403 404 429 429-later 429-once 500 503 503-once html hang-up silent empty cut length filtered "
    "stall slow reasoning bad-json bad-json-once"
)
WHOLE = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello"
HALF = "This is the sandbox of reka-cli: a stand-in for Reka,"
TRACE = "The sandbox does not think: this stands for a trace of reasoning."
NO_IMAGE = {
    "code": 500,
    "type": "server_error",
    "message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
}


def fetch(url: str, body: object = None, **headers: str) -> tuple[int, str]:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Location") or error.read().decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def chat(service: Service, turns: list[dict[str, Any]], **more: Any) -> tuple[int, str]:
    body = {"conversation_history": turns, "model_name": "any", **more}
    return fetch(f"{service.url}/api/chat", body, Authorization=f"Bearer {service.server.token}")


def human(text: str, **more: str) -> dict[str, str]:
    return {"type": "human", "text": text, **more}


def test_a_session_gets_a_token_that_chat_takes(service: Service) -> None:
    status, body = fetch(f"{service.url}/bff/auth/access_token", Cookie="appSession=anything")
    token = json.loads(body)["accessToken"]
    chat_status, _ = fetch(
        f"{service.url}/api/chat",
        {"conversation_history": [human("x")], "model_name": "any"},
        Authorization=f"Bearer {token}",
    )

    assert (status, token.count("."), chat_status) == (200, 2, 200)


@pytest.mark.parametrize("cookie", ["", "other=1", "appSession=", "appSession=sandbox-expired"])
def test_without_a_session_the_way_leads_to_the_login(service: Service, cookie: str) -> None:
    assert fetch(f"{service.url}/bff/auth/access_token", Cookie=cookie) == (302, "/bff/auth/login")


def test_the_stream_is_the_text_so_far_then_the_separator_then_the_end(service: Service) -> None:
    status, body = chat(service, [human("hello")], stream=True)

    blocks = body.split("\n\n")
    events = [json.loads(block.removeprefix("event: message\ndata: ")) for block in blocks if block]
    texts = [event["text"] for event in events]
    final = texts[-1]
    assert status == 200
    assert {event["type"] for event in events} == {"model"}
    assert texts[:3] == ["This", "This is", "This is the"]
    assert texts[-8:-1] == [final + "\n <sep>"[:length] for length in range(1, 8)]
    assert [event.get("finish_reason") for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1] == {
        "type": "model",
        "text": final,
        "metadata": {"input_tokens": 20, "generated_tokens": 20},
        "finish_reason": "stop",
    }


def test_without_stream_the_answer_is_one_object(service: Service) -> None:
    status, body = chat(service, [human("hello")], stream=False)

    assert status == 200
    assert json.loads(body)["finish_reason"] == "stop"
    assert json.loads(body)["text"].endswith("Your question was: hello")


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "conversation_history is empty"),
        ("text", "conversation_history is empty"),
        ([{"type": "model", "text": "x"}], "turns must alternate, human first"),
        ([human("x"), human("y")], "turns must alternate, human first"),
        ([human("x"), {"type": "model", "text": "y"}], "the last turn must be human"),
        ([human("x"), {"type": "model", "text": "y"}, human("z", image_url="u")], "media is allowed on the first turn only"),
        ([human("x", image_url="https://elsewhere.example/cat.jpeg", media_type="image")], "this image_url was not uploaded here"),
        ([{"type": "human"}], "'text'"),
    ],
)  # fmt: skip
def test_what_breaks_the_rules_of_the_protocol_is_refused(
    service: Service, turns: Any, message: str
) -> None:
    assert chat(service, turns) == (
        400,
        json.dumps({"error": {"message": f"malformed request: {message}"}}),
    )


def test_without_a_token_nothing_is_taken(service: Service) -> None:
    refused = (401, '{"error": {"message": "Unauthorized"}}')

    assert fetch(f"{service.url}/api/chat", {}) == refused
    assert fetch(f"{service.url}/api/upload-image", {}) == refused
    assert (
        fetch(f"{service.url}/api/chat", {}, Authorization=f"Basic {service.server.token}")
        == refused
    )


def test_what_is_no_image_is_not_taken(service: Service) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\nContent-Type: image/png\r\n\r\ntext\r\n--b--\r\n'
    headers = {
        "Authorization": f"Bearer {service.server.token}",
        "Content_Type": "multipart/form-data; boundary=b",
    }

    no_image = fetch(f"{service.url}/api/upload-image", form, **headers)
    no_part = fetch(
        f"{service.url}/api/upload-image", form.replace(b'"image"', b'"file"'), **headers
    )

    assert no_image == (400, '{"error": {"message": "the part named image is no image"}}')
    assert no_part == (400, '{"error": {"message": "there is no part named image"}}')


def test_other_paths_are_not_found(service: Service) -> None:
    assert fetch(f"{service.url}/elsewhere") == (404, '{"error": {"message": "Not Found"}}')
    assert fetch(f"{service.url}/bff/auth/login")[1].startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("color", "name"),
    [
        ((255, 0, 0), "red (#ff0000)"),
        ((0, 0, 0), "black (#000000)"),
        ((250, 250, 250), "white (#fafafa)"),
        ((30, 90, 220), "blue (#1e5adc)"),
        ((40, 150, 60), "green (#28963c)"),
    ],
)
def test_a_color_has_the_name_people_give_it(color: tuple[int, int, int], name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), color).save(buffer, "PNG")

    image = measure(buffer.getvalue())

    assert image is not None
    assert (image.format, image.width, image.height, image.color) == ("PNG", 3, 2, name)


def test_exif_is_seen() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "JPEG", exif=exif)

    with_exif, without = measure(buffer.getvalue()), measure(CAT.read_bytes())

    assert with_exif is not None
    assert without is not None
    assert (with_exif.has_exif, without.has_exif) == (True, False)


def test_every_fault_says_what_it_does_and_where_it_was_seen() -> None:
    assert [name for name, fault in FAULTS.items() if not (fault.does and fault.source)] == []


def test_the_faults_can_be_listed(run: Run) -> None:
    result = run("sandbox", "--faults")

    listed = [line.split()[0] for line in result.stdout.splitlines()]
    assert (result.exit_code, listed, result.stderr) == (0, model_names()[2:], "")
    assert listed == [f"sandbox-{name}" for name in OFFERED.split()]


@pytest.mark.parametrize(
    ("model", "closest"),
    [
        ("sandbox-4299", "sandbox-429 | sandbox-402 | sandbox-429-once"),
        ("sandbox-stalled", "sandbox-stall | sandbox-silent | sandbox-text"),
        ("sandbox429", "sandbox-429 | sandbox-402 | sandbox"),
        (
            "sandbox-rewrite",
            "sandbox-text | sandbox-empty | sandbox-filtered",
        ),  # only the tests have it
    ],
)
def test_a_model_that_does_not_exist_is_an_error_with_the_closest_ones(
    run: Run, model: str, closest: str
) -> None:
    told = f"error: there is no model '{model}' here\nhint: -m {closest}\n"

    assert run("ask", "hello", "--provider", "sandbox", "-m", model) == Result(5, "", told)


def test_a_server_refuses_a_model_that_does_not_exist_on_both_protocols(
    run: Run, service: Service, web_env: dict[str, str]
) -> None:
    message = "there is no model 'sandbox-4299'; the closest: sandbox-429, sandbox-422, sandbox-402"

    status, body = chat(service, [human("hello")], model_name="sandbox-4299")
    assert (status, json.loads(body)) == (404, {"error": {"message": message}})
    assert complete(service, [user("hello")], model="sandbox-4299") == (
        404,
        refused(message, "not_found_error"),
    )
    for env in (web_env, {"REKA_API_BASE": f"{service.url}/v1"}):
        told = f"error: {service.host} answered 404: {message}\n"
        assert run("ask", "hello", "-m", "sandbox-4299", env=env) == Result(5, "", told)


def test_another_name_is_answered(run: Run, service: Service) -> None:
    answer = f"{WHOLE}\n"

    assert run("ask", "hello", "--provider", "sandbox", "-m", "reka-flash") == Result(0, answer, "")
    assert complete(service, [user("hello")], model="reka-flash")[0] == 200


def test_a_port_that_is_taken_is_a_usage_error(run: Run, service: Service) -> None:
    port = service.host.rpartition(":")[2]

    result = run("sandbox", "--port", port)

    told = f"error: cannot listen on port {port}: address already in use\nhint: --port 0\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told)


def test_the_command_prints_what_to_export_and_serves(run: Run, clean_env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "reka_cli", "sandbox", "--verbose"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with zygote.Popen(command, env=clean_env, cwd=ROOT, **pipes) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(7)]
        exported = dict(
            line.removeprefix("export ").strip().split("=", 1) for line in lines if "export" in line
        )
        api_base = exported.pop("REKA_API_BASE")
        result = run("ask", "hello", env=exported)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)

    assert sorted(exported) == ["REKA_MODEL", "REKA_TOKEN", "REKA_WEB_BASE"]
    assert api_base == f"{exported['REKA_WEB_BASE']}/v1"
    assert (result.exit_code, result.stderr) == (0, "")
    assert process.returncode == -signal.SIGINT
    assert "POST /api/chat" in stderr


def test_a_client_that_goes_away_leaves_the_server_well(service: Service) -> None:
    import socket

    port = int(service.host.rpartition(":")[2])
    for half_a_request in (
        b"",
        b"GET /",
        b"POST /api/chat HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        os.urandom(200),
    ):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(half_a_request)

    assert chat(service, [human("hello")])[0] == 200


def test_a_body_without_its_length_is_refused(service: Service) -> None:
    connection = http.client.HTTPConnection(service.host)
    connection.putrequest("POST", "/api/chat")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()  # and no body: the answer does not wait for it
    with connection.getresponse() as response:
        status = response.status
    connection.close()

    assert status == 413


def complete(service: Service, messages: object, **more: Any) -> tuple[int, Any]:
    """Ask over the API's protocol, without a stream."""
    status, body = fetch(
        f"{service.url}/v1/chat/completions", {"model": "sandbox", "messages": messages, **more}
    )
    return status, json.loads(body) if body else None


def refused(message: str, kind: str = "validation_error") -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "code": None, "param": None}}


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def media(kind: str, data: bytes, media_type: str) -> dict[str, Any]:
    return {
        "type": kind,
        kind: {"url": f"data:{media_type};base64,{base64.b64encode(data).decode()}"},
    }


CAT_PART = media("image_url", CAT.read_bytes(), "image/jpeg")


@dataclass(frozen=True)
class Heard:
    """What a client hears of a stream: texts put together, and how it ended."""

    content: str = ""
    reasoning_content: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    ended_by: str = "the end of the body"


def listen(service: Service, model: str, **more: Any) -> tuple[list[dict[str, Any]], Heard]:
    """Give the chunks of an answer and what they amount to, up to half a second of silence where there is to be one."""
    silent = model in ("sandbox-silent", "sandbox-stall", "sandbox-hang-after-end")
    connection = http.client.HTTPConnection(service.host, timeout=0.5 if silent else 20)
    body = {"model": model, "messages": [user("hello")], "stream": True, **more}
    data, ended_by = b"", "the end of the body"
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        with connection.getresponse() as response:
            while part := response.read1(65536):
                data += part
    except TimeoutError:
        ended_by = "silence"
    except http.client.IncompleteRead:
        ended_by = "a cut"
    finally:
        connection.close()
    if data.endswith(b"data: [DONE]\n\n"):
        data, ended_by = data.removesuffix(b"data: [DONE]\n\n"), "[DONE]"
    chunks = [
        json.loads(block.removeprefix("data: ")) for block in data.decode().split("\n\n") if block
    ]
    return chunks, _heard(chunks, ended_by)


def _heard(chunks: list[dict[str, Any]], ended_by: str) -> Heard:
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    deltas = [choice.get("delta", {}) for choice in choices]
    texts = {
        field: "".join(delta.get(field) or "" for delta in deltas)
        for field in ("content", "reasoning_content", "reasoning")
    }
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    return Heard(**texts, finish_reason="".join(reasons) or None, ended_by=ended_by)


GOOD = Heard(WHOLE, finish_reason="stop", ended_by="[DONE]")
STREAMS = {
    **dict.fromkeys(("rewrite", "take-back", "repeat", "bare-json", "close", "slow", "no-choices"), GOOD),
    **dict.fromkeys(("no-image", "fenced", "bad-json", "bad-json-once"), GOOD),
    "silent": Heard(ended_by="silence"),
    "empty": Heard(finish_reason="stop", ended_by="[DONE]"),
    "nothing": Heard(),
    "cut": Heard(HALF, ended_by="a cut"),
    "no-end": Heard(WHOLE),
    "length": Heard(HALF, finish_reason="length", ended_by="[DONE]"),
    "context": Heard(HALF, finish_reason="context", ended_by="[DONE]"),
    "filtered": Heard(HALF, finish_reason="content_filter", ended_by="[DONE]"),
    "stall": Heard(HALF, ended_by="silence"),
    "blanks": Heard("  " + WHOLE, finish_reason="stop", ended_by="[DONE]"),
    "osc52": Heard("\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r" + WHOLE, finish_reason="stop", ended_by="[DONE]"),
    "only-escapes": Heard("\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r", finish_reason="stop", ended_by="[DONE]"),
    "reasoning": Heard(WHOLE, reasoning_content=TRACE, finish_reason="stop", ended_by="[DONE]"),
    "reasoning-field": Heard(WHOLE, reasoning=TRACE, finish_reason="stop", ended_by="[DONE]"),
    "reasoning-tags": Heard(f"<reasoning>{TRACE}</reasoning>\n\n{WHOLE}", finish_reason="stop", ended_by="[DONE]"),
    "think-tags": Heard(f"<think>{TRACE}</think>\n\n{WHOLE}", finish_reason="stop", ended_by="[DONE]"),
    "reasoning-length": Heard(reasoning_content=TRACE, finish_reason="length", ended_by="[DONE]"),
    "wrapped": Heard(f"<answer>{WHOLE}</answer>\n <sep>", finish_reason="stop", ended_by="[DONE]"),
    "done-only": Heard(WHOLE, ended_by="[DONE]"),
    "finish-only": Heard(WHOLE, finish_reason="stop"),
    "hang-after-end": Heard(WHOLE, finish_reason="stop", ended_by="silence"),
}  # fmt: skip
BODIES = {
    "400": (400, '{"error": {"type": "sandbox", "message": "the sandbox refuses this request"}}'),
    "401": (401, '{"error": {"type": "sandbox", "message": "Unauthorized"}}'),
    "401-once": (401, '{"error": {"type": "sandbox", "message": "Unauthorized"}}'),
    "402": (402, '{"error": {"type": "sandbox", "message": "P001: Insufficient Balance"}}'),
    "403": (
        403,
        "<!doctype html><title>Just a moment...</title><p>sandbox: this stands for a challenge page",
    ),
    "404": (404, '{"error": {"type": "sandbox", "message": "no such model"}}'),
    "413": (413, ""),
    "422": (422, '{"detail": [{"msg": "field required"}]}'),
    **dict.fromkeys(
        ("429", "429-later", "429-once"),
        (429, '{"error": {"type": "sandbox", "message": "slow down"}}'),
    ),
    "500": (500, '{"error": {"type": "sandbox", "message": "internal error"}}'),
    "502": (502, "<h1>Bad Gateway</h1>"),
    **dict.fromkeys(
        ("503", "503-once"), (503, '{"error": {"type": "sandbox", "message": "overloaded"}}')
    ),
    "504": (504, ""),
    "html": (
        200,
        "<!doctype html><title>Just a moment...</title><p>sandbox: this stands for a challenge page",
    ),
    "redirect": (302, "https://elsewhere.invalid/"),
    "detail": (400, '{"detail": "the sandbox refuses this request"}'),
    "empty-400": (400, ""),
    "balance": (
        429,
        '{"error": {"type": "rate_limit_error", "message": "P001: Insufficient Balance"}}',
    ),
}
LAST_EVENTS = {  # of streams that are not JSON throughout
    "garbage": "data: {not json",
    "error-event": 'event: error\ndata: {"message": "the sandbox gives up"}',
    "error-field": f"data: {json.dumps(refused('the sandbox gives up', 'server_error'))}",
    "other-events": "data: [DONE]",
}


def test_every_fault_is_known_on_the_api_too() -> None:
    assert sorted([*STREAMS, *BODIES, *LAST_EVENTS, "hang-up"]) == sorted(
        FAULTS.keys() - HOSTILE.keys()
    )


@pytest.mark.parametrize(
    "fault",
    [
        "continue",
        "odd-headers",
        "trailers",
        "byte-by-byte",
        "negative-length",
        "two-framings",
        "http-1.0",
    ],
)
def test_what_is_odd_but_allowed_can_be_read_by_others(service: Service, fault: str) -> None:
    assert listen(service, f"sandbox-{fault}")[1] == GOOD


@pytest.mark.parametrize(("fault", "window_bits"), [("gzip", 31), ("deflate", 15)])
def test_what_is_compressed_can_be_undone(service: Service, fault: str, window_bits: int) -> None:
    connection = http.client.HTTPConnection(service.host)
    body = {"model": f"sandbox-{fault}", "messages": [user("hello")], "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    with connection.getresponse() as response:
        stream = zlib.decompress(response.read(), window_bits)
    connection.close()

    assert stream.startswith(b"data: {")
    assert stream.endswith(b"data: [DONE]\n\n")


def test_a_stream_ends_when_its_client_is_gone(service: Service) -> None:
    before = threading.enumerate()
    listen(service, "sandbox-silent")

    serving = [
        one for one in threading.enumerate() if "process_request" in one.name and one not in before
    ]
    for thread in serving:
        thread.join(20)
    assert [thread for thread in serving if thread.is_alive()] == []


@pytest.mark.parametrize("fault", STREAMS)
def test_a_stream_of_the_api_goes_the_way_of_its_fault(service: Service, fault: str) -> None:
    assert listen(service, f"sandbox-{fault}")[1] == STREAMS[fault]


@pytest.mark.parametrize("fault", BODIES)
def test_the_api_answers_a_fault_with_its_status(service: Service, fault: str) -> None:
    body = {"model": f"sandbox-{fault}", "messages": [user("hello")]}

    assert fetch(f"{service.url}/v1/chat/completions", body) == BODIES[fault]


@pytest.mark.parametrize("fault", LAST_EVENTS)
def test_a_stream_of_the_api_may_hold_other_things(service: Service, fault: str) -> None:
    body = {"model": f"sandbox-{fault}", "messages": [user("hello")], "stream": True}

    _, answer = fetch(f"{service.url}/v1/chat/completions", body)

    assert answer.split("\n\n")[-2] == LAST_EVENTS[fault]


def test_the_api_may_hang_up(service: Service) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        listen(service, "sandbox-hang-up")


@pytest.mark.parametrize(
    ("fault", "message", "finish_reason"),
    [
        ("length", {"content": HALF}, "length"),
        ("no-end", {"content": WHOLE}, None),
        ("empty", {"content": ""}, "stop"),
        ("reasoning", {"content": WHOLE, "reasoning_content": TRACE}, "stop"),
        ("reasoning-length", {"content": "", "reasoning_content": TRACE}, "length"),
        ("wrapped", {"content": f"<answer>{WHOLE}</answer>\n <sep>"}, "stop"),
        ("hang-after-end", {"content": WHOLE}, "stop"),
    ],
)
def test_without_stream_the_api_puts_the_same_into_one_object(
    service: Service, fault: str, message: dict[str, str], finish_reason: str | None
) -> None:
    status, answer = complete(service, [user("hello")], model=f"sandbox-{fault}")

    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish_reason,
    }
    assert (status, answer["choices"]) == (200, [choice])


def test_without_stream_an_error_of_the_api_is_the_object(service: Service) -> None:
    answer = complete(service, [user("hello")], model="sandbox-error-field")

    assert answer == (200, refused("the sandbox gives up", "server_error"))
    assert complete(service, [user("hello")], model="sandbox-nothing") == (200, None)


def test_the_stream_of_the_api_is_new_text_then_the_reason_then_usage(service: Service) -> None:
    chunks, heard = listen(
        service, "any", messages=[{"role": "system", "content": "be brief"}, user("hello")]
    )

    head = {
        "id": chunks[0]["id"],
        "object": "chat.completion.chunk",
        "created": chunks[0]["created"],
        "model": "default",
    }
    assert heard == GOOD
    assert [{name: chunk[name] for name in head} for chunk in chunks] == [head] * 23
    assert head["id"].startswith("chatcmpl-")
    assert chunks[0]["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}
    ]
    assert chunks[1]["choices"] == [
        {"index": 0, "delta": {"content": "This"}, "finish_reason": None}
    ]
    assert chunks[2]["choices"] == [
        {"index": 0, "delta": {"content": " is"}, "finish_reason": None}
    ]
    assert chunks[-2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23}
    assert chunks[-1] == head | {"choices": [], "usage": usage}


def test_tags_are_cut_into_a_few_characters_a_chunk(service: Service) -> None:
    chunks, _ = listen(service, "sandbox-think-tags")

    deltas = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert deltas[1:6] == ["<", "th", "ink", ">", "Th"]


def test_the_faulty_chunks_lack_choices_or_a_delta(service: Service) -> None:
    chunks, _ = listen(service, "sandbox-no-choices")

    assert chunks[:3] == [
        {"object": "chat.completion.chunk"},
        {"object": "chat.completion.chunk", "choices": []},
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": None}]},
    ]


@pytest.mark.parametrize(
    ("model", "max_tokens", "heard"),
    [
        ("sandbox", 10, Heard(HALF, finish_reason="length", ended_by="[DONE]")),
        ("sandbox", 20, GOOD),
        (
            "sandbox-reasoning",
            2,
            Heard(reasoning_content="The sandbox", finish_reason="length", ended_by="[DONE]"),
        ),
        (
            "sandbox-reasoning",
            14,
            Heard("This is", TRACE, finish_reason="length", ended_by="[DONE]"),
        ),
    ],
)
def test_max_tokens_are_words_said_and_thought(
    service: Service, model: str, max_tokens: int, heard: Heard
) -> None:
    assert listen(service, model, max_tokens=max_tokens, seed=1, temperature=0.5)[1] == heard


def test_the_api_lists_its_models(service: Service) -> None:
    status, body = fetch(f"{service.url}/v1/models", Authorization="Bearer anything")

    listed = json.loads(body)
    models = listed["data"]
    assert (status, listed["object"]) == (200, "list")
    assert models[0] == {
        "id": "sandbox",
        "object": "model",
        "created": 1774828800,
        "owned_by": "reka-cli sandbox",
        "name": "Sandbox",
        "input_modalities": ["text", "image", "video"],
        "output_modalities": ["text"],
        "context_length": 16384,
        "max_output_length": 14745,
        "pricing": {"prompt": "0.0000001", "completion": "0.0000001"},
        "supported_features": ["structured_outputs"],
    }
    assert models[1] == models[0] | {
        "id": "sandbox-text",
        "name": "Sandbox, text only",
        "input_modalities": ["text"],
        "pricing": {"prompt": "0.0000001", "completion": "0.0000002"},
    }
    assert [model["id"] for model in models[2:]] == [f"sandbox-{name}" for name in FAULTS]


def test_the_api_takes_any_key_but_the_bad_one(service: Service) -> None:
    body = {"model": "sandbox", "messages": [user("hello")]}
    unauthorized = (401, json.dumps(refused("Unauthorized", "authentication_error")))

    statuses = [
        fetch(f"{service.url}/v1/chat/completions", body, **headers)[0]
        for headers in ({}, {"Authorization": "Bearer any-key"}, {"X-Api-Key": "any-key"})
    ]

    assert statuses == [200, 200, 200]
    assert (
        fetch(f"{service.url}/v1/chat/completions", body, Authorization="Bearer sandbox-bad-key")
        == unauthorized
    )
    assert fetch(f"{service.url}/v1/models", Authorization="Bearer sandbox-bad-key") == unauthorized


def test_wrong_methods_and_paths_of_the_api_are_told(service: Service) -> None:
    assert fetch(f"{service.url}/v1/chat/completions") == (405, '{"detail": "Method Not Allowed"}')
    assert fetch(f"{service.url}/v1/models", {}) == (405, '{"detail": "Method Not Allowed"}')
    assert fetch(f"{service.url}/v1/responses", {}) == (404, '{"detail": "Not Found"}')


def test_the_api_measures_images_as_the_web_does(service: Service) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        + CAT.read_bytes()
        + b"\r\n--b--\r\n"
    )
    headers = {
        "Authorization": f"Bearer {service.server.token}",
        "Content_Type": "multipart/form-data; boundary=b",
    }
    url = json.loads(fetch(f"{service.url}/api/upload-image", form, **headers)[1])["media_url"]
    _, of_web = chat(service, [human("What is it?", image_url=url, media_type="image")])

    _, of_api = complete(
        service,
        [user([CAT_PART, {"type": "text", "text": "What is"}, {"type": "text", "text": "it?"}])],
    )

    assert of_api["choices"][0]["message"]["content"] == json.loads(of_web)["text"]
    assert "- size: 451 × 300 pixels, 30985 bytes" in of_api["choices"][0]["message"]["content"]


def test_a_video_is_not_decoded(service: Service) -> None:
    parts = [
        media("video_url", b"12345", "video/mp4"),
        {"type": "video_url", "video_url": {"url": "https://elsewhere.invalid/a.mp4"}},
    ]

    _, answer = complete(service, [user([*parts, {"type": "text", "text": "What happens?"}])])

    assert answer["choices"][0]["message"]["content"] == (
        "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\n"
        "What it knows of your video without decoding it:\n\n- format, as claimed: video/mp4\n- size: 5 bytes\n\n"
        "What it knows of your video without decoding it:\n\n- format, as claimed: a URL\n- size: unknown: the sandbox fetches nothing\n\n"
        "Your question was: What happens?"
    )


def test_a_conversation_over_the_api_is_counted_without_its_system_text(service: Service) -> None:
    turns = [
        {"role": "system", "content": "be brief"},
        user("a"),
        {"role": "assistant", "content": "b"},
        user("c"),
    ]

    _, answer = complete(service, turns)

    text = answer["choices"][0]["message"]["content"]
    assert text.split("\n\n")[1:] == ["The conversation has 3 turns.", "Your question was: c"]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages: required, a list that is not empty"),
        ([], "messages: required, a list that is not empty"),
        (["hello"], "messages: a role must be one of system, user and assistant"),
        ([{"role": "tool", "content": "x"}], "messages: a role must be one of system, user and assistant"),
        ([{"role": "system", "content": "x"}], "messages: there is no user message"),
        ([user("x"), {"role": "system", "content": "x"}], "messages: a system message can only be the first"),
        ([{"role": "system", "content": [{"type": "text", "text": "x"}]}], "messages: the content of the role system must be a string"),
        ([user("x"), {"role": "assistant", "content": [CAT_PART]}], "messages: the content of the role assistant must be a string"),
        ([user([])], "messages: the content of the role user must be a string or a list of parts"),
        ([user(None)], "messages: the content of the role user must be a string or a list of parts"),
        ([user([{"type": "image_url", "image_url": CAT_PART["image_url"]["url"]}])], "messages: a part must be text, or an image_url or video_url with an object that has a url"),
        ([user([{"type": "input_audio"}])], "messages: a part must be text, or an image_url or video_url with an object that has a url"),
        ([user([{"type": "image_url", "image_url": {"url": "https://elsewhere.invalid/"}}])], "messages: the sandbox fetches nothing: an image must be a data URL with base64"),
        ([user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}])], "messages: a data URL is no base64"),
        ([user([media("image_url", b"text", "image/png")])], "messages: an image_url is no image"),
        ([user([media("video_url", b"text", "image/png")])], "messages: a video_url claims to be no video"),
        ([user([CAT_PART] * 2), user([CAT_PART] * 2)], "messages: at most 3 images per prompt, not 4"),
    ],
)  # fmt: skip
def test_what_breaks_the_rules_of_the_api_is_refused(
    service: Service, messages: object, message: str
) -> None:
    assert complete(service, messages) == (400, refused(message))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": None}, "model: required, a string"),
        ({"max_tokens": 0}, "max_tokens: must be a positive integer"),
        ({"max_tokens": True}, "max_tokens: must be a positive integer"),
        (
            {"response_format": {"type": "json_object"}},
            "response_format: only text and json_schema are supported",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format: json_schema needs a schema",
        ),
    ],
)
def test_options_that_the_api_does_not_have_are_refused(
    service: Service, more: dict[str, Any], message: str
) -> None:
    assert complete(service, [user("hello")], **more) == (400, refused(message))


def test_what_is_no_json_is_refused_by_both_protocols(service: Service) -> None:
    deep = b"[" * 100_000
    api_status, told = fetch(f"{service.url}/v1/chat/completions", deep)
    web_status, _ = fetch(
        f"{service.url}/api/chat", deep, Authorization=f"Bearer {service.server.token}"
    )

    assert (api_status, web_status) == (400, 400)
    assert json.loads(told)["error"]["message"].startswith("the body is no JSON: ")


@pytest.mark.parametrize("model", ["sandbox-text", "sandbox-no-image"])
def test_a_model_without_eyes_fails_as_llama_cpp_does(service: Service, model: str) -> None:
    assert complete(service, [user([CAT_PART])], model=model) == (500, {"error": NO_IMAGE})
    assert complete(service, [user("hello")], model=model)[0] == 200


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
ASKED_IN_WORDS = (
    f"hello\n\nAnswer with JSON only, valid against this JSON Schema:\n{json.dumps(PERSON)}"
)
OF_SCHEMA = {
    "sandbox": '{"name": "sandbox", "age": 1}',
    "sandbox-fenced": '```json\n{"name": "sandbox", "age": 1}\n```',
    "sandbox-bad-json": "{}",
}


@pytest.mark.parametrize("model", OF_SCHEMA)
def test_the_api_answers_a_schema_with_json(service: Service, model: str) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}

    _, heard = listen(service, model, response_format=response_format)

    assert heard == Heard(OF_SCHEMA[model], finish_reason="stop", ended_by="[DONE]")


@pytest.mark.parametrize("model", OF_SCHEMA)
def test_the_web_answers_a_schema_in_words_with_json(service: Service, model: str) -> None:
    _, body = chat(service, [human(ASKED_IN_WORDS)], model_name=model)

    assert json.loads(body)["text"] == OF_SCHEMA[model]


def test_json_that_is_wrong_once_is_right_the_next_time(service: Service) -> None:
    asked = [human(ASKED_IN_WORDS)]

    answers = [
        json.loads(chat(service, asked, model_name="sandbox-bad-json-once")[1])["text"]
        for _ in range(3)
    ]

    assert answers == ["{}", '{"name": "sandbox", "age": 1}', "{}"]


def test_json_that_is_wrong_once_is_right_in_a_later_turn_whoever_is_asked(
    service: Service,
) -> None:
    of_web = [
        human(ASKED_IN_WORDS),
        {"type": "model", "text": "{}"},
        human(f"name is missing\n\n{ASKED_IN_WORDS}"),
    ]
    of_api = [user("hello"), {"role": "assistant", "content": "{}"}, user("name is missing")]
    response_format = {"type": "json_schema", "json_schema": {"schema": PERSON}}

    _, body = chat(service, of_web, model_name="sandbox-bad-json-once")
    service.server.state = SandboxState(FAULTS)
    _, answer = complete(
        service, of_api, model="sandbox-bad-json-once", response_format=response_format
    )

    texts = [json.loads(body)["text"], answer["choices"][0]["message"]["content"]]
    assert texts == ['{"name": "sandbox", "age": 1}'] * 2


def test_the_latest_question_with_a_schema_counts(service: Service) -> None:
    turns = [human(ASKED_IN_WORDS), {"type": "model", "text": "{}"}, human("Do it again.")]
    later = [
        *turns[:2],
        human('Answer with JSON only, valid against this JSON Schema:\n{"const": 7}'),
    ]
    no_schema = [human("Answer with JSON only, valid against this JSON Schema:\nhello")]

    texts = [json.loads(chat(service, asked)[1])["text"] for asked in (turns, later, no_schema)]

    assert texts[:2] == ['{"name": "sandbox", "age": 1}', "7"]
    assert texts[2].startswith("This is the sandbox of reka-cli")


def test_an_object_schema_without_properties_fails_as_at_reka(service: Service) -> None:
    def ask(schema: dict[str, Any]) -> tuple[int, Any]:
        response_format = {"type": "json_schema", "json_schema": {"schema": schema}}
        return complete(service, [user("hello")], response_format=response_format)

    told = refused(
        "the sandbox fails at an object schema without properties, as Reka does", "server_error"
    )
    assert ask({"type": "object"}) == (503, told)
    assert ask({"type": "object", "properties": {}})[1]["choices"][0]["message"]["content"] == "{}"
    assert ask({"$ref": "#/$defs/missing"}) == (
        400,
        refused("there is no #/$defs/missing in the schema"),
    )


NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "next": {"$ref": "#/$defs/node"},
        "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["name", "left", "children"],
}


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({}, "sandbox"),
        (True, "sandbox"),
        ({"type": "null"}, None),
        ({"type": "boolean"}, True),
        ({"type": ["string", "null"]}, "sandbox"),
        ({"type": "string", "maxLength": 4}, "sand"),
        ({"type": "string", "minLength": 9}, "sandbox.."),
        ({"enum": ["cat", "dog"]}, "cat"),
        ({"const": None}, None),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 3.5}, 4),
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "integer", "multipleOf": 5, "minimum": 11}, 15),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "minimum": 0.5, "maximum": 0.75}, 0.5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"items": {"type": "integer"}}, [1]),
        ({"type": "array", "minItems": 3, "items": {"type": "boolean"}}, [True, True, True]),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}, [1, "sandbox"]),
        ({"type": "object", "required": ["anything"]}, {"anything": "sandbox"}),
        ({"properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}, {"a": 1}),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"allOf": [{"$ref": "#/$defs/a~1b"}, {"required": ["d"], "properties": {"d": {"const": 2}}}], "$defs": {"a/b": PERSON}}, {"name": "sandbox", "age": 1, "d": 2}),
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, {"name": "sandbox", "left": None, "children": []}),
        ({"type": "object", "properties": {"again": {"$ref": "#"}}}, {}),
    ],
)  # fmt: skip
def test_what_answers_a_schema_satisfies_it(schema: Any, instance: object) -> None:
    assert json.loads(instances.valid_json(schema)) == instance
    jsonschema_rs.validate(schema, instance)


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        {"type": "object", "properties": {}},
        {"type": "string"},
        {"type": "array", "items": {"type": "integer"}},
        {"enum": [1, 2]},
        {"$ref": "#/$defs/person", "$defs": {"person": PERSON}},
    ],
)
def test_what_answers_a_schema_wrongly_violates_it(schema: Any) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, json.loads(instances.invalid_json(schema)))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (7, "a schema is an object, not 7"),
        ({"type": "circle"}, "there is no type 'circle'"),
        ({"$ref": "https://elsewhere.invalid/"}, "the sandbox follows no reference to 'https://elsewhere.invalid/'"),
        ({"$ref": "#"}, "# needs itself"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "# needs itself"),
        ({"items": {"$ref": "#"}, "minItems": 1}, "# needs itself"),
        ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "no small number satisfies {'type': 'integer', 'minimum': 1.2, 'maximum': 1.8}"),
        ({"properties": 7}, "the sandbox cannot read this schema"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_told(schema: Any, message: str) -> None:
    with pytest.raises(ValueError) as told:  # noqa: PT011 - the whole message is compared
        instances.valid_json(schema)

    assert str(told.value) == message


@pytest.mark.parametrize(
    "fault", ["reasoning", "reasoning-field", "think-tags", "reasoning-tags", "reasoning-length"]
)
def test_reasoning_on_the_web_is_an_event_of_another_type(service: Service, fault: str) -> None:
    _, body = chat(service, [human("hello")], model_name=f"sandbox-{fault}", stream=True)

    events = [
        json.loads(block.removeprefix("event: message\ndata: "))
        for block in body.split("\n\n")
        if block
    ]
    texts = {
        kind: [event["text"] for event in events if event["type"] == kind]
        for kind in ("thinking", "model")
    }
    assert (texts["thinking"][0], texts["thinking"][-1]) == ("The", TRACE)
    assert (texts["model"][0], texts["model"][-1]) == ("This", WHOLE)
    assert events[-1]["finish_reason"] == "stop"


def test_the_cat_is_where_the_licence_says(tmp_path: Path) -> None:
    with Image.open(CAT) as cat:
        assert cat.size == (451, 300)
