"""Habits of servers that people reported: odd in form, clear in meaning."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reka_cli import Client, RekaError
from reka_cli.config import Config
from reka_cli.messages import Done, Notice, TextDelta
from reka_cli.providers._chat_chunks import ChatAnswer

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


def outcome(client: Client, **options: Any) -> Outcome:
    """Ask, and return what became of the answer."""
    with client:
        answer = client.ask("hello", **options)
        try:
            answer.read()
        except RekaError as error:
            return answer.text, answer.reasoning, f"{error.exit_code} {error.message}"
        return answer.text, answer.reasoning, "complete"


@pytest.fixture
def ask(home: Path, serve_stream: Callable[..., str]) -> Ask:
    """Ask a server of the API that sends these events, or this body."""

    def ask(*events: object, body: bytes | None = None, **options: Any) -> Outcome:
        content = _stream(events) if body is None else body
        url = serve_stream(content, options.pop("media_type", "text/event-stream"))
        config = Config(home, api_base=f"{url}/v1")
        client = Client(
            "api",
            model="m",
            config=config,
            retries=0,
            timeout_s=20,
            allow_partial=options.pop("allow_partial", False),
        )
        return outcome(client, **options)

    return ask


@pytest.fixture
def ask_web(home: Path, serve_stream: Callable[..., str]) -> Ask:
    """Ask a web session that sends these events, or this body."""

    def ask(*events: object, body: bytes | None = None) -> Outcome:
        url = serve_stream(_stream(events) if body is None else body)
        config = Config(home, web_base=url, token="token")
        return outcome(Client("web", config=config, retries=0, timeout_s=20))

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
    reasoning = text.partition("</think>")[0].rstrip()

    assert ask(*map(delta, text), END, DONE) == ("A cat.", reasoning, "complete")
    assert ask(delta(text), END, DONE) == ("A cat.", reasoning, "complete")


@pytest.mark.parametrize(
    "text",
    [
        "The tag </think> ends it.",
        "Write:\n```\n</think>\n```\nThat is all.",
        "Write <think>hm</think>A cat.",
        "`</think>` ends it.",
    ],
)
def test_an_answer_may_speak_of_the_tag(ask: Ask, text: str) -> None:
    assert ask(delta(text), END, DONE)[0].strip() == text.strip()


def test_a_closing_tag_before_the_answer_is_dropped(ask: Ask) -> None:
    assert ask(delta("</think>\n\nA cat."), END, DONE) == ("A cat.", None, "complete")


def test_nothing_but_reasoning_is_no_answer(ask: Ask) -> None:
    assert ask(delta("I look"), delta(" at it.\n</think>"), END, DONE) == (
        "",
        "I look at it.",
        "10 the answer is empty",
    )


def test_streamed_reasoning_without_a_beginning_is_told(
    home: Path, serve_stream: Callable[[bytes], str]
) -> None:
    url = serve_stream(_stream((delta("Hm."), delta("\n</think>\n\nA cat."), END, DONE)))
    with Client("api", model="m", config=Config(home, api_base=f"{url}/v1")) as client:
        events = list(client.ask("hello"))

    assert events[1:] == [
        TextDelta("Hm."),
        Notice("the text so far was the model's reasoning; its answer follows"),
        TextDelta("\n\n"),
        TextDelta("A cat."),
        Done("stop", "A cat.", reasoning="Hm."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\u200b",
        "\ufeff\u2060",
        "\u2800\u2800",
        "\u3164",
        "\u00ad \n",
        "\ufe0f",
        "\u202e\u2066",
        "\x1b[31m",
    ],
)
def test_an_answer_that_nobody_can_see_is_empty(ask: Ask, text: str) -> None:
    assert ask(delta(text), END, DONE)[2] == "10 the answer is empty"


def web(text: object, reason: str | None = None, **more: object) -> dict[str, Any]:
    return {"type": "model", "text": text, "finish_reason": reason, **more}


WEB_STREAMS: dict[str, tuple[list[object], Outcome]] = {
    "an end with every text": (
        [web(text, "stop") for text in ("The", "The cat", "The cat sleeps.")],
        ("The cat sleeps.", None, "complete"),
    ),
    "an end before more text": (
        [web("The"), web("The cat", "stop"), web("The cat sleeps.", "stop")],
        ("The cat sleeps.", None, "complete"),
    ),
    "an end before text without one": (
        [web("The cat", "stop"), web("The cat sl")],
        ("The cat sl", None, "10 the answer was cut off: the service did not say that this is its end"),
    ),
    "an end before an error": (
        [web("A cat.", "stop"), {"error": "too late"}],
        ("A cat.", None, "complete"),
    ),
    "an end before the same text": (
        [web("A cat.", "stop"), web("A cat."), web(""), web("A c")],
        ("A cat.", None, "complete"),
    ),
    "an end in capitals": ([web("A cat."), web("A cat.", " EOS ")], ("A cat.", None, "complete")),
    "an end that is a text of null": (
        [web("A", "null"), web("A cat.", "null")],
        ("A cat.", None, "10 the answer was cut off: the service did not say that this is its end"),
    ),
    "nothing between the texts": (
        [web("A"), "null", {}, [], "ping", {"type": "ping"}, web("A cat.", "stop")],
        ("A cat.", None, "complete"),
    ),
    "typed parts": (
        [web([{"type": "text", "text": "A "}, {"type": "text", "text": "cat."}], "stop")],
        ("A cat.", None, "complete"),
    ),
    "reasoning in tags": (
        [web("<think>h"), web("<think>hm</think>A"), web("<think>hm</think>A cat.", "stop")],
        ("A cat.", "hm", "complete"),
    ),
    "reasoning without its opening tag": (
        [web("Hm."), web("Hm.\n</think>\n\nA"), web("Hm.\n</think>\n\nA cat.", "stop")],
        ("A cat.", "Hm.", "complete"),
    ),
    "a refusal": (
        [web("", "stop", refusal="I will not.")],
        ("", None, "10 the model refused to answer: I will not."),
    ),
    "nothing to see": ([web("\u200b\u2800", "stop")], ("\u200b\u2800", None, "10 the answer is empty")),
    "an error without a field for it": (
        [web("Half"), {"detail": "too busy"}],
        ("Half", None, "10 the answer was cut off; the service said: too busy"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEB_STREAMS)
def test_the_web_session_is_read_as_the_api_is(ask_web: Ask, name: str) -> None:
    events, expected = WEB_STREAMS[name]

    assert ask_web(*events) == expected


FAILURES: dict[str, tuple[str, str]] = {
    "an event of the type error": ('data: {"type": "error", "text": "too busy"}', ": too busy"),
    "errors": ('data: {"errors": [{"message": "too busy"}]}', ": too busy"),
    "err": ('data: {"err": "too busy"}', ": too busy"),
    "an array": ('data: [{"error": {"message": "too busy"}}]', ": too busy"),
    "JSON in JSON": ('data: "{\\"error\\": {\\"message\\": \\"too busy\\"}}"', ": too busy"),
    "text in data": ("data: too busy", ": too busy"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("is_first", [True, False])
def test_an_error_of_an_odd_form_is_an_error_on_both_protocols(
    ask: Ask, ask_web: Ask, name: str, is_first: bool
) -> None:
    line, words = FAILURES[name]
    for asking, half in ((ask, delta("Half")), (ask_web, web("Half"))):
        begin = b"" if is_first else _stream((half,))
        text, _, ending = asking(body=begin + f"{line}\n\n".encode())

        assert (text, ending[:2]) == ("" if is_first else "Half", "7 ")
        assert ending.endswith(words)


BODIES: dict[str, tuple[str, str, Outcome]] = {
    "plain text": (
        "text/plain",
        "too busy\n",
        ("", None, "7 the response is not an event stream: too busy"),
    ),
    "an error over several lines": (
        "text/plain",
        '{\n  "error": {\n    "message": "too busy"\n  }\n}\n',
        ("", None, "7 the service reported an error: too busy"),
    ),
    "an answer over several lines": (
        "text/event-stream",
        json.dumps({"choices": [{"message": {"content": "A cat."}, "finish_reason": "stop"}]}, indent=2),
        ("A cat.", None, "complete"),
    ),
    "a problem": (
        "application/problem+json",
        '{"title": "too busy", "status": 503}',
        ("", None, "7 the service reported an error: too busy"),
    ),
    "an array": (
        "application/json",
        '[{"error": {"message": "too busy"}}]',
        ("", None, "7 the service reported an error: too busy"),
    ),
    "a text": ("application/json", '"too busy"', ("", None, "7 the service reported an error: too busy")),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_stream_is_understood(ask: Ask, name: str) -> None:
    media_type, body, expected = BODIES[name]

    assert ask(body=body.encode(), media_type=media_type) == expected


@pytest.mark.parametrize(
    "nothing",
    ["data: {}", "data: []", "data: ping", 'data: {"type": "ping"}', "data: 17", "data: false", ": ping"],
)  # fmt: skip
def test_done_is_the_end_after_what_carries_nothing(ask: Ask, nothing: str) -> None:
    body = _stream((delta("A cat"),)) + f"{nothing}\n\n".encode() + _stream((DONE,))

    assert ask(body=body) == ("A cat", None, "complete")


@pytest.mark.parametrize("done", ["data: DONE", 'data: "[DONE]"', "data: [done] ", "[DONE]"])
def test_the_end_of_a_stream_has_many_spellings(ask: Ask, done: str) -> None:
    body = _stream((delta("A cat"),)) + f"{done}\n\n".encode()

    assert ask(body=body) == ("A cat", None, "complete")


def test_an_event_may_have_a_name(ask: Ask) -> None:
    chunks = (delta("A "), delta("cat"), END)
    body = "".join(f"event: chunk\ndata: {json.dumps(one)}\n\n" for one in chunks)

    assert ask(body=body.encode()) == ("A cat", None, "complete")


def test_a_finish_reason_that_is_a_text_of_null_is_none(ask: Ask) -> None:
    chunks = [{"choices": [{"delta": {"content": one}, "finish_reason": "null"}]} for one in "ab"]

    assert ask(*chunks)[2].startswith("10 the answer was cut off")
    assert ask(*chunks, END) == ("ab", None, "complete")


def test_a_text_completion_is_an_answer(ask: Ask) -> None:
    chunks = [{"choices": [{"text": one, "index": 0}]} for one in ("A ", "cat")]

    assert ask(*chunks, DONE) == ("A cat", None, "complete")


@pytest.mark.parametrize("reason", ["stop", "eos", "end_turn"])
def test_json_for_a_schema_is_complete_at_each_normal_end(ask: Ask, reason: str) -> None:
    schema = {"type": "object"}

    assert ask(delta('{"a": 1}'), ended(reason), schema=schema) == ('{"a": 1}', None, "complete")


def test_a_refusal_of_json_is_told_and_not_asked_again(ask: Ask) -> None:
    refusal = delta(None, refusal="I will not.")

    assert ask(refusal, END, schema={"type": "object"}) == (
        "",
        None,
        "10 the model refused to answer: I will not.",
    )


def test_a_text_before_a_refusal_can_be_accepted(ask: Ask) -> None:
    events = (delta("A part."), delta(None, refusal="No more."), END)

    assert ask(*events)[2] == "10 the model refused to answer: No more."
    assert ask(*events, allow_partial=True) == ("A part.", None, "complete")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reasoning_content", "hm"),
        ("reasoning", "hm"),
        ("thinking", "hm"),
        ("reasoning", [{"type": "text", "text": "hm"}]),
        ("reasoning_details", [{"type": "reasoning.text", "text": "hm"}]),
    ],
)
def test_reasoning_has_many_fields(ask: Ask, field: str, value: object) -> None:
    assert ask(delta(None, **{field: value}), delta("A cat"), END) == ("A cat", "hm", "complete")


GROWING: dict[str, tuple[list[str], str]] = {
    "words": (["It", "It is", "It is red", "It is red."], "It is red."),
    "letters": (["I", "It", "It ", "It i", "It is"], "It is"),
    "two long texts": (["The gate", "The gate is closed."], "The gate is closed."),
    "a role first": (["", "It", "It is", "It is red."], "It is red."),
    "two short texts, which may be parts": (["a", "ab"], "aab"),
    "parts that begin alike": (["a", "ab", "ab", "c"], "aababc"),
    "parts of a line": (["-", "--", "---"], "------"),
    "parts of a laugh": (["ha ha ha", "ha ha haha ha ha", "!"], "ha ha haha ha haha ha ha!"),
}


@pytest.mark.parametrize("name", GROWING)
def test_deltas_with_the_text_so_far_do_not_repeat_it(ask: Ask, name: str) -> None:
    texts, expected = GROWING[name]

    assert ask(*map(delta, texts), END, DONE) == (expected, None, "complete")


@pytest.mark.parametrize("name", ["words", "two short texts, which may be parts"])
def test_a_message_may_follow_deltas_with_the_text_so_far(ask: Ask, name: str) -> None:
    texts, expected = GROWING[name]
    last = {"choices": [{"message": {"content": expected}, "finish_reason": "stop"}]}

    assert ask(*map(delta, texts), last) == (expected, None, "complete")


END_TEXTS: dict[str, tuple[list[str], float]] = {
    "the first text has the end": (["A cat."], 5.0),
    "a later text has the end": (["A ", "cat."], 2.0),
    "a text follows the end": (["A cat.", " No."], math.inf),
}


@pytest.mark.parametrize("name", END_TEXTS)
def test_the_wait_for_the_rest_depends_on_how_sure_the_end_is(name: str) -> None:
    texts, rest_s = END_TEXTS[name]
    answer = ChatAnswer()
    *first, last = texts
    for text in first:
        reason = "stop" if rest_s == math.inf else None
        list(answer.read({"choices": [{"delta": {"content": text}, "finish_reason": reason}]}))
    list(answer.read({"choices": [{"delta": {"content": last}, "finish_reason": "stop"}]}))

    assert answer.rest_s == rest_s
