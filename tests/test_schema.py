"""An answer that must be valid against a JSON Schema."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, Run
from sites import Site

from reka_cli import Client, schema
from reka_cli.config import Config
from reka_cli.errors import BadInput, IncompleteAnswer, RekaError
from reka_cli.messages import (
    ChatRequest,
    Done,
    Event,
    Events,
    Message,
    Notice,
    ReasoningDelta,
    Start,
    TextDelta,
    Usage,
)
from reka_cli.schema.asking import ask_until_valid
from reka_cli.schema.validator import Validator

COLORS = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}
REQUEST = ChatRequest((Message("user", "Which?"),), "m", schema=COLORS)
NOT_VALID = '"color" is a required property (at $)'


def asked(
    *answers: list[Event], allow_partial: bool = False
) -> tuple[list[Event | RekaError], list[ChatRequest]]:
    """The events of a question whose provider gives these answers in turn, with its error, and what it was asked."""
    came: list[ChatRequest] = []
    left: Iterator[list[Event]] = iter(answers)

    def ask(request: ChatRequest) -> Events:
        came.append(request)
        yield Start("m")
        yield from next(left)

    events: list[Event | RekaError] = []
    try:
        for event in ask_until_valid(ask, REQUEST, Validator(COLORS), allow_partial=allow_partial):
            events.append(event)  # noqa: PERF402 - those before an error count
    except RekaError as error:
        events.append(error)
    return events, came


def failure(error: object) -> tuple[type, str, str | None]:
    assert isinstance(error, RekaError)
    return type(error), error.message, error.hint


def says(text: str, finish_reason: str | None = "stop") -> list[Event]:
    return [TextDelta(text[:4]), TextDelta(text[4:]), Usage(5, 7, 0.25), Done(finish_reason)]


def test_a_valid_answer_is_given_in_one_piece() -> None:
    events, came = asked(says('{"color": "red"}'))

    assert events == [Start("m"), TextDelta('{"color": "red"}'), Usage(5, 7, 0.25), Done("stop")]
    assert came == [REQUEST]


@pytest.mark.parametrize(
    "text", ['```json\n{"color": "red"}\n```', '```\n{"color": "red"}```\n', ' {"color": "red"} ']
)
def test_a_code_fence_is_taken_away(text: str) -> None:
    events, _ = asked(says(text))

    assert events[1] == TextDelta('{"color": "red"}')


def test_an_invalid_answer_is_asked_for_once_more_with_the_reason() -> None:
    events, came = asked(says('{"hue": "red"}'), says('{"color": "red"}'))

    assert events == [
        Start("m"),
        Notice(f"the answer is not valid: {NOT_VALID}; asking once more", is_retry=True),
        TextDelta('{"color": "red"}'),
        Usage(10, 14, 0.5),
        Done("stop"),
    ]
    again = f"That is not valid: {NOT_VALID}. Answer again, with nothing but the corrected JSON."
    assert came[1].messages == (
        Message("user", "Which?"),
        Message("assistant", '{"hue": "red"}'),
        Message("user", again),
    )


def test_of_an_answer_that_stays_invalid_there_is_no_text() -> None:
    events, came = asked(says("red"), says('{"hue": 1}'), allow_partial=True)

    assert events[2:-1] == [Usage(10, 14, 0.5), Done("stop")]
    assert failure(events[-1]) == (
        IncompleteAnswer,
        f"the answer is not valid against the schema: {NOT_VALID}",
        None,
    )
    assert len(came) == 2


def test_an_answer_that_is_cut_off_is_not_asked_for_again_and_has_no_text() -> None:
    events, came = asked(says('{"col', "length"))

    assert events[:-1] == [Start("m"), Usage(5, 7, 0.25), Done("length")]
    assert failure(events[-1]) == (
        IncompleteAnswer,
        "the JSON was cut off: it reached the maximum number of tokens",
        "--max-tokens with a higher number",
    )
    assert len(came) == 1


@pytest.mark.parametrize("finish_reason", [None, "content_filter", "length", "tool_calls"])
@pytest.mark.parametrize("allow_partial", [False, True])
def test_a_valid_answer_with_another_end_is_a_partial_one(
    finish_reason: str | None, allow_partial: bool
) -> None:
    events, _ = asked(says('{"color": "red"}', finish_reason), allow_partial=allow_partial)

    text = [TextDelta('{"color": "red"}')] if allow_partial else []
    assert events == [Start("m"), *text, Usage(5, 7, 0.25), Done(finish_reason)]


def test_the_second_answer_may_be_cut_off() -> None:
    events, _ = asked(
        says("red"), [ReasoningDelta("hm"), TextDelta('{"c'), Usage(1, 2), Done(None)]
    )

    assert events[2:] == [ReasoningDelta("hm"), Usage(6, 9), Done(None)]


def test_notices_go_on() -> None:
    events, _ = asked([Notice("wait"), TextDelta('{"color": "red"}'), Done("stop")])

    assert events == [Start("m"), Notice("wait"), TextDelta('{"color": "red"}'), Done("stop")]


def test_a_final_text_of_the_service_counts() -> None:
    events, _ = asked([TextDelta("red"), Done("stop", '{"color": "red"}')])

    assert events[1:] == [TextDelta('{"color": "red"}'), Done("stop")]


def test_a_schema_is_read_from_a_file_or_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "colors.json"
    path.write_text(json.dumps(COLORS))

    assert schema.read(str(path)) == schema.read(json.dumps(COLORS)) == COLORS


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/missing.json", "cannot read /missing.json: no such file"),
        ("{", "the schema is not whole JSON"),
        ("LIST", "LIST is not a JSON Schema: it is not an object"),
        (
            '{"properties": {"a b": {"type": "color"}}}',
            'the schema is not a JSON Schema: "color" is not valid under any of the schemas listed in the \'anyOf\' keyword (at $.properties["a b"].type)',
        ),
        (
            '{"items": {"pattern": "(a"}}',
            'the schema is not a JSON Schema: "(a" cannot be used as a pattern (at $.items.pattern)',
        ),
        (
            '{"patternProperties": {"(a{1,999}){1,999}": {}}}',
            'the schema is not a JSON Schema: "(a{1,999}){1,999}" cannot be used as a pattern (at $.patternProperties["(a{1,999}){1,999}"])',
        ),
        (
            '{"$ref": "#/$defs/a"}',
            "the schema refers to what is not in it: Pointer '/$defs/a' does not exist",
        ),
        ('{"$ref": "#a"}', "the schema refers to what is not in it: Anchor 'a' does not exist"),
        (
            '{"items": {"$ref": "other.json"}}',
            "the schema refers to what is not in it: Resource 'other.json'",
        ),
        (
            '{"$ref": "file:///etc/passwd"}',
            "the schema refers to what is not in it: Resource 'file:///etc/passwd'",
        ),
        ('{"const": "\\ud800"}', "the schema is not a JSON Schema that can be used"),
        (
            '{"maximum": 1, "const": ' + "[" * 500 + "]" * 500 + "}",
            "the schema is not a JSON Schema that can be used",
        ),
    ],
)
def test_what_is_no_schema_is_refused(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]")
    with pytest.raises(BadInput) as caught:
        schema.read(source.replace("LIST", str(path)))

    assert caught.value.message == message.replace("LIST", str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("NaN", "it is not JSON (NaN is not a number of JSON)"),
        ("-Infinity", "it is not JSON (-Infinity is not a number of JSON)"),
        ("1e999", "it is not JSON (1e999 is not a number of JSON)"),
        ('{"color": "red"', "it is not JSON (Expecting ',' delimiter: line 1 column 16 (char 15))"),
        ("", "it is not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("[" * 300 + "]" * 300, "it is nested more than 200 levels deep"),
        ('{"a":' * 300 + "1" + "}" * 300, "it is nested more than 200 levels deep"),
    ],
)
def test_what_is_not_json_is_not_valid(text: str, problem: str) -> None:
    events, came = asked(says(text), says(text))

    assert failure(events[-1])[1] == f"the answer is not valid against the schema: {problem}"
    assert len(came) == 2


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a":' * 100_000])
def test_what_is_too_much_for_json_is_not_valid(text: str) -> None:
    events, _ = asked(says(text), says(text))

    assert failure(events[-1])[1].startswith(
        "the answer is not valid against the schema: it is not JSON ("
    )


@pytest.mark.parametrize(
    "number", ["9" * 4000, "-" + "9" * 300 + ".5e-90", "1e308", "5e-324", "1.0"]
)
@pytest.mark.parametrize(
    "rule", [{"multipleOf": 0.01}, {"multipleOf": 1e-300}, {"maximum": 5}, {"type": "integer"}]
)
def test_a_huge_number_is_a_number(number: str, rule: dict[str, Any]) -> None:
    problem = Validator(rule).find_problem(number)

    assert problem is None or (len(problem) < 320 and problem.endswith("(at $)"))


TOO_LARGE = "it does not match the schema, and is too large to say where"
NO_MATCH = "is not valid under any of the schemas listed in the 'anyOf' keyword (at $)"


@pytest.mark.parametrize(
    ("rules", "text", "problem"),
    [
        (COLORS, '{"color": 5}', '5 is not of type "string" (at $.color)'),
        (COLORS, '{"hue": "red"}', NOT_VALID),
        ({"items": {"items": {"minimum": 3}}}, "[[4], [3, 2]]", "2 is less than the minimum of 3 (at $[1][1])"),
        ({"properties": {"a b": {"const": 1}}}, '{"a b": 2}', '1 was expected (at $["a b"])'),
        (
            {**COLORS, "additionalProperties": {"type": "integer"}},
            '{"x": {"y": "z"}, "w": "v"}',
            NOT_VALID,  # nearer to the root than the others
        ),
        (
            {"anyOf": [{"type": "null"}, COLORS]},
            '{"color": 5, "a": 1}',
            "{\"a\":1,\"color\":5} is not valid under any of the schemas listed in the 'anyOf' keyword (at $)",
        ),
        ({"anyOf": [{"type": "null"}, COLORS]}, '{"a": 1}', NOT_VALID),
        (
            {"oneOf": [{"properties": {"k": {"const": "a"}}}, {"properties": {"k": {"const": "b"}}, "required": ["v"]}]},
            '{"k": "b"}',
            '"v" is a required property (at $)',
        ),
        (
            {"oneOf": [{"type": "string"}, {"minLength": 1}]},
            '"x"',
            "\"x\" is valid under more than one of the schemas listed in the 'oneOf' keyword (at $)",
        ),
        ({"pattern": "^b"}, json.dumps("a" * 1000), f'"{"a" * 149}…{"a" * 128}" does not match "^b" (at $)'),
        ({"format": "email"}, '"x"', None),
        ({"minLength": 2}, '"\\ud800"', "it has half a surrogate pair in a string"),
        ({"additionalProperties": False}, '{"\\udfff": 1}', "it has half a surrogate pair in a string"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "email"}, '"x"', None),
        ({"$schema": "http://json-schema.org/schema#", "type": "integer"}, '"x"', '"x" is not of type "integer" (at $)'),
        ({"$schema": "https://example.org/own", "type": "integer"}, '"x"', '"x" is not of type "integer" (at $)'),
        ({"$ref": "#"}, "{}", None),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "{}", None),
        ({"items": {"$ref": "#"}, "type": "array"}, "[" * 150 + "]" * 150, None),
        ({"items": {"type": "integer"}}, json.dumps(["a"] * 20_000), '"a" is not of type "integer" (at $[0])'),
        ({"items": {"type": "string"}}, json.dumps(["a"] * 20_000), None),
        (
            {"anyOf": [{"items": {"type": "integer"}}] * 1000},
            json.dumps(["a"] * 20_000),
            TOO_LARGE,
        ),
        ({"type": "array", "anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, "[[1]]", f"[[1]] {NO_MATCH}"),
        ({"type": "array", "anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, f"{'[' * 99}1{']' * 99}", TOO_LARGE),
        ({"items": {"$ref": "#"}}, f"{'[' * 200}1{']' * 200}", None),
        ({"items": {"$ref": "#"}}, f"{'[' * 201}1{']' * 201}", "it is nested more than 200 levels deep"),
    ],
)  # fmt: skip
def test_the_problem_is_told_with_its_place(rules: Any, text: str, problem: str | None) -> None:
    assert Validator(rules).find_problem(text) == problem


@pytest.mark.parametrize(
    "text",
    ['```json {"color": "red"}```', '```{"color": "red"}```', '```JSON\n\n{"color": "red"}\n```'],
)
def test_a_fence_may_stand_on_one_line(text: str) -> None:
    events, _ = asked(says(text))

    assert events[1] == TextDelta('{"color": "red"}')


LOOP: dict[str, Any] = {}
LOOP["not"] = LOOP


@pytest.mark.parametrize(
    "found",
    [
        True,
        {"type": "bogus"},
        {"pattern": "("},
        {"$schema": 5},
        {"$schema": {}},
        {"enum": {1, 2}},
        {1: 2},
        LOOP,
    ],
    ids=str,
)
def test_a_schema_of_a_program_is_checked_before_it_asks(found: Any) -> None:
    with pytest.raises(BadInput, match=r"^the schema is not a JSON Schema"):
        Client("sandbox").ask("hello", schema=found)


def test_a_reference_to_another_place_is_not_followed(run: Run, site: Site, home: Path) -> None:
    remote = json.dumps({"$ref": f"{site.url}/schema.json"})
    result = run("ask", "hello", "--provider", "sandbox", "--schema", remote)

    told = f"error: the schema refers to what is not in it: Resource '{site.url}/schema.json'\n"
    assert result == Result(5, "", told)
    assert site.received == []


def doubling(keyword: str, length: int, *, is_circle: bool = False) -> dict[str, Any]:
    """A schema whose definitions each refer twice to the next."""
    last: dict[str, Any] = (
        {keyword: [{"$ref": "#/$defs/0"}] * 2} if is_circle else {"type": "string"}
    )
    definitions = {str(at): {keyword: [{"$ref": f"#/$defs/{at + 1}"}] * 2} for at in range(length)}
    return {"$ref": "#/$defs/0", "$defs": definitions | {str(length): last}}


@pytest.mark.parametrize("is_circle", [False, True])
@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_references_that_multiply_are_bad_input(keyword: str, is_circle: bool) -> None:
    with pytest.raises(BadInput) as caught:
        Validator(doubling(keyword, 40, is_circle=is_circle))

    assert (
        caught.value.message
        == "the schema is too large: its references lead to more than 10,000 schemas"
    )


def test_references_that_do_not_multiply_are_no_matter() -> None:
    chain = {str(at): {"items": {"$ref": f"#/$defs/{at + 1}"}} for at in range(3000)}
    long_chain = {"$ref": "#/$defs/0", "$defs": chain | {"3000": {}}}

    assert Validator(long_chain).find_problem("[[]]") is None
    assert Validator(doubling("allOf", 10)).find_problem("1") == '1 is not of type "string" (at $)'


PATTERNS = [
    "^(a+)+$",
    "^(?=(a+)+$)c",
    "^(?!b)(a*)*$",
    "(?=(a+)+\\1c)x",
    "^(?=(.*)(.*)(.*)\\1\\2\\3c)",
    "(.*)(.*)(.*)\\1\\2\\3c$",
    "(.*a){20}\\1c",
    "^(([a-z])+.)+\\2[A-Z]([a-z])+$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_that_would_take_for_ever_ends_in_every_thread(pattern: str) -> None:
    """It is decided, or given up and not valid; the time limit of the test is that it ends."""
    rules = [
        ({"items": {"pattern": pattern}}, json.dumps(["a" * 3000 + "b"] * 50)),
        (
            {"patternProperties": {pattern: False}, "additionalProperties": False},
            json.dumps({"a" * 3000 + "b": 1}),
        ),
        ({"propertyNames": {"pattern": pattern}}, json.dumps({"a" * 3000 + "b": 1})),
    ]
    problems: list[str | None] = []

    def validate() -> None:
        problems.extend(Validator(rule).find_problem(text) for rule, text in rules)

    thread = threading.Thread(target=validate)
    thread.start()
    thread.join()

    assert len(problems) == 3
    assert None not in problems


def served(serve_stream: Callable[..., str], *texts: str, end: object = "stop") -> dict[str, str]:
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks += [{"choices": [{"delta": {}, "finish_reason": end}]}]
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return {"REKA_API_BASE": serve_stream(stream.encode()) + "/v1"}


def test_a_pattern_that_would_take_for_ever_is_not_valid(
    run: Run, serve_stream: Callable[..., str]
) -> None:
    env = served(serve_stream, json.dumps("a" * 60 + "b"))
    result = run(
        "ask",
        "-n",
        "-m",
        "m",
        "--schema",
        '{"pattern": "^(a+)+$"}',
        "--timeout",
        "20",
        "hello",
        env=env,
    )

    problem = f'"{"a" * 60}b" does not match "^(a+)+$" (at $)'
    told = f"notice: the answer is not valid: {problem}; asking once more\n"
    assert result == Result(
        10, "", f"{told}error: the answer is not valid against the schema: {problem}\n"
    )


@pytest.mark.parametrize("options", ["", "--allow-partial", "-o FILE"])
@pytest.mark.parametrize("format_", ["text", "markdown", "json", "jsonl"])
@pytest.mark.parametrize(
    ("text", "end"),
    [("red", "stop"), ("{", "length"), ("{", None), ("{", "content_filter"), ("red", "length")],
)
def test_stdout_gets_valid_json_or_nothing(
    run: Run,
    serve_stream: Callable[..., str],
    tmp_path: Path,
    format_: str,
    options: str,
    text: str,
    end: str | None,
) -> None:
    output = tmp_path / "answer"
    more = options.replace("FILE", str(output)).split()
    result = run(
        *(
            "ask",
            "-n",
            "-q",
            "-m",
            "m",
            "--schema",
            json.dumps(COLORS),
            "-f",
            format_,
            *more,
            "hello",
        ),
        env=served(serve_stream, text, end=end),
    )

    assert result.exit_code == 10
    assert not output.exists()
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    begin = ["start", "notice"] if end == "stop" else ["start"]
    expected = [] if options.startswith("-o") else begin
    assert kinds == ([*expected, "error"] if format_ == "jsonl" else [])


@pytest.mark.parametrize("end", [None, "length", "stop"])
def test_a_valid_answer_without_its_end_may_be_accepted(
    run: Run, serve_stream: Callable[..., str], end: str | None
) -> None:
    arguments = ("ask", "-n", "-q", "-m", "m", "--schema", json.dumps(COLORS), "hello")
    env = served(serve_stream, '{"color": "red"}', end=end)

    rejected = run(*arguments, env=env)
    accepted = run(*arguments, "--allow-partial", env=env)

    whole = '{"color": "red"}\n'
    assert (rejected.exit_code, rejected.stdout) == ((0, whole) if end == "stop" else (10, ""))
    assert (accepted.exit_code, accepted.stdout) == (0, whole)


def test_a_valid_answer_is_one_delta(run: Run, serve_stream: Callable[..., str]) -> None:
    env = served(serve_stream, "```json\n", '{"color"', ': "red"}', "\n```\n")
    result = run(
        "ask", "-n", "-m", "m", "--schema", json.dumps(COLORS), "-f", "jsonl", "hello", env=env
    )

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, result.stderr) == (0, "")
    assert [event["type"] for event in events] == ["start", "delta", "end"]
    assert events[1]["text"] == events[2]["text"] == '{"color": "red"}'


def test_the_text_of_an_invalid_answer_is_empty(
    home: Path, serve_stream: Callable[..., str]
) -> None:
    base = served(serve_stream, "red")["REKA_API_BASE"]
    answer = Client("api", model="m", config=Config(home, api_base=base)).ask(
        "hello", schema=COLORS
    )
    with pytest.raises(IncompleteAnswer) as caught:
        answer.read()

    assert (answer.text, answer.finish_reason, answer.attempts) == ("", "stop", 2)
    assert caught.value.partial_chars == 0
