"""The OpenAI-compatible protocol: what is sent, what is understood, what is refused before it is sent."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service
from faults import FAULTS
from misbehaviors import CUT_OFF, WHOLE

from reka_cli import BadInput, Client, IncompleteAnswer, NetworkError, ServiceError
from reka_cli.config import Config
from reka_cli.messages import Done, Message, Options, ReasoningDelta, Start, TextDelta, Usage
from reka_cli.providers._models import ModelCache
from reka_cli.sandbox.built_in_faults import model_names

COLORS = '{"type":"object","properties":{"color":{"type":"string"}},"required":["color"]}'


@pytest.fixture
def api_env(service: Service) -> dict[str, str]:
    """The environment of a user with a server of their own."""
    return {"REKA_API_BASE": f"{service.url}/v1", "REKA_MODEL": "sandbox"}


@pytest.fixture
def client(service: Service, home: Path) -> Client:
    return Client(
        "api", model="sandbox", config=Config(home, api_base=f"{service.url}/v1"), retries=0
    )


def sent(service: Service) -> dict[str, Any]:
    """The body of the last request."""
    body: dict[str, Any] = json.loads(service.received[-1].body)
    return body


def reka(home: Path, listed: list[dict[str, Any]] | None = None) -> Client:
    """A client of Reka's own API, which knows a list of its models; it can ask nobody here."""
    config = Config(home, cache_dir=home / "cache", api_key="canary-key-1234")
    if listed is not None:
        ModelCache(home / "cache", "https://api.reka.ai/v1", "canary-key-1234").put(listed)
    return Client("api", config=config, retries=0, timeout_s=5)


class TestRequests:
    def test_a_question_is_one_message(self, client: Client, service: Service) -> None:
        client.ask("hello").read()

        assert service.paths == ["/v1/chat/completions"]
        assert "authorization" not in service.received[0].headers
        assert sent(service) == {
            "model": "sandbox",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def test_an_image_stands_before_the_text_as_a_data_url(
        self, client: Client, service: Service
    ) -> None:
        import base64

        client.ask(
            "hello",
            [CAT],
            system="Be brief.",
            options=Options(max_tokens=500, temperature=0.0, seed=7),
        ).read()

        url = f"data:image/jpeg;base64,{base64.b64encode(CAT.read_bytes()).decode()}"
        assert service.paths == ["/v1/models", "/v1/chat/completions"]
        assert sent(service) == {
            "model": "sandbox",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url}},
                        {"type": "text", "text": "hello"},
                    ],
                },
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 500,
            "temperature": 0.0,
            "seed": 7,
        }

    def test_history_goes_as_it_is(self, client: Client, service: Service) -> None:
        client.send([Message("user", "a"), Message("assistant", "b"), Message("user", "c")]).read()

        roles = [(one["role"], one["content"]) for one in sent(service)["messages"]]
        assert roles == [("user", "a"), ("assistant", "b"), ("user", "c")]

    def test_a_key_is_sent_as_a_bearer(
        self, run: Run, service: Service, api_env: dict[str, str]
    ) -> None:
        assert run("ask", "hello", env=api_env | {"REKA_API_KEY": "canary-key-1234"}) == Result(
            0, WHOLE, ""
        )
        assert service.received[0].headers["authorization"] == "Bearer canary-key-1234"

    def test_a_key_that_is_not_taken_exits_3(
        self, run: Run, service: Service, api_env: dict[str, str]
    ) -> None:
        result = run("ask", "hello", "--debug", env=api_env | {"REKA_API_KEY": "sandbox-bad-key"})

        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.endswith(
            f"error: {service.host} answered 401: Unauthorized\n"
            "hint: reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=...\n"
        )
        assert "sandbox-bad-key" not in result.stderr

    def test_a_video_is_a_data_url_or_a_url(
        self, client: Client, service: Service, tmp_path: Path
    ) -> None:
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(12))
        client.ask("hello", videos=[clip, "https://example.org/clip.webm"]).read()

        parts = sent(service)["messages"][0]["content"]
        assert [part["type"] for part in parts] == ["video_url", "video_url", "text"]
        assert (
            parts[0]["video_url"]["url"] == "data:video/mp4;base64,AAAAGGZ0eXBtcDQyAAAAAAAAAAAAAAAA"
        )
        assert parts[1]["video_url"]["url"] == "https://example.org/clip.webm"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "cannot read PATH: no such file"),
            (b"text", "clip.mp4 is no MP4, QuickTime or WebM clip"),
            (b"", "clip.mp4 is no MP4, QuickTime or WebM clip"),
        ],
    )
    def test_what_is_no_video_is_refused(
        self, client: Client, tmp_path: Path, content: bytes | None, message: str
    ) -> None:
        clip = tmp_path / "clip.mp4"
        if content is not None:
            clip.write_bytes(content)
        with pytest.raises(BadInput) as caught:
            client.ask("hello", videos=[clip])

        assert caught.value.message == message.replace("PATH", str(clip).lower())

    def test_an_object_schema_gets_its_empty_properties(
        self, client: Client, service: Service
    ) -> None:
        text = client.ask("hello", schema={"type": "object"}).read()

        assert json.loads(text) == {}
        assert sent(service)["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {}}},
        }


class TestRefusedBeforeItIsSent:
    def test_an_image_for_a_model_that_takes_none(
        self, run: Run, service: Service, api_env: dict[str, str]
    ) -> None:
        result = run("ask", "-m", "sandbox-text", "-i", str(CAT), "hello", env=api_env)

        assert (result.exit_code, result.stdout) == (5, "")
        assert result.stderr.startswith(
            "error: sandbox-text does not accept images\nhint: -m sandbox | "
        )
        assert service.paths == ["/v1/models"]

    def test_a_video_for_a_model_that_takes_none(self, home: Path) -> None:
        rows = [
            {"id": "a", "input_modalities": ["text", "image"]},
            {"id": "b", "input_modalities": ["text", "video"]},
        ]
        with pytest.raises(BadInput) as caught:
            reka(home, rows).ask("hello", videos=["https://example.org/x.mp4"], model="a").read()

        assert (caught.value.message, caught.value.hint) == ("a does not accept videos", "-m b")

    def test_more_images_than_the_model_takes(self, home: Path) -> None:
        rows = [{"id": "reka-edge-2603", "input_modalities": ["text", "image"]}]
        with pytest.raises(BadInput) as caught:
            reka(home, rows).ask("hello", [CAT] * 4).read()

        assert (
            caught.value.message == "reka-edge-2603 accepts at most 3 images in a question, not 4"
        )

    def test_an_old_list_refuses_nothing(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        client = reka(home, [{"id": "old", "input_modalities": ["text"]}])
        (kept,) = (home / "cache").glob("*.json")
        kept.write_text(kept.read_text().replace('"got_at_s": 1', '"got_at_s": 0'))
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens

        for images in ([], [CAT]):
            with pytest.raises(NetworkError, match="the proxy cannot be reached"):
                client.ask("hello", images, model="new").read()

    def test_a_model_that_the_list_does_not_have(self, home: Path) -> None:
        with pytest.raises(BadInput) as caught:
            reka(home, [{"id": "reka-edge-2603"}, {"id": "reka-flash-3"}]).ask(
                "hello", model="reka-edge"
            ).read()

        expected = ("there is no model 'reka-edge' here", "-m reka-edge-2603 | reka-flash-3")
        assert (caught.value.message, caught.value.hint) == expected


class TestTheModelThatIsAsked:
    def test_at_reka_it_is_the_one_that_sees(self, home: Path) -> None:
        from reka_cli.providers.api import Api
        from reka_cli.transport import ConnectionPool

        provider = Api(Config(home, api_key="key"), ConnectionPool())

        assert provider.default_model == "reka-edge-2603"

    def test_with_a_server_of_many_models_one_must_be_named(
        self, run: Run, service: Service
    ) -> None:
        result = run("ask", "hello", env={"REKA_API_BASE": f"{service.url}/v1"})

        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(
            r"error: 127.0.0.1:\d+ has \d+ models, and none is named\nhint: -m sandbox \| .*\n",
            result.stderr,
        )

    def test_any_name_is_sent_where_no_list_is_needed(
        self, client: Client, service: Service
    ) -> None:
        assert client.ask("hello", model="any-name").read() + "\n" == WHOLE
        assert sent(service)["model"] == "any-name"


class TestWhichProvider:
    def test_a_key_is_preferred_to_a_session(
        self, run: Run, service: Service, api_env: dict[str, str], web_env: dict[str, str]
    ) -> None:
        run("ask", "hello", env=web_env | api_env | {"REKA_PROVIDER": "auto"})

        assert service.paths == ["/v1/chat/completions"]

    def test_a_model_of_the_web_session_is_asked_there(
        self, run: Run, service: Service, api_env: dict[str, str], web_env: dict[str, str]
    ) -> None:
        run("ask", "hello", "-m", "reka-flash", env=web_env | api_env | {"REKA_PROVIDER": "auto"})

        assert service.paths == ["/bff/auth/access_token", "/api/chat"]

    def test_a_model_of_the_web_session_without_one_is_asked_at_the_api(
        self, run: Run, service: Service, api_env: dict[str, str]
    ) -> None:
        run("ask", "hello", "-m", "reka-flash", env=api_env)

        assert service.paths == ["/v1/chat/completions"]

    def test_the_api_of_reka_needs_a_key(self, run: Run) -> None:
        result = run("ask", "hello", "--provider", "api")

        told = "error: there is no API key\nhint: reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=...\n"
        assert result == Result(3, "", told)

    def test_plain_http_to_another_machine_must_be_allowed(self, run: Run) -> None:
        result = run("ask", "hello", env={"REKA_API_BASE": "http://192.0.2.1:8000/v1"})

        told = "error: REKA_API_BASE is http: the way to 192.0.2.1 is not private\nhint: --insecure-http allows it\n"
        assert result == Result(2, "", told)


class TestEvents:
    def test_they_are_the_same_on_every_protocol(self, client: Client) -> None:
        over_web = [
            event for event in Client("sandbox").ask("hello") if not isinstance(event, Usage)
        ]
        over_api = [event for event in client.ask("hello") if not isinstance(event, Usage)]

        assert over_api[:-1] == over_web[:-1]
        assert over_api[0] == Start("sandbox")
        assert (over_web[-1], over_api[-1]) == (Done("stop"), Done("stop", model_served="default"))

    @pytest.mark.parametrize(
        "fault", ["reasoning", "reasoning-field", "think-tags", "reasoning-tags"]
    )
    def test_reasoning_stands_apart_from_the_answer(self, client: Client, fault: str) -> None:
        answer = client.ask("hello", model=f"sandbox-{fault}")
        events = list(answer)

        assert answer.text + "\n" == WHOLE
        assert answer.reasoning
        assert "<" not in answer.reasoning + answer.text
        last_thought = max(
            index for index, event in enumerate(events) if isinstance(event, ReasoningDelta)
        )
        first_word = min(
            index for index, event in enumerate(events) if isinstance(event, TextDelta)
        )
        assert last_thought < first_word

    def test_wrappers_and_the_separator_are_dropped(self, client: Client) -> None:
        assert client.ask("hello", model="sandbox-wrapped").read() + "\n" == WHOLE

    def test_reasoning_that_uses_up_the_tokens_is_told(self, client: Client) -> None:
        answer = client.ask("hello", model="sandbox-reasoning-length")
        with pytest.raises(IncompleteAnswer) as caught:
            answer.read()

        assert (
            caught.value.message
            == "the answer is empty: the reasoning used up the tokens it may take"
        )
        assert caught.value.hint == "--max-tokens with a higher number"
        assert answer.reasoning

    def test_the_longest_answer_can_be_set(self, run: Run, api_env: dict[str, str]) -> None:
        result = run("ask", "hello", "--max-tokens", "3", env=api_env)

        assert result == Result(
            10, "This is the\n", f"{CUT_OFF}: it reached the longest the service gives\n"
        )

    def test_a_completion_that_is_not_streamed_is_understood(
        self, service: Service, home: Path, serve_stream: Any
    ) -> None:
        body = {
            "choices": [{"message": {"content": "<think>why</think>hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        }
        answer = Client(
            "api",
            model="m",
            config=Config(
                home, api_base=serve_stream(json.dumps(body).encode(), "application/json") + "/v1"
            ),
        ).ask("hello")

        assert list(answer) == [
            Start("m"),
            ReasoningDelta("why"),
            TextDelta("hi"),
            Usage(1, 2),
            Done("stop"),
        ]

    @pytest.mark.parametrize(
        ("stream", "texts", "finish_reason"),
        [
            (b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":""}]}\n\ndata: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}\n\n', ["a", "b"], "stop"),
            (b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: {"choices":[{"delta":{},"finish_reason":""}]}\n\n', ["a"], "stop"),
            (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"delta":{},"message":{"content":"a"},"finish_reason":"stop"}]}\n\n', ["a"], "stop"),
            (b'data: {"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n', ["a"], "stop"),
            (b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":-5,"completion_tokens":true}}\r\n\r\ndata:[DONE]\r\n\r\n', ["a"], "stop"),
        ],
        ids=["empty reason first", "empty reason last", "message last", "index", "odd usage"],
    )  # fmt: skip
    def test_odd_chunks_are_understood(
        self, serve_stream: Any, home: Path, stream: bytes, texts: list[str], finish_reason: str
    ) -> None:
        answer = Client(
            "api", model="m", config=Config(home, api_base=serve_stream(stream) + "/v1")
        ).ask("hello")

        assert [event.text for event in answer if isinstance(event, TextDelta)] == texts
        assert answer.finish_reason == finish_reason

    def test_the_error_object_of_vllm_is_an_error(self, serve_stream: Any, home: Path) -> None:
        stream = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"object":"error","message":"out of memory","code":500}\n\ndata: [DONE]\n\n'
        answer = Client(
            "api", model="m", config=Config(home, api_base=serve_stream(stream) + "/v1")
        ).ask("hello")

        with pytest.raises(ServiceError, match=r"^the service reported an error: out of memory$"):
            answer.read()

    def test_what_it_cost_is_known_where_the_prices_are(
        self, run: Run, api_env: dict[str, str]
    ) -> None:
        result = run("ask", "hello", str(CAT), "-v", env=api_env)

        assert re.fullmatch(
            r"sent 1 image, 31\.0 kB\n"
            r"api, sandbox, (\d+) tokens in, (\d+) out, 0\.0000\d\d USD, first word after [\d.]+ s, [\d.]+ s, \d+ tokens/s\n",
            result.stderr,
        )


def test_an_image_that_the_server_cannot_take_is_bad_input_and_not_tried_again(
    run: Run, service: Service, api_env: dict[str, str]
) -> None:
    result = run("ask", "-m", "sandbox-no-image", "-i", str(CAT), "hello", env=api_env)

    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith(
        f"error: {service.host} answered 500: image input is not supported"
    )
    assert service.paths == ["/v1/models", "/v1/chat/completions"]


class TestSchema:
    @pytest.mark.parametrize("provider", ["api", "web", "sandbox"])
    def test_the_answer_is_json_alone(
        self, run: Run, api_env: dict[str, str], web_env: dict[str, str], provider: str
    ) -> None:
        env = api_env | web_env | {"REKA_PROVIDER": provider}
        fenced = (
            ["sandbox-fenced"] if provider != "sandbox" else []
        )  # which only a server of the tests has
        for model in ("sandbox", *fenced, "sandbox-bad-json-once"):
            result = run(
                "ask", "-q", "Which color?", str(CAT), "-m", model, "--schema", COLORS, env=env
            )

            assert (result.exit_code, result.stderr) == (0, "")
            assert json.loads(result.stdout) == {"color": "sandbox"}

    @pytest.mark.parametrize("provider", ["api", "web"])
    def test_an_answer_that_stays_invalid_is_incomplete(
        self, run: Run, api_env: dict[str, str], web_env: dict[str, str], provider: str
    ) -> None:
        env = api_env | web_env | {"REKA_PROVIDER": provider}
        result = run("ask", "Which color?", "-m", "sandbox-bad-json", "--schema", COLORS, env=env)

        told = (
            'notice: the answer is not valid: "color" is a required property (at $); asking once more\n'
            'error: the answer is not valid against the schema: "color" is a required property (at $)\n'
        )
        assert result == Result(10, "", told)

    @pytest.mark.parametrize("schema", ["", "/missing.json"])
    def test_a_schema_that_is_not_there_is_not_passed_over(
        self, run: Run, api_env: dict[str, str], schema: str
    ) -> None:
        assert run("ask", "hello", "--schema", schema, env=api_env).exit_code == 5

    def test_a_temperature_is_a_number(self, run: Run, api_env: dict[str, str]) -> None:
        assert run("ask", "hello", "--temperature", "inf", env=api_env) == Result(
            2, "", "error: a temperature is a number, not inf\n"
        )

    def test_a_schema_that_is_none_is_refused_before_any_request(
        self, run: Run, service: Service, api_env: dict[str, str]
    ) -> None:
        result = run("ask", "hello", "--schema", "{", env=api_env)

        assert result == Result(5, "", "error: the schema is not whole JSON\n")
        assert service.received == []


class TestModels:
    def test_in_a_pipe_they_are_lines_with_tabs(self, run: Run, api_env: dict[str, str]) -> None:
        result = run("models", env=api_env)

        lines = result.stdout.splitlines()
        assert (result.exit_code, result.stderr) == (0, "")
        assert lines[0] == "sandbox\ttext,image,video\t16384\t14745\t0.10\t0.10"
        assert len(lines) == len(FAULTS) + 2

    def test_as_json_they_are_one_object(self, run: Run, api_env: dict[str, str]) -> None:
        listing = json.loads(run("models", "--json", env=api_env).stdout)

        assert (listing["schema"], listing["provider"], listing["default"]) == (
            "reka-cli/models/1",
            "api",
            "sandbox",
        )
        assert listing["models"][0] == {
            "id": "sandbox",
            "input_modalities": ["text", "image", "video"],
            "context_tokens": 16384,
            "max_output_tokens": 14745,
            "input_usd": 1e-07,
            "output_usd": 1e-07,
        }

    def test_on_a_terminal_they_are_a_table(
        self, clean_env: dict[str, str], api_env: dict[str, str]
    ) -> None:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "reka_cli", "models"]
        env = clean_env | api_env | {"COLUMNS": "100", "TERM": "xterm"}
        with zygote.Popen(command, env=env, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs):
            os.close(theirs)
            screen = b""
            while chunk := _read(ours):
                screen += chunk
        os.close(ours)

        shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.decode()).splitlines()
        assert shown[0].strip() == "models of api"
        assert shown[1].split() == [
            "model",
            "takes",
            "context",
            "longest",
            "answer",
            "USD/M",
            "in",
            "USD/M",
            "out",
        ]
        assert shown[2].split() == [
            "sandbox",
            "(default)",
            "text,image,video",
            "16384",
            "14745",
            "0.10",
            "0.10",
        ]

    def test_those_of_the_web_session_are_the_known_names(
        self, run: Run, web_env: dict[str, str]
    ) -> None:
        result = run("models", env=web_env)

        assert result == Result(
            0,
            "reka-core\ttext,image\t-\t-\t-\t-\nreka-flash\ttext,image\t-\t-\t-\t-\nreka-edge\ttext,image\t-\t-\t-\t-\n",
            "notice: the web session has no list: these names were seen in clients of 2024, any other is sent too\n",
        )

    def test_of_the_sandbox_they_are_those_it_serves(self, run: Run) -> None:
        result = run("models", env={"REKA_PROVIDER": "sandbox"})

        listed = [line.split("\t")[0] for line in result.stdout.splitlines()]
        assert (result.exit_code, listed, result.stderr) == (0, model_names(), "")

    def test_local_ones_are_files(self, run: Run) -> None:
        told = 'error: a local model is a file of yours\nhint: reka-cli ask --provider local -m model.gguf "..."\n'
        assert run("models", "--provider", "local") == Result(2, "", told)

    def test_a_fresh_list_is_not_asked_for_again(self, home: Path) -> None:
        listing = reka(home, [{"id": "reka-edge-2603"}]).models()

        assert ([one.id for one in listing.models], listing.default) == (
            ["reka-edge-2603"],
            "reka-edge-2603",
        )

    def test_a_stale_list_is_used_if_the_network_fails(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = reka(home, [{"id": "reka-edge-2603"}])
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # where nobody listens
        notices: list[str] = []

        listing = client.models(refresh=True, notice=notices.append)

        assert [one.id for one in listing.models] == ["reka-edge-2603"]
        assert notices == [
            "cannot reach api.reka.ai: the proxy cannot be reached; showing an earlier list"
        ]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""


def test_reasoning_is_shown_on_a_terminal_alone(
    clean_env: dict[str, str], api_env: dict[str, str]
) -> None:
    def stderr_of(*more: str) -> str:
        ours, theirs = pty.openpty()
        command = [
            sys.executable,
            "-m",
            "reka_cli",
            "ask",
            "hello",
            "-n",
            "-m",
            "sandbox-reasoning",
            *more,
        ]
        env = clean_env | api_env | {"TERM": "xterm"}
        with zygote.Popen(
            command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs
        ) as process:
            os.close(theirs)
            stdout, _ = process.communicate(timeout=30)
            shown = b""
            while chunk := _read(ours):
                shown += chunk
        os.close(ours)
        assert stdout.decode() == WHOLE
        return shown.decode()

    shown = stderr_of()
    assert shown.startswith("\x1b[2mthinking: ")
    assert shown.endswith("\x1b[0m\r\n")
    assert stderr_of("--reasoning", "hide") == ""
