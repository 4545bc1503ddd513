"""The package as a library: the shapes of the OpenAI library, the short form, errors as one tree."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, Service
from sites import Site

import reka_cli
from reka_cli import (
    BadInput,
    Client,
    IncompleteAnswer,
    Preparation,
    Reka,
    RekaError,
    Sandbox,
    UsageError,
    providers,
)
from reka_cli.completions import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChoiceDelta,
    ChunkChoice,
    CompletionUsage,
)
from reka_cli.config import Config

QUESTION = [{"role": "user", "content": "hello"}]
ANSWER = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello"


def test_a_provider_class_can_be_given(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKA_WEB_BASE", service.url)
    monkeypatch.setenv("REKA_TOKEN", service.server.token)

    assert Client(provider=Reka).ask("hello").read() == ANSWER
    assert service.paths == ["/api/chat"]


def test_the_old_name_of_preparation_works_and_warns(service: Service, tmp_path: Path) -> None:
    config = Config(tmp_path, api_base=f"{service.url}/v1")
    with pytest.warns(DeprecationWarning, match=r"Client\(preparation=\.\.\.\)"):
        client = Client(
            "api",
            model="sandbox",
            config=config,
            pictures=Preparation(max_side=8),  # deprecated name
        )

    (image,) = client.load([CAT])

    assert max(image.width, image.height) == 8


def test_a_whole_completion_is_an_object() -> None:
    completion = Client(Sandbox).chat.completions.create(model="anything", messages=QUESTION)

    assert completion == ChatCompletion(
        "anything", [Choice(ChatCompletionMessage(ANSWER), "stop")], CompletionUsage(20, 20, 40)
    )


def test_a_streamed_completion_is_chunks_of_new_text() -> None:
    chunks = list(
        Client("sandbox").chat.completions.create(model="m", messages=QUESTION, stream=True)
    )

    assert chunks[0] == ChatCompletionChunk("m", [ChunkChoice(ChoiceDelta(content="This"))])
    assert chunks[-1] == ChatCompletionChunk("m", [ChunkChoice(ChoiceDelta(), "stop")])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER


def test_a_stream_can_be_left_early() -> None:
    chunks = Client("sandbox").chat.completions.create(
        model="sandbox-stall", messages=QUESTION, stream=True
    )

    assert next(iter(chunks)).choices[0].delta.content == "This"
    del chunks  # an open socket would be a warning, and a warning is a failure


@pytest.mark.parametrize("source", [str(CAT), CAT, CAT.read_bytes()], ids=["path", "Path", "bytes"])
def test_an_image_is_a_path_or_bytes(source: Any) -> None:
    text = Client("sandbox").ask("hello", images=[source]).read()

    assert "- SHA-256: fc898c685c70f36d349c985193d1121103966bad43aa69cb3d7114cb0430150f\n" in text


def test_an_image_is_an_open_file_that_stays_open() -> None:
    with CAT.open("rb") as file:
        text = Client("sandbox").ask("hello", images=[file]).read()
        assert not file.closed

    assert "- size: 451 × 300 pixels, 30985 bytes\n" in text


@pytest.mark.parametrize("kind", ["data", "http"])
def test_an_image_can_be_a_part_of_a_message(site: Site, kind: str) -> None:
    site.pages["/cat"] = lambda handler: handler.answer(200, CAT.read_bytes())
    data_url = f"data:image/jpeg;base64,{base64.b64encode(CAT.read_bytes()).decode()}"
    url = data_url if kind == "data" else f"{site.url}/cat"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "hello"}]
    completion = Client("sandbox").chat.completions.create(
        messages=[{"role": "user", "content": parts}]
    )

    assert "- format: JPEG\n" in completion.choices[0].message.content
    assert completion.choices[0].message.content.endswith("Your question was: hello")


@pytest.mark.parametrize(
    ("messages", "error", "message"),
    [
        ([], UsageError, "there is no question"),
        ([{"role": "user", "content": " "}], UsageError, "there is no question"),
        ([{"role": "robot", "content": "x"}], UsageError, "a message's role must be one of system, user, assistant, not 'robot'"),
        ([{"role": "user"}], UsageError, "a message's content must be a text, or a list of text and image_url parts"),
        (
            [{"role": "user", "content": [{"type": "audio"}]}],
            UsageError,
            "a message's content must be a text, or a list of text and image_url parts",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": str(CAT)}}]}],
            BadInput,
            "an image_url must be an http(s) URL or a data URL",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x;base64,*"}}]}],
            BadInput,
            "the data URL of an image is not base64",
        ),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_meant_so_are_refused(
    messages: list[dict[str, Any]], error: type[RekaError], message: str
) -> None:
    with pytest.raises(error) as caught:
        Client("sandbox").chat.completions.create(messages=messages)

    assert (type(caught.value), caught.value.message) == (error, message)


def test_a_file_opened_as_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text")
    with (tmp_path / "x.txt").open() as file, pytest.raises(BadInput, match='open it with "rb"'):
        Client("sandbox").ask("hello", images=[file])  # type: ignore[list-item]


def test_an_answer_that_is_not_whole_raises_after_its_last_event() -> None:
    answer = Client("sandbox").ask("hello", model="sandbox-length")
    with pytest.raises(IncompleteAnswer) as caught:
        answer.read()

    assert answer.text == "This is the sandbox of reka-cli: a stand-in for Reka,"
    assert answer.finish_reason == "length"
    assert (caught.value.exit_code, caught.value.code, caught.value.partial_chars) == (
        10,
        "incomplete",
        53,
    )


@pytest.mark.parametrize("name", reka_cli.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(reka_cli, name) is not None


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'reka_cli' has no attribute 'Nothing'"):
        reka_cli.Nothing  # noqa: B018


@pytest.mark.parametrize("name", providers.names())
def test_every_provider_is_one(name: str) -> None:
    provider = providers.load(name)

    assert provider.name == name
    assert [
        part for part in ("events", "models", "default_model") if not hasattr(provider, part)
    ] in (
        [],
        ["default_model"],
    )


def test_no_images_can_be_given_as_none(service: Service, tmp_path: Path) -> None:
    config = Config(tmp_path, api_base=f"{service.url}/v1")
    with Client("api", model="sandbox", config=config) as client:
        texts = [
            client.ask("hello", images=None).read(),
            client.chat.completions.create(messages=QUESTION, images=None)
            .choices[0]
            .message.content,
        ]

    assert texts == [ANSWER, ANSWER]
