"""Habits of servers that people reported: odd in form, clear in meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reka_cli import Client, RekaError
from reka_cli.config import Config
from reka_cli.messages import Notice

Outcome = tuple[str, str | None, str]  # text, reasoning, and "complete" or the error
Ask = Callable[..., Outcome]

END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
DONE = "[DONE]"


def delta(content: object, **more: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content, **more}}]}


def ended(reason: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def _stream(events: tuple[object, ...]) -> bytes:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in events]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


@pytest.fixture
def ask(home: Path, serve_stream: Callable[[bytes], str]) -> Ask:
    """Ask a server that sends these events."""

    def ask(*events: object) -> Outcome:
        config = Config(home, api_base=serve_stream(_stream(events)) + "/v1")
        with Client("api", model="m", config=config, retries=0, timeout_s=20) as client:
            answer = client.ask("hello")
            try:
                answer.read()
            except RekaError as error:
                return answer.text, answer.reasoning, f"{error.exit_code} {error.message}"
            return answer.text, answer.reasoning, "complete"

    return ask


@pytest.mark.parametrize("nothing", ["null", "", " ", '{"choices": null}', '{"choices": []}', "{}"])
def test_an_event_that_carries_nothing_is_skipped(ask: Ask, nothing: str) -> None:
    assert ask(delta("A "), nothing, delta("cat"), nothing, END, DONE) == (
        "A cat",
        None,
        "complete",
    )


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "cat"}], "cat", None),
        ([{"type": "output_text", "text": "c"}, {"type": "text", "text": "at"}], "cat", None),
        ([{"text": "cat"}], "cat", None),
        (["c", "at"], "cat", None),
        ({"type": "text", "text": {"value": "cat", "annotations": []}}, "cat", None),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "cat"}], "cat", "hm"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "cat"},
            ],
            "cat",
            "hm",
        ),
        ([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "cat"}], "cat", "hm"),
        ([{"type": "summary_text", "text": "hm"}, "cat"], "cat", "hm"),
        ([], "cat", None),
    ],
)
def test_typed_parts_are_text_and_reasoning(
    ask: Ask, content: object, text: str, reasoning: str | None
) -> None:
    rest = () if content else (delta("cat"),)
    assert ask(delta(content), *rest, END, DONE) == (text, reasoning, "complete")


def test_a_part_that_is_no_text_is_an_error(ask: Ask) -> None:
    outcome = ask(delta("a "), delta([{"type": "image_url", "image_url": {"url": "x"}}]), END, DONE)

    assert outcome[2] == "7 the service sent a part of type 'image_url', which is no text"


@pytest.mark.parametrize(
    "events",
    [
        [delta(None, refusal="I will "), delta(None, refusal="not."), END],
        [{"choices": [{"message": {"content": None, "refusal": "I will not."}}]}, END],
        [delta([{"type": "refusal", "refusal": "I will not."}]), END],
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_model(ask: Ask, events: list[object]) -> None:
    assert ask(*events, DONE) == ("", None, "10 the model refused to answer: I will not.")


@pytest.mark.parametrize(
    "reason", ["stop", "STOP", " stop\n", "eos", "eos_token", "end", "end_turn", "stop_sequence"]
)
def test_a_normal_end_has_many_names(ask: Ask, reason: str) -> None:
    assert ask(delta("A cat"), ended(reason), DONE) == ("A cat", None, "complete")


@pytest.mark.parametrize("reason", ["max_tokens", "stopped", "endless", "cancelled", "eos_"])
def test_an_unknown_end_is_no_normal_end(ask: Ask, reason: str) -> None:
    assert ask(delta("A cat"), ended(reason), DONE)[2].startswith("10 ")


@pytest.mark.parametrize("after", ["DONE", '"[DONE]"', " [DONE] ", '{"error": {"message": "x"}}'])
def test_what_follows_a_finish_reason_takes_nothing_back(ask: Ask, after: str) -> None:
    assert ask(delta("A cat"), END, after) == ("A cat", None, "complete")


@pytest.mark.parametrize(
    "failure",
    [
        {"error": "too busy"},
        {"error": {"message": "too busy"}},
        [{"error": {"message": "too busy"}}],
        {"object": "error", "message": "too busy"},
        {"choices": [{"index": 0, "delta": {"error": "too busy"}}]},
        {"choices": [{"index": 0, "error": {"message": "too busy"}, "delta": {}}]},
        '"too busy"',
    ],
)
def test_an_error_in_any_form_is_an_error_with_its_words(ask: Ask, failure: object) -> None:
    text, _, outcome = ask(delta("Half"), failure, DONE)

    assert (text, outcome[:2]) == ("Half", "7 ")
    assert "too busy" in outcome


@pytest.mark.parametrize(
    "text",
    [
        "I look at it.\n</think>\n\nA cat.",
        "I look.\nAnd look.\n</think>\nA cat.",
        "I look at it.</think>\n\nA cat.",
    ],
)
def test_reasoning_without_a_beginning_is_not_the_answer(ask: Ask, text: str) -> None:
    assert ask(*map(delta, text), END, DONE) == ("A cat.", None, "complete")


@pytest.mark.parametrize(
    "text",
    [
        "The tag </think> ends it.",
        "Write:\n```\n</think>\n```\nThat is all.",
        "</think>\n\nA cat.",
        "It ends with\n</think>",
    ],
)
def test_an_answer_may_speak_of_the_tag(ask: Ask, text: str) -> None:
    assert ask(delta(text), END, DONE)[0].strip() == text.strip()


def test_streamed_reasoning_without_a_beginning_is_told(
    home: Path, serve_stream: Callable[[bytes], str]
) -> None:
    url = serve_stream(_stream((delta("Hm.\n</think>\n\nA cat."), END, DONE)))
    with Client("api", model="m", config=Config(home, api_base=f"{url}/v1")) as client:
        notices = [event for event in client.ask("hello") if isinstance(event, Notice)]

    assert notices == [Notice("the text before </think> is the model's reasoning, not its answer")]


@pytest.mark.parametrize(
    "text", ["\u200b", "\ufeff\u2060", "\u2800\u2800", "\u3164", "\u00ad \n", "\ufe0f"]
)
def test_an_answer_that_nobody_can_see_is_empty(ask: Ask, text: str) -> None:
    assert ask(delta(text), END, DONE)[2] == "10 the answer is empty"


def test_a_web_session_that_ends_every_text_is_read_to_its_end(
    home: Path, serve_stream: Callable[..., str]
) -> None:
    texts = ["The", "The cat", "The cat sleeps."]
    events = tuple({"type": "model", "text": one, "finish_reason": "stop"} for one in texts)
    url = serve_stream(_stream(events))
    config = Config(home, web_base=url, token="token")
    with Client("web", config=config) as client:
        assert client.ask("hello").read() == "The cat sleeps."
