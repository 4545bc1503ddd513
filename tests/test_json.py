"""The formats for programs: what is written is what docs/json.md promises."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service, needs_limited_typer
from jsonschema_rs import Draft202012Validator

from reka_cli import errors
from reka_cli.escapes import json_line

DOCUMENT = (ROOT / "docs/json.md").read_text()
SCHEMAS = {
    name: json.loads(text)
    for name, text in re.findall(r"```json schema=(\w+)\n(.*?)```", DOCUMENT, re.DOTALL)
}
SANDBOX = {"REKA_PROVIDER": "sandbox"}
SHA256 = "fc898c685c70f36d349c985193d1121103966bad43aa69cb3d7114cb0430150f"
TOLD = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello"
HALF = "This is the sandbox of reka-cli: a stand-in for Reka,"


def closed(schema: Any) -> Any:
    """The same schema, allowing nothing that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: closed(value) for key, value in schema.items()}
    return {**inside, "additionalProperties": False} if schema.get("type") == "object" else inside


def check(name: str, value: object) -> None:
    schema = SCHEMAS[name] if name == "event" else closed(SCHEMAS[name])
    Draft202012Validator(schema).validate(value)


def lines(text: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        check("event", event)
    return events


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    assert 0 < answer["first_token_s"] <= answer["total_s"]
    return {key: value for key, value in answer.items() if not key.endswith("_s")}


def error(code: str, exit_code: int, message: str, **fields: object) -> dict[str, Any]:
    return {
        "error": {"code": code, "message": message, "hint": None, "exit_code": exit_code}
        | {"retry_after_s": None, "partial_chars": 0}
        | fields
    }


def test_an_answer_is_one_object(run: Run) -> None:
    result = run("ask", "-f", "json", "What can you see?", str(CAT), env=SANDBOX)
    answer = json.loads(result.stdout)

    check("answer", answer)
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    text = answer.pop("text")
    assert text.endswith(f"- SHA-256: {SHA256}\n\nYour question was: What can you see?")
    assert without_times(answer) == {
        "schema": "reka-cli/answer/1",
        "provider": "sandbox",
        "model": "sandbox",
        "model_served": None,
        "reasoning": None,
        "finish_reason": "stop",
        "usage": {"input_tokens": 53, "output_tokens": 53, "cost_usd": None},
        "images": [
            {
                "name": "cat.jpeg",
                "media_type": "image/jpeg",
                "width": 451,
                "height": 300,
                "bytes": 30985,
                "sha256": SHA256,
                "sent_media_type": "image/jpeg",
                "sent_width": 451,
                "sent_height": 300,
                "sent_bytes": 30985,
                "sent_sha256": SHA256,
            }
        ],
        "attempts": 1,
    }


def test_over_the_api_it_tells_reasoning_cost_and_what_served(run: Run, service: Service) -> None:
    env = {"REKA_API_BASE": f"{service.url}/v1"}
    result = run("ask", "-f", "json", "-m", "sandbox-reasoning-field", "hello", env=env)
    answer = json.loads(result.stdout)

    check("answer", answer)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (answer["text"], answer["model_served"]) == (TOLD, "default")  # as Reka calls it
    assert (
        answer["reasoning"] == "The sandbox does not think: this stands for a trace of reasoning."
    )


def test_events_come_as_lines(run: Run) -> None:
    result = run("ask", "--format=jsonl", "hello", env=SANDBOX)
    first, *deltas, last = lines(result.stdout)

    assert (result.exit_code, result.stderr) == (0, "")
    assert first == {"type": "start", "provider": "sandbox", "model": "sandbox"}
    assert {event["type"] for event in deltas} == {"delta"}
    assert "".join(event["text"] for event in deltas) == TOLD
    assert last.pop("type") == "end"
    check("answer", last)
    assert last["text"] == TOLD


def test_an_event_is_written_when_it_comes(clean_env: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "reka_cli",
        "ask",
        "-f",
        "jsonl",
        "-m",
        "sandbox-stall",
        "hello",
    ]
    with zygote.Popen(command, env=clean_env | SANDBOX, cwd=ROOT, stdout=-1, stderr=-1) as process:
        assert process.stdout
        seen = b""
        while not seen.endswith(b'" Reka,"}\n'):
            seen += os.read(process.stdout.fileno(), 1000)
        process.send_signal(signal.SIGINT)
        rest, stderr = process.communicate(timeout=30)

    interrupted = error("interrupted", 130, "interrupted")
    assert "".join(event.get("text", "") for event in lines(seen.decode())) == HALF
    assert lines(rest.decode()) == [{"type": "error", **interrupted}]
    assert (process.returncode, json.loads(stderr)) == (-signal.SIGINT, interrupted)


def test_a_retry_is_counted_and_told(run: Run) -> None:
    whole = run("ask", "-f", "json", "-m", "sandbox-503-once", "hello", env=SANDBOX)
    events = run("ask", "-f", "jsonl", "-m", "sandbox-503-once", "hello", env=SANDBOX)

    assert json.loads(whole.stdout)["attempts"] == 2
    assert "answered 503: overloaded; attempt 2 of 3" in json.loads(whole.stderr)["notice"]
    assert [event["type"] for event in lines(events.stdout)][:3] == ["start", "notice", "delta"]
    assert events.stderr == ""


def test_the_text_is_the_final_one_where_the_service_rewrote_it(
    run: Run, web_env: dict[str, str]
) -> None:
    result = run("ask", "-f", "jsonl", "-m", "sandbox-rewrite", "hello", env=web_env)
    events = lines(result.stdout)

    assert events[-1]["text"] == TOLD.replace("stand-in", "substitute")
    assert (
        "".join(event["text"] for event in events if event["type"] == "delta") != events[-1]["text"]
    )


@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_an_answer_that_is_cut_off_can_be_taken(run: Run, format_: str) -> None:
    result = run(
        "ask", "-q", "-f", format_, "-m", "sandbox-length", "hello", "--allow-partial", env=SANDBOX
    )
    answer = (
        lines('{"type": "end",' + result.stdout[1:])[0]
        if format_ == "json"
        else lines(result.stdout)[-1]
    )

    assert (result.exit_code, result.stderr) == (0, "")
    assert (answer["text"], answer["finish_reason"]) == (HALF, "length")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "json"],
        ["-fjson"],
        ["--format", "json"],
        ["--format=json"],
        ["-vf", "json"],
        ["-f", "text", "-fjson"],
    ],
)
def test_wrong_usage_is_told_in_json_however_the_format_is_given(
    run: Run, arguments: list[str]
) -> None:
    result = run("ask", *arguments, "-n")

    expected = error(
        "usage", 2, "there is no question", hint='reka-cli ask "What can you see?" image.jpg'
    )
    assert (result.exit_code, result.stdout, json.loads(result.stderr)) == (2, "", expected)


@pytest.mark.parametrize("arguments", [["-f", "json", "--imgae", "x"], ["--imgae", "x", "-vfjson"]])
def test_an_option_that_does_not_exist_is_told_in_json(run: Run, arguments: list[str]) -> None:
    result = run("ask", *arguments)

    expected = error("usage", 2, "there is no option --imgae", hint="did you mean --image?")
    assert json.loads(result.stderr) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--max-tokens", "x", "--format=json"],
            "invalid value for '--max-tokens': 'x' is not a valid int range",
            marks=needs_limited_typer,
        ),
        (["-f", "json", "--timeout"], "option '--timeout' requires an argument"),
    ],
)
def test_a_value_that_cannot_be_parsed_is_told_in_json(
    run: Run, arguments: list[str], message: str
) -> None:
    result = run("ask", "hello", *arguments)

    told = error("usage", 2, message, hint="reka-cli ask --help")
    assert (result.exit_code, result.stdout, json.loads(result.stderr)) == (2, "", told)


@pytest.mark.parametrize("arguments", [["--", "-fjson"], ["-f", "text", "-s", "json"]])
def test_what_only_looks_like_the_format_is_none(run: Run, arguments: list[str]) -> None:
    result = run("ask", "-i", "missing.jpg", *arguments, "hello")

    assert result == Result(5, "", "error: cannot read missing.jpg: no such file\n")


def test_an_error_before_the_first_event_ends_the_events(run: Run) -> None:
    result = run("ask", "-f", "jsonl", "-i", "missing.jpg", "hello")

    told = error("bad_input", 5, "cannot read missing.jpg: no such file")
    assert (result.exit_code, lines(result.stdout)) == (5, [{"type": "error", **told}])
    assert json.loads(result.stderr) == told
    check("error", told)


def test_a_reader_that_goes_away_is_no_error(clean_env: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "reka_cli",
        "ask",
        "-n",
        "-f",
        "jsonl",
        "-m",
        "sandbox-slow",
        "hello",
    ]
    with zygote.Popen(command, env=clean_env | SANDBOX, cwd=ROOT, stdout=-1, stderr=-1) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read()

    assert (process.returncode, stderr) == (141, b"")


def test_a_full_disk_leaves_an_error_on_stderr(clean_env: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "reka_cli", "ask", "-f", "jsonl", "hello"]
        ended = zygote.run(
            command, env=clean_env | SANDBOX, cwd=ROOT, stdout=full, stderr=-1, check=False
        )

    told = error("incomplete", 10, "cannot write the answer: no space left on device")
    assert (ended.returncode, json.loads(ended.stderr)) == (10, told)


def test_every_error_has_a_code_in_the_document() -> None:
    codes = {
        one.code
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.RekaError)
    }

    named = SCHEMAS["error"]["properties"]["error"]["properties"]["code"]["enum"]
    assert sorted(named) == sorted([*codes, "interrupted", "terminated", "hangup"])


def test_no_control_character_stands_in_a_line() -> None:
    text = "".join(map(chr, range(0xA1))) + "\u202e\u2066\ud83d\u2028"
    line = json_line({"text": text})

    assert json.loads(line) == {"text": text}
    assert re.findall(r"[^ -~\n\xa0]", line) == []
