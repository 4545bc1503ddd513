"""Nothing leaves for another host, and nothing a service sends does what it likes with the terminal."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import CAT, Run, write_cookies
from misbehaviors import FORMATS
from tricks import ALL, forbidden

from reka_cli import Client, RekaError
from reka_cli.config import Config

COOKIE, KEY = "canary-session-5e55104", "canary-key-5e55104"
REQUESTS = {
    "web": ("/bff/auth/access_token", "/api/upload-image", "/api/chat"),
    "api": ("/v1/models", "/v1/chat/completions"),
}
WHOLE = b'data: {"text": "hi", "finish_reason": "stop", "choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'


@dataclass
class Reply:
    """What a path is answered with; `headers` may be given twice."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass
class Host:
    url: str
    came: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # path, headers


@pytest.fixture
def host() -> Iterator[Callable[..., Host]]:
    """Start a service of both protocols that answers as is usual, but for some paths; and keep what came."""
    with contextlib.ExitStack() as stack:

        def host(address: str = "127.0.0.1", **replies: Reply) -> Host:
            usual = {
                "/bff/auth/access_token": Reply(body=b'{"accessToken": "canary-token-5e55104"}'),
                "/api/upload-image": Reply(body=b'{"media_url": "https://images.example/1"}'),
                "/v1/models": Reply(
                    body=b'{"data": [{"id": "m", "input_modalities": ["text", "image"]}]}'
                ),
            }
            known = usual | replies
            server = stack.enter_context(ThreadingHTTPServer((address, 0), _handler(known)))
            server.handle_error = lambda *_: None  # type: ignore[method-assign]  # nobody has to read an answer
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            server.host = Host(f"http://{address}:{server.server_address[1]}")  # type: ignore[attr-defined]
            return server.host  # type: ignore[attr-defined,no-any-return]

        yield host


def _handler(replies: dict[str, Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.server.host.came.append(
                (self.path, {k.lower(): v for k, v in self.headers.items()})
            )  # type: ignore[attr-defined]
            reply = replies.get(
                self.path, Reply(headers=[("Content-Type", "text/event-stream")], body=WHOLE)
            )
            self.send_response_only(reply.status)
            self.flush_headers()
            for name, value in reply.headers:
                self.wfile.write(f"{name}: {value}\r\n".encode("utf-8", "replace"))
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def config(home: Path, tmp_path: Path) -> Callable[[str, str], Config]:
    """The configuration of somebody with a secret for a protocol of a host."""

    def config(protocol: str, url: str) -> Config:
        if protocol == "api":
            return Config(home, provider="api", model="m", api_base=f"{url}/v1", api_key=KEY)
        cookies = write_cookies(tmp_path / "cookies.txt", {"appSession": COOKIE})
        return Config(home, provider="web", web_base=url, cookies_file=cookies)

    return config


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("protocol", "path"),
    [(protocol, path) for protocol, paths in REQUESTS.items() for path in paths],
)
def test_no_redirect_of_any_request_is_followed(
    host: Callable[..., Host],
    config: Callable[[str, str], Config],
    protocol: str,
    path: str,
    status: int,
) -> None:
    elsewhere = host("127.0.0.2")
    own = host(**{path: Reply(status, [("Location", f"{elsewhere.url}{path}")])})
    answer = Client(config=config(protocol, own.url), retries=0).ask("hello", [CAT])
    if path == "/v1/models":  # which only saves a refusal
        answer.read()
    else:
        with pytest.raises(RekaError) as caught:
            answer.read()
        assert caught.value.exit_code == (3 if path.startswith("/bff") else 4)

    assert elsewhere.came == []
    assert [asked for asked, _ in own.came].count(path) == 1


def test_cookies_that_a_service_sets_are_not_sent_back(
    host: Callable[..., Host], config: Callable[[str, str], Config]
) -> None:
    hostile = [
        ("Set-Cookie", f"{name}=canary-evil; Path=/")
        for name in ("a", "appSession", "Authorization", "$Path")
    ]
    body = b'{"accessToken": "canary-token-5e55104", "media_url": "https://images.example/1"}'
    own = host(**{path: Reply(headers=hostile, body=body) for path in REQUESTS["web"][:2]})

    Client(config=config("web", own.url)).ask("hello", [CAT]).read()

    sent = [
        (path, headers.get("cookie"), headers.get("authorization")) for path, headers in own.came
    ]
    assert sent == [
        ("/bff/auth/access_token", f"appSession={COOKIE}", None),
        ("/api/upload-image", None, "Bearer canary-token-5e55104"),
        ("/api/chat", None, "Bearer canary-token-5e55104"),
    ]


def test_a_netrc_gives_no_password_to_a_server_without_a_key(
    host: Callable[..., Host], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".netrc").write_text("default login somebody password canary-netrc\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    own = host()

    Client("api", model="m", config=Config(home, api_base=f"{own.url}/v1")).ask("hello").read()

    assert [headers.get("authorization") for _, headers in own.came] == [None]


def stream(*events: object) -> Reply:
    body = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
    return Reply(headers=[("Content-Type", "text/event-stream")], body=body)


def chunk(**delta: str) -> dict[str, object]:
    return {"model": ALL, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


NO_LINES = ALL.replace("\r", "").replace("\n", "")
PLACES = {
    "the text": lambda: stream(chunk(content=ALL), {"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    "the text, letter by letter": lambda: stream(*(chunk(content=one) for one in ALL), {"choices": [{"finish_reason": "stop"}]}),
    "the reasoning": lambda: stream(chunk(reasoning=ALL), chunk(content="hi"), {"choices": [{"finish_reason": "stop"}]}),
    "the reason of the end": lambda: stream(chunk(content="hi"), {"choices": [{"delta": {}, "finish_reason": ALL}]}),
    "an error event": lambda: stream(chunk(content="hi"), {"error": {"message": ALL}}),
    "an error": lambda: Reply(400, [("Content-Type", "application/json")], json.dumps({"detail": ALL}).encode()),
    "a redirect": lambda: Reply(302, [("Location", f"https://{NO_LINES}.example/")]),
    "a coding": lambda: Reply(200, [("Content-Encoding", NO_LINES)], b"data: {}\n\n"),
    "a header": lambda: Reply(200, [("X-Tricks", NO_LINES), ("Retry-After", NO_LINES)], WHOLE),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_no_trick_reaches_the_terminal_from_anywhere(
    run: Run, host: Callable[..., Host], place: str
) -> None:
    own = host(**{"/v1/chat/completions": PLACES[place]()})
    env = {"REKA_API_BASE": f"{own.url}/v1"}
    ways = [[*debug, "-f", format_] for format_ in FORMATS for debug in ([], ["--debug", "-v"])]
    results = [
        run("ask", "-n", "-m", "m", "hello", "--retries", "0", *way, env=env) for way in ways
    ]

    assert [forbidden(result.stdout + result.stderr) for result in results] == [[]] * len(ways)
    assert {result.exit_code for result in results} <= {0, 4, 5, 7, 10}


@pytest.mark.slow
def test_no_trick_reaches_the_terminal_from_a_list_of_models(
    run: Run, host: Callable[..., Host]
) -> None:
    rows = [
        {"id": "m"},
        {"id": ALL},
        {"id": "x", "input_modalities": [ALL], "pricing": {"prompt": ALL}},
    ]
    own = host(**{"/v1/models": Reply(body=json.dumps({"data": rows}).encode())})
    env = {"REKA_API_BASE": f"{own.url}/v1"}
    asked = [
        ["models"],
        ["models", "--json"],
        ["ask", "-n", "hello"],
        ["ask", "-n", "hello", str(CAT), "-m", "y"],
    ]
    results = [run(*arguments, env=env) for arguments in asked]

    assert [forbidden(result.stdout + result.stderr) for result in results] == [[]] * len(asked)
    assert [result.exit_code for result in results] == [0, 0, 2, 0]  # an unlisted model is asked


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["-i", NO_LINES[:200], "hello"], ["hello", "-f", NO_LINES], ["hello", "--provider", NO_LINES], [f"--{NO_LINES}"], ["hello", "--schema", NO_LINES]],
    ids=["an image", "a format", "a provider", "an option", "a schema"],
)  # fmt: skip
def test_no_trick_reaches_the_terminal_from_an_argument(run: Run, arguments: list[str]) -> None:
    given = [one.replace("\0", "").replace("\ud83d", "") for one in arguments]
    result = run("ask", "-n", *given, env={"REKA_PROVIDER": "sandbox"})

    assert forbidden(result.stdout + result.stderr) == []
    assert result.exit_code in (2, 5)
