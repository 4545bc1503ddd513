"""The stand-in, judged by clients of others: the `openai` package, and the `llm` tool."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, ROOT, Service

pytestmark = pytest.mark.slow

WHOLE = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello"
MEASURED = """\
This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.

What it measured of your image:

- format: JPEG
- size: 451 × 300 pixels, 30985 bytes
- mean color: light brown (#946f57)
- EXIF metadata: none
- SHA-256: fc898c685c70f36d349c985193d1121103966bad43aa69cb3d7114cb0430150f

Your question was: What can you see?"""
HELLO = [{"role": "user", "content": "hello"}]
CAT_URL = f"data:image/jpeg;base64,{base64.b64encode(CAT.read_bytes()).decode()}"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture(scope="module")
def openai() -> Any:
    return pytest.importorskip("openai")  # here, for to import it takes as long as many tests


@pytest.fixture
def client(openai: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="any-key", max_retries=0) as client:
        yield client


def test_openai_gets_a_whole_answer(client: Any) -> None:
    answer = client.chat.completions.create(model="sandbox", messages=HELLO)

    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        WHOLE,
        "stop",
    )
    assert (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
        answer.usage.total_tokens,
    ) == (1, 20, 21)
    assert answer.model == "default"


def test_openai_gets_a_stream(client: Any) -> None:
    with client.chat.completions.create(model="sandbox", messages=HELLO, stream=True) as stream:
        chunks = list(stream)

    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == WHOLE
    assert [choice.finish_reason for choice in choices][-2:] == [None, "stop"]
    assert chunks[-1].usage.total_tokens == 21


def test_openai_reads_the_trace_of_reasoning(client: Any) -> None:
    answer = client.chat.completions.create(model="sandbox-reasoning", messages=HELLO)

    assert answer.choices[0].message.reasoning_content.startswith("The sandbox does not think")
    assert answer.choices[0].message.content == WHOLE


def test_openai_sends_an_image(client: Any) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": CAT_URL}},
        {"type": "text", "text": "What can you see?"},
    ]

    answer = client.chat.completions.create(
        model="sandbox", messages=[{"role": "user", "content": parts}]
    )

    assert answer.choices[0].message.content == MEASURED


def test_openai_lists_the_models(client: Any) -> None:
    listed = [model.id for model in client.models.list()]

    assert listed[:3] == ["sandbox", "sandbox-text", "sandbox-400"]


def test_openai_gets_json_of_a_schema(client: Any) -> None:
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": "person", "strict": True, "schema": PERSON},
    }

    answer = client.chat.completions.create(
        model="sandbox", messages=HELLO, response_format=response_format
    )

    assert answer.choices[0].message.content == '{"name": "sandbox", "age": 1}'


def test_openai_is_told_that_a_key_is_bad(openai: Any, client: Any) -> None:
    with pytest.raises(openai.AuthenticationError) as told:
        client.with_options(api_key="sandbox-bad-key").chat.completions.create(
            model="sandbox", messages=HELLO
        )

    assert told.value.body == {
        "type": "authentication_error",
        "message": "Unauthorized",
        "code": None,
        "param": None,
    }


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("sandbox-429", "RateLimitError", "slow down"),
        ("sandbox-404", "NotFoundError", "no such model"),
        ("sandbox-422", "UnprocessableEntityError", "field required"),
        ("sandbox-empty-400", "BadRequestError", "400"),
        ("sandbox-503", "InternalServerError", "overloaded"),
        ("sandbox-hang-up", "APIConnectionError", "Connection error."),
    ],
)
def test_openai_knows_the_errors(
    openai: Any, client: Any, model: str, error: str, message: str
) -> None:
    with pytest.raises(getattr(openai, error)) as told:
        client.chat.completions.create(model=model, messages=HELLO)

    assert message in f"{told.value} {told.value.body}"


def test_openai_sees_an_error_inside_a_stream(openai: Any, client: Any) -> None:
    with (
        pytest.raises(openai.APIError, match="the sandbox gives up"),
        client.chat.completions.create(
            model="sandbox-error-field", messages=HELLO, stream=True
        ) as stream,
    ):
        list(stream)


Llm = Callable[..., str]


@pytest.fixture
def llm(service: Service, tmp_path: Path) -> Llm:
    """Run the `llm` tool, which knows the sandbox as the model `stand-in`, and give its stdout."""
    pytest.importorskip("llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: stand-in\n  model_name: sandbox\n  api_base: {service.url}/v1\n  vision: true\n  supports_schema: true\n"
    )
    # without plugins: those of the venv of a developer may be incomplete
    mine = {
        "LLM_USER_PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "LLM_LOAD_PLUGINS": "",
    }

    def llm(*arguments: str) -> str:
        command = [sys.executable, "-m", "llm", "-m", "stand-in", *arguments]
        streams: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }
        ended = subprocess.run(
            command, env=os.environ | mine, cwd=ROOT, text=True, timeout=60, check=False, **streams
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    return llm


def test_llm_gets_a_stream(llm: Llm, service: Service) -> None:
    assert llm("hello") == f"{WHOLE}\n"
    assert b'"stream":true' in service.received[0].body


def test_llm_gets_a_whole_answer(llm: Llm, service: Service) -> None:
    assert llm("--no-stream", "hello") == f"{WHOLE}\n"
    assert b'"stream":false' in service.received[0].body


def test_llm_sends_an_image(llm: Llm) -> None:
    assert llm("-a", "docs/images/cat.jpeg", "What can you see?") == f"{MEASURED}\n"


def test_llm_gets_json_of_a_schema(llm: Llm) -> None:
    assert llm("--schema", "name, age int", "hello") == '{"name": "sandbox", "age": 1}\n'
