"""An answer held to a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, Run

from reka_cli import schema
from reka_cli.deadline import Deadline
from reka_cli.errors import BadInput
from reka_cli.messages import ChatRequest, Done, Event, Events, Message, Notice, Start, TextDelta, Usage

COLOURS = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
REQUEST = ChatRequest((Message("user", "Which?"),), "m", schema=COLOURS)


def asked(*answers: list[Event]) -> tuple[list[Event], list[ChatRequest]]:
    """The events of a held question whose provider gives these answers in turn, and what it was asked."""
    came: list[ChatRequest] = []
    left: Iterator[list[Event]] = iter(answers)

    def ask(request: ChatRequest) -> Events:
        came.append(request)
        yield Start("m")
        yield from next(left)

    return list(schema.held(ask, REQUEST, Deadline.after(60))), came


def says(text: str, finish_reason: str | None = "stop") -> list[Event]:
    return [TextDelta(text[:4]), TextDelta(text[4:]), Usage(5, 7, 0.25), Done(finish_reason)]


def test_a_valid_answer_is_given_in_one_piece() -> None:
    events, came = asked(says('{"colour": "red"}'))

    assert events == [Start("m"), TextDelta('{"colour": "red"}'), Usage(5, 7, 0.25), Done("stop")]
    assert came == [REQUEST]


@pytest.mark.parametrize(
    "text", ['```json\n{"colour": "red"}\n```', '```\n{"colour": "red"}```\n', ' {"colour": "red"} ']
)
def test_a_code_fence_is_taken_away(text: str) -> None:
    events, _ = asked(says(text))

    assert events[1] == TextDelta('{"colour": "red"}')


def test_an_invalid_answer_is_asked_for_once_more_with_the_reason() -> None:
    events, came = asked(says('{"color": "red"}'), says('{"colour": "red"}'))

    assert events == [
        Start("m"),
        Notice("the answer is not valid: 'colour' is a required property (at $); asking once more", is_retry=True),
        TextDelta('{"colour": "red"}'),
        Usage(10, 14, 0.5),
        Done("stop"),
    ]
    again = (
        "That is not valid: 'colour' is a required property (at $). Answer again, with nothing but the corrected JSON."
    )
    assert came[1].messages == (
        Message("user", "Which?"),
        Message("assistant", '{"color": "red"}'),
        Message("user", again),
    )


def test_an_answer_that_stays_invalid_is_given_as_it_came() -> None:
    events, came = asked(says("red"), says("still red"))

    assert events[2:] == [TextDelta("still red"), Usage(10, 14, 0.5), Done("invalid")]
    assert len(came) == 2


def test_an_answer_that_is_cut_off_is_not_asked_for_again() -> None:
    events, came = asked(says('{"col', "length"))

    assert events == [Start("m"), TextDelta('{"col'), Usage(5, 7, 0.25), Done("length")]
    assert len(came) == 1


def test_notices_go_on() -> None:
    events, _ = asked([Notice("wait"), TextDelta('{"colour": "red"}'), Done("stop")])

    assert events == [Start("m"), Notice("wait"), TextDelta('{"colour": "red"}'), Done("stop")]


def test_a_final_text_of_the_service_counts() -> None:
    events, _ = asked([TextDelta("red"), Done("stop", '{"colour": "red"}')])

    assert events[1:] == [TextDelta('{"colour": "red"}'), Done("stop")]


def test_a_schema_is_read_from_a_file_or_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "colours.json"
    path.write_text(json.dumps(COLOURS))

    assert schema.read(str(path)) == schema.read(json.dumps(COLOURS)) == COLOURS


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/missing.json", "cannot read /missing.json: no such file"),
        ("{", "the schema is not whole JSON"),
        ("LIST", "LIST is not a JSON Schema: it is no object"),
        ('{"type": "colour"}', "the schema is not a JSON Schema: 'colour' is not valid under any of the given schemas"),
    ],
)
def test_what_is_no_schema_is_refused(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]")
    with pytest.raises(BadInput) as caught:
        schema.read(source.replace("LIST", str(path)))

    assert caught.value.message == message.replace("LIST", str(path))


@pytest.mark.parametrize("text", ["NaN", "1e999", "[" * 3000, '{"colour": "red"'])
def test_what_is_no_json_is_not_valid(text: str) -> None:
    events, came = asked(says(text), says(text))

    assert events[-1] == Done("invalid")
    assert len(came) == 2


@pytest.mark.parametrize(
    "text", ['```json {"colour": "red"}```', '```{"colour": "red"}```', '```JSON\n\n{"colour": "red"}\n```']
)
def test_a_fence_may_stand_on_one_line(text: str) -> None:
    events, _ = asked(says(text))

    assert events[1] == TextDelta('{"colour": "red"}')


@pytest.mark.parametrize(
    "found", [True, {"type": "bogus"}, {"pattern": "("}, {"$schema": 5}, {"$schema": {}}, {"enum": {1, 2}}]
)
def test_a_schema_of_a_program_is_checked_before_it_asks(found: Any) -> None:
    from reka_cli import Client

    with pytest.raises(BadInput, match=r"^the schema is not a JSON Schema"):
        Client("sandbox").ask("hello", schema=found)


def test_a_schema_that_never_ends_is_bad_input() -> None:
    request = ChatRequest((Message("user", "Which?"),), "m", schema={"$ref": "#"})

    events = list(schema.held(lambda _: iter(says("{}")), request, Deadline.after(60)))  # type: ignore[arg-type, return-value]
    assert events[-1] == Done("invalid")


def test_a_reference_to_another_place_is_not_followed() -> None:
    remote: dict[str, Any] = {"$ref": "https://example.org/schema.json"}
    request = ChatRequest((Message("user", "Which?"),), "m", schema=remote)

    with pytest.raises(BadInput, match="the schema refers to what is not in it"):
        list(schema.held(lambda _: iter(says("{}")), request, Deadline.after(60)))  # type: ignore[arg-type, return-value]


def test_a_pattern_that_takes_for_ever_ends_at_the_deadline(run: Run, serve_stream: Callable[..., str]) -> None:
    chunk = {"choices": [{"delta": {"content": json.dumps("a" * 60 + "b")}, "finish_reason": "stop"}]}
    env = {"REKA_API_BASE": serve_stream(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()) + "/v1"}
    result = run("ask", "-n", "-m", "m", "--schema", '{"pattern": "^(a+)+$"}', "--timeout", "2", "hello", env=env)

    assert result == Result(8, "", "error: no whole answer within 2 s\nhint: --timeout SECONDS allows more time\n")
