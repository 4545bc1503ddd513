"""The stand-in, judged over HTTP by a client that is not ours (urllib of the standard library)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, ROOT, Run, Service
from PIL import Image

from reka_cli.sandbox.answers import measure
from reka_cli.sandbox.faults import FAULTS


def fetch(url: str, body: object = None, **headers: str) -> tuple[int, str]:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
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
def test_what_breaks_the_rules_of_the_wire_is_refused(service: Service, turns: Any, message: str) -> None:
    assert chat(service, turns) == (400, json.dumps({"error": {"message": f"malformed request: {message}"}}))


def test_without_a_token_nothing_is_taken(service: Service) -> None:
    refused = (401, '{"error": {"message": "Unauthorized"}}')

    assert fetch(f"{service.url}/api/chat", {}) == refused
    assert fetch(f"{service.url}/api/upload-image", {}) == refused
    assert fetch(f"{service.url}/api/chat", {}, Authorization=f"Basic {service.server.token}") == refused


def test_what_is_no_picture_is_not_taken(service: Service) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\nContent-Type: image/png\r\n\r\ntext\r\n--b--\r\n'
    headers = {"Authorization": f"Bearer {service.server.token}", "Content_Type": "multipart/form-data; boundary=b"}

    no_picture = fetch(f"{service.url}/api/upload-image", form, **headers)
    no_part = fetch(f"{service.url}/api/upload-image", form.replace(b'"image"', b'"file"'), **headers)

    assert no_picture == (400, '{"error": {"message": "the part named image is no picture"}}')
    assert no_part == (400, '{"error": {"message": "there is no part named image"}}')


def test_other_paths_are_not_found(service: Service) -> None:
    assert fetch(f"{service.url}/elsewhere") == (404, '{"error": {"message": "Not Found"}}')
    assert fetch(f"{service.url}/bff/auth/login")[1].startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((255, 0, 0), "red (#ff0000)"),
        ((0, 0, 0), "black (#000000)"),
        ((250, 250, 250), "white (#fafafa)"),
        ((30, 90, 220), "blue (#1e5adc)"),
        ((40, 150, 60), "green (#28963c)"),
    ],
)
def test_a_colour_has_the_name_people_give_it(colour: tuple[int, int, int], name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(buffer, "PNG")

    picture = measure(buffer.getvalue())

    assert picture is not None
    assert (picture.format, picture.width, picture.height, picture.colour) == ("PNG", 3, 2, name)


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
    assert (result.exit_code, listed, result.stderr) == (0, [f"sandbox-{name}" for name in FAULTS], "")


def test_a_port_that_is_taken_is_a_usage_error(run: Run, service: Service) -> None:
    port = service.host.rpartition(":")[2]

    result = run("sandbox", "--port", port)

    told = f"error: cannot listen on port {port}: address already in use\nhint: --port 0\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told)


def test_the_command_prints_what_to_export_and_serves(run: Run, clean_env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "reka_cli", "sandbox", "--verbose"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=clean_env, cwd=ROOT, **pipes) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(4)]
        exported = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines if "export" in line)
        result = run("ask", "hello", env=exported)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)

    assert sorted(exported) == ["REKA_TOKEN", "REKA_WEB_BASE"]
    assert (result.exit_code, result.stderr) == (0, "")
    assert process.returncode == 130
    assert "POST /api/chat" in stderr


def test_a_client_that_goes_away_leaves_the_server_well(service: Service) -> None:
    import socket

    port = int(service.host.rpartition(":")[2])
    for half_a_request in (b"", b"GET /", b"POST /api/chat HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", os.urandom(200)):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(half_a_request)

    assert chat(service, [human("hello")])[0] == 200


def test_a_body_without_its_length_is_refused(service: Service) -> None:
    import http.client

    connection = http.client.HTTPConnection(service.host)
    connection.request("POST", "/api/chat", iter([b"x"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    with connection.getresponse() as response:
        status = response.status
    connection.close()

    assert status == 413


def test_the_cat_is_where_the_licence_says(tmp_path: Path) -> None:
    with Image.open(CAT) as cat:
        assert cat.size == (451, 300)
