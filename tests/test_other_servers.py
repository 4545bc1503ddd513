"""Servers of others behind `REKA_API_BASE`: what they list, reject and want is not the same everywhere."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, Result, Run

from reka_cli import BadInput, Client, Refused, RekaError, ServiceError, UsageError
from reka_cli.config import Config
from reka_cli.messages import Usage

Reply = tuple[int, str, bytes]
ANSWER = (
    b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}], "model": "served"}'
    b'\n\ndata: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 3}}'
    b"\n\ndata: [DONE]\n\n"
)
OK: Reply = (200, "text/event-stream", ANSWER)


class Peer:
    """An API that answers each question with `reply`, and lists `models` (JSON, or a reply)."""

    def __init__(self) -> None:
        self.models: Any = {"data": [{"id": "m"}]}
        self.reply: Callable[[dict[str, Any]], Reply] = lambda _: OK
        self.questions: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                models = peer.models
                is_reply = isinstance(models, tuple)
                self.answer(
                    models if is_reply else (200, "application/json", json.dumps(models).encode())
                )

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                peer.questions.append(body)
                self.answer(peer.reply(body))

            def answer(self, reply: Reply) -> None:
                status, media_type, body = reply
                peer.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.base = f"http://{self.host}/v1"


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    with peer.server as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield peer
        server.shutdown()


@pytest.fixture
def client(peer: Peer, home: Path) -> Iterator[Client]:
    with Client("api", config=Config(home, api_base=peer.base), retries=0) as client:
        yield client


def rejection(status: int, text: str) -> Reply:
    return (status, "application/json", json.dumps({"error": {"message": text}}).encode())


class TestOptionalFields:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (422, b'{"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}'),
            (400, b'{"error": "Unrecognized request argument supplied: stream_options"}'),
            (400, b"json: unknown field"),
            (400, b'{"message": "Additional properties are not allowed"}'),
            (400, b""),
            (500, b"stream_options: not implemented"),
            (404, b'{"error": "include_usage is not available"}'),
        ],
    )  # fmt: skip
    def test_a_server_that_rejects_stream_options_is_asked_without(
        self, peer: Peer, client: Client, status: int, body: bytes
    ) -> None:
        def reply(question: dict[str, Any]) -> Reply:
            return (status, "text/plain", body) if "stream_options" in question else OK

        peer.reply = reply
        answers = [client.ask("hello", model="m").read() for _ in range(2)]

        assert answers == ["hi", "hi"]
        assert ["stream_options" in one for one in peer.questions] == [True, False, False]

    @pytest.mark.parametrize(
        ("status", "text"), [(400, "no such temperature"), (404, ""), (413, "too large")]
    )
    def test_another_rejection_is_not_tried_again(
        self, peer: Peer, client: Client, status: int, text: str
    ) -> None:
        peer.reply = lambda _: rejection(status, text)
        with pytest.raises(BadInput):
            client.ask("hello", model="m").read()

        assert len(peer.questions) == 1

    def test_a_rejection_that_stays_is_reported(self, peer: Peer, client: Client) -> None:
        peer.reply = lambda _: rejection(400, "unknown field: messages")
        with pytest.raises(BadInput, match=r"answered 400: unknown field: messages$"):
            client.ask("hello", model="m").read()

        assert len(peer.questions) == 2


class TestModelLists:
    @pytest.mark.parametrize(
        ("models", "chosen"),
        [
            ({"data": [{"id": "m"}]}, "m"),
            (["m"], "m"),
            ({"models": [{"name": "m"}]}, "m"),
            ({"data": [{"id": "m"}, {"id": "text-embedding-nomic"}, {"id": "bge-reranker"}]}, "m"),
            ({"data": [{"id": "m"}, {"id": "my/*"}]}, "m"),
            ({"data": [{"id": "a"}, {"id": "reka-edge-2603"}, {"id": "b"}]}, "reka-edge-2603"),
            ({"data": [{"id": "m"}, {"object": "model"}, None]}, "m"),
        ],
    )
    def test_without_a_name_the_default_or_the_only_model_is_asked(
        self, peer: Peer, client: Client, models: Any, chosen: str
    ) -> None:
        peer.models = models

        assert client.ask("hello").read() == "hi"
        assert peer.questions[0]["model"] == chosen
        assert client.models().default == chosen

    @pytest.mark.parametrize(
        ("models", "kind", "message", "hint"),
        [
            ({"data": []}, UsageError, "HOST lists no models", "-m NAME names the model to ask"),
            ({"data": None}, UsageError, "HOST lists no models", "-m NAME names the model to ask"),
            (
                {"data": [{"id": "my/*"}]},
                UsageError,
                "HOST lists no models",
                "-m NAME names the model to ask",
            ),
            (
                {"data": [{"id": "a; b"}, {"id": "c"}]},
                UsageError,
                "HOST has 2 models, and none is named",
                "-m 'a; b' | c",
            ),
            (
                {},
                UsageError,
                "no model is named, and HOST does not list its models",
                "-m NAME names the model to ask",
            ),
            (
                (200, "text/html", b"<html>"),
                UsageError,
                "no model is named, and HOST does not list its models",
                "-m NAME names the model to ask",
            ),
            (
                (404, "text/plain", b"not found"),
                UsageError,
                "no model is named, and there is no list of models: HOST answered 404: not found",
                "-m NAME names the model to ask",
            ),
            (
                (500, "text/plain", b"down"),
                ServiceError,
                "HOST answered 500: down",
                "-m NAME names the model to ask",
            ),
            (
                (403, "text/plain", b"no"),
                Refused,
                "HOST answered 403: no",
                "check that your account has access to this model",
            ),
        ],
    )
    def test_without_a_name_and_a_list_the_hint_is_to_name_one(
        self,
        peer: Peer,
        client: Client,
        models: Any,
        kind: type[RekaError],
        message: str,
        hint: str,
    ) -> None:
        peer.models = models
        with pytest.raises(kind) as caught:
            client.ask("hello").read()

        assert (caught.value.message.replace(peer.host, "HOST"), caught.value.hint) == (
            message,
            hint,
        )
        assert peer.questions == []

    @pytest.mark.parametrize(
        "models",
        [{"data": [{"id": "other"}, {"id": "my/*"}]}, {"data": []}, (404, "text/plain", b"")],
    )
    def test_a_model_that_is_not_listed_is_asked_with_an_image_too(
        self, peer: Peer, client: Client, models: Any
    ) -> None:
        peer.models = models

        assert client.ask("hello", [CAT], model="my/model").read() == "hi"
        assert peer.questions[0]["model"] == "my/model"

    def test_hints_are_short(self, peer: Peer, client: Client) -> None:
        peer.models = [{"id": letter * 250} for letter in "abc"]
        with pytest.raises(UsageError) as caught:
            client.ask("hello").read()

        assert caught.value.hint == f"-m {'a' * 250}"

    def test_a_list_may_have_more_than_a_megabyte(self, peer: Peer, client: Client) -> None:
        peer.models = [{"id": "m", "description": "x" * (2 << 20)}]

        assert [model.id for model in client.models().models] == ["m"]


class TestImageFormats:
    WEBP = CAT.with_name("cat.webp")

    @pytest.fixture
    def webp(self, tmp_path: Path) -> Path:
        from PIL import Image

        Image.new("RGB", (8, 8), (10, 20, 200)).save(tmp_path / "a.webp", lossless=True)
        return tmp_path / "a.webp"

    def sent_types(self, peer: Peer) -> list[str]:
        urls = [one["messages"][0]["content"][0]["image_url"]["url"] for one in peer.questions]
        return [url.partition(";")[0] for url in urls]

    def test_a_format_that_llama_cpp_does_not_decode_is_converted(
        self, peer: Peer, client: Client, webp: Path
    ) -> None:
        peer.models = {"data": [{"id": "m", "owned_by": "llamacpp"}]}

        assert client.ask("hello", [webp]).read() == "hi"
        assert self.sent_types(peer) == ["data:image/png"]

    @pytest.mark.parametrize(
        ("status", "text"),
        [
            (400, "Failed to load image or audio file"),
            (400, "image: unknown format"),
            (415, "unsupported image type: image/webp"),
            (500, "cannot identify image file <_io.BytesIO>"),
        ],
    )
    def test_a_format_that_the_server_rejects_is_converted(
        self, peer: Peer, client: Client, webp: Path, status: int, text: str
    ) -> None:
        peer.reply = lambda body: (
            rejection(status, text) if "image/webp" in json.dumps(body) else OK
        )
        answers = [client.ask("hello", [webp], model="m").read() for _ in range(2)]

        assert answers == ["hi", "hi"]
        assert self.sent_types(peer) == ["data:image/webp", "data:image/png", "data:image/png"]

    def test_an_image_that_every_server_decodes_is_not_sent_again(
        self, peer: Peer, client: Client
    ) -> None:
        peer.reply = lambda _: rejection(400, "Failed to load image")
        with pytest.raises(BadInput, match="Failed to load image"):
            client.ask("hello", [CAT], model="m").read()

        assert len(peer.questions) == 1


class TestHeaders:
    def test_they_go_with_every_request_and_are_not_logged(
        self, run: Run, peer: Peer, tmp_path: Path, home: Path
    ) -> None:
        (tmp_path / "team").write_text("canary-team-55\n")
        (home / "config.toml").write_text(
            f'[api.headers]\nX-Gateway = "vllm"\nX-Team-Token = "file:{tmp_path / "team"}"\n'
        )
        env = {"REKA_API_BASE": peer.base, "GATEWAY_KEY": "canary-gate-77"}
        result = run("ask", "hello", "--header", "X-Api-Key=env:GATEWAY_KEY", "--debug", env=env)

        assert (result.exit_code, result.stdout) == (0, "hi\n")
        names = ("x-gateway", "x-team-token", "x-api-key")
        sent = [[one.get(name) for name in names] for one in peer.headers]
        assert sent == [["vllm", "canary-team-55", "canary-gate-77"]] * 2
        assert "X-Api-Key: [redacted]" in result.stderr
        assert "canary" not in result.stderr

    def test_the_option_replaces_what_the_file_says(self, run: Run, peer: Peer, home: Path) -> None:
        (home / "config.toml").write_text('[api.headers]\nX-Gateway = "a"\n')
        env = {"REKA_API_BASE": peer.base}

        assert run("models", "--header", "X-Gateway=b", env=env).exit_code == 0
        assert peer.headers[0]["x-gateway"] == "b"

    def test_authorization_can_be_replaced(
        self, peer: Peer, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTHER", "Custom abc")
        config = Config(home, api_base=peer.base, api_key="canary-key-1234")
        with Client("api", config=config, headers={"authorization": "env:OTHER"}) as client:
            client.ask("hello", model="m").read()

        assert peer.headers[0]["authorization"] == "Custom abc"

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("X-Api-Key=abc", "the header X-Api-Key may hold a secret, which must not be written out"),
            ("Authorization=abc", "the header Authorization may hold a secret, which must not be written out"),
            ("X-Anything=Bearer abc", "the header X-Anything may hold a secret, which must not be written out"),
            ("X-Team=env:NOT_THERE", "the header X-Team is empty: nothing is in the variable NOT_THERE"),
            ("X-Team=file:/not/there", "cannot read /not/there: no such file"),
            ("X-Team=", "the header X-Team is empty: nothing is in its value"),
            ("X-Team=a\nX-Other: b", "the header X-Team has characters that no header can have"),
            ("X Team=a", "'X Team' is not the name of a header"),
            ("Content-Length=5", "the header Content-Length cannot be set"),
            ("X-Team", "a header needs a name and a value"),
        ],
    )  # fmt: skip
    def test_one_that_cannot_be_sent_is_a_usage_error(
        self, run: Run, peer: Peer, header: str, message: str
    ) -> None:
        result = run("ask", "hello", "--header", header, env={"REKA_API_BASE": peer.base})

        assert (result.exit_code, result.stderr.partition("\n")[0]) == (2, f"error: {message}")
        assert "abc" not in result.stderr
        assert peer.headers == []

    def test_a_harmless_name_may_have_a_written_value(self, peer: Peer, client: Client) -> None:
        config = Config(Path("/nowhere"), api_base=peer.base)
        headers = {"x-portkey-provider": "openai", "X-Tokens-Left": "env:HOME"}
        with Client("api", config=config, headers=headers) as client:
            client.ask("hello", model="m").read()

        assert peer.headers[0]["x-portkey-provider"] == "openai"

    def test_another_provider_rejects_them(self, run: Run) -> None:
        result = run("ask", "hello", "--provider", "sandbox", "--header", "X-Team=a")

        expected = "error: the provider sandbox sends no extra headers\nhint: --provider api\n"
        assert result == Result(5, "", expected)

    def test_those_of_the_file_go_to_no_other_provider(self, run: Run, home: Path) -> None:
        (home / "config.toml").write_text('[api.headers]\nX-Team = "env:NOT_THERE"\n')

        assert run("ask", "hello", "--provider", "sandbox").exit_code == 0

    @pytest.mark.parametrize(
        "content", ["[api]\nheaders = 5", "[api.headers]\nX = 5", "api = 5", "[api]\nkey = 'x'"]
    )
    def test_a_table_that_is_none_is_a_usage_error(
        self, run: Run, home: Path, content: str
    ) -> None:
        (home / "config.toml").write_text(content)

        assert run("status").exit_code == 2


class TestRateLimits:
    def test_a_limit_of_one_model_does_not_hold_up_the_others(
        self, peer: Peer, client: Client
    ) -> None:
        def reply(question: dict[str, Any]) -> Reply:
            if question["model"] == "busy":
                return rejection(429, "rate limit of busy reached")
            return OK

        peer.reply = reply
        with pytest.raises(RekaError):
            client.ask("hello", model="busy").read()

        assert client.ask("hello", model="free").read() == "hi"


def test_a_base_url_to_listen_at_is_one_to_connect_to(run: Run, peer: Peer) -> None:
    env = {"REKA_API_BASE": peer.base.replace("127.0.0.1", "0.0.0.0")}

    assert run("ask", "hello", env=env) == Result(0, "hi\n", "")


def test_a_cost_has_no_noise_of_floating_point_numbers(peer: Peer, client: Client) -> None:
    peer.models = [{"id": "m", "pricing": {"prompt": "0.0000001", "completion": "0.0000002"}}]
    usages = [event for event in client.ask("hello") if isinstance(event, Usage)]

    assert usages == [Usage(3, 3, 9e-07)]
