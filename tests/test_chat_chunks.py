"""Streams of OpenAI-compatible servers that count, repeat or fail in ways of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, Run

from reka_cli import Client, RekaError
from reka_cli.config import Config
from reka_cli.messages import Done, Event, Notice, ReasoningDelta, Start, TextDelta, Usage

Serve = Callable[..., str]
Ask = Callable[[list[Any]], list[Event | str]]

MIXED = "ServiceError: the service mixed several answers in one stream"
NO_END = "IncompleteAnswer: the answer was cut off: the service did not say that this is its end"
TOO_LONG = "IncompleteAnswer: the answer was cut off: it reached the longest the service gives"
WENT_ON = Notice("the service went on after the end of its answer")
REWROTE = Notice(
    "the service rewrote its answer: what follows replaces the text from the point where it differs"
)
TOOK_BACK = Notice("the service took back the end of its answer")


def choice(text: object = None, end: object = None, **more: object) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"delta": delta, "finish_reason": end} | more


def message(text: object, end: object = None, **more: object) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}, "finish_reason": end}
    return said | more


def chunk(*choices: object, **more: object) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": list(choices)} | more


def counted(*texts: str, start: int = 0) -> list[Any]:
    return [chunk(choice(text, index=index)) for index, text in enumerate(texts, start)]


def stream(chunks: list[Any]) -> bytes:
    """Chunks as they are sent: an object is data, a text stands as it is."""
    events = [one if isinstance(one, str) else f"data: {json.dumps(one)}" for one in chunks]
    return "".join(f"{event}\n\n" for event in events).encode()


DONE = "data: [DONE]"
STOP = chunk(choice(end="stop"))


@pytest.fixture
def clean_env(clean_env: dict[str, str]) -> dict[str, str]:
    """Without coverage: a thousand processes that start and are measured would take minutes."""
    return {name: value for name, value in clean_env.items() if not name.startswith("COVERAGE_")}


@pytest.fixture
def ask(home: Path, serve_stream: Serve) -> Ask:
    """Ask a server that answers with these chunks; return the events after the first, and the error."""

    def ask(chunks: list[Any]) -> list[Event | str]:
        config = Config(home, api_base=serve_stream(stream(chunks)) + "/v1")
        answer = Client("api", model="m", config=config, retries=0, timeout_s=20).ask("hello")
        events: list[Event | str] = []
        try:
            for event in answer:
                events.append(event)  # noqa: PERF402 - those before an error count
        except RekaError as error:
            events.append(f"{type(error).__name__}: {error.message}")
        assert events.pop(0) == Start("m")
        return events

    return ask


def in_short(events: list[Event | str]) -> tuple[str, object, list[object]]:
    """The joined text, how it ended (an error, or the end's reason), and what else was said."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    ends = [event.finish_reason for event in events if isinstance(event, Done)]
    errors = [event for event in events if isinstance(event, str)]
    rest = [event for event in events if not isinstance(event, TextDelta | Done | str)]
    return text, (errors or ends)[0], rest


ABC = list("abcdefgh")

CHOICES: dict[str, tuple[list[Any], str, object]] = {
    "a count, and its end": ([*counted("A ", "dog."), chunk(choice(end="stop", index=2))], "A dog.", "stop"),
    "a short count, done": ([*counted("A ", "dog."), DONE], "A dog.", "stop"),
    "a count of one": ([*counted("A dog."), DONE], "A dog.", "stop"),
    "a long count": ([*counted(*ABC), chunk(choice(end="stop", index=8)), DONE], "abcdefgh", "stop"),
    "a long count, done": ([*counted(*ABC), DONE], "abcdefgh", "stop"),
    "a count from one": ([*counted(*ABC, start=1), DONE], "abcdefgh", "stop"),
    "a count from below zero": ([*counted(*ABC, start=-3), DONE], "abcdefgh", "stop"),
    "a count whose last text is its end": (
        [*counted("a", "b"), chunk(choice("c", "stop", index=2)), DONE],
        "abc",
        "stop",
    ),
    "a count whose first chunk is a role": (
        [chunk({"index": 0, "delta": {"role": "assistant", "content": ""}}), *counted(*ABC), DONE],
        "abcdefgh",
        "stop",
    ),
    "a count that counts the role": (
        [chunk({"index": 0, "delta": {"role": "assistant"}}), *counted(*ABC, start=1), DONE],
        "abcdefgh",
        "stop",
    ),
    "a count with an empty chunk in it": (
        [*counted("a", "b"), chunk(choice("", index=2)), *counted("c", start=3), DONE],
        "abc",
        "stop",
    ),
    "a count with chunks without a choice": (
        [*counted("a", "b"), chunk(), *counted("c", start=2), {"usage": None}, DONE],
        "abc",
        "stop",
    ),
    "a count that is cut off": (counted(*ABC), "abcdefgh", NO_END),
    "a short count that is cut off": (counted("a", "b"), "ab", NO_END),
    "a short count with another end": (
        [*counted("a"), chunk(choice("b", "length", index=1)), DONE],
        "ab",
        TOO_LONG,
    ),
    "a count, then the first again": ([*counted(*ABC), *counted("x"), DONE], "abcdefgh", MIXED),
    "a count, then the last again": ([*counted(*ABC), *counted("x", start=7), DONE], "abcdefgh", MIXED),
    "a count that jumps late": ([*counted(*ABC), *counted("x", start=9), DONE], "abcdefgh", MIXED),
    "a count, then two choices": (
        [*counted(*ABC), chunk(choice("x", index=8), choice("y", index=9)), DONE],
        "abcdefgh",
        MIXED,
    ),
    "a count, then a choice without an index": ([*counted(*ABC), chunk(choice("i")), STOP], "abcdefghi", "stop"),
    "a count that jumps early": ([*counted("a"), *counted("x", start=2), DONE], "a", MIXED),
    "a count down": ([chunk(choice("a", index=1)), chunk(choice("b", index=0)), DONE], "a", MIXED),
    "a count whose end repeats an index": ([*counted(*ABC), chunk(choice(end="stop", index=7)), DONE], "abcdefgh", "stop"),
    "a count whose end has the first index": ([*counted(*ABC), chunk(choice(end="stop", index=0)), DONE], "abcdefgh", "stop"),
    "a short count whose end has the first index": (
        [*counted("a", "b"), chunk(choice(end="stop", index=0)), DONE],
        "a",
        MIXED,
    ),
    "two of one text each": (
        [*counted("a", "x"), chunk(choice(end="stop", index=0)), chunk(choice(end="stop", index=1)), DONE],
        "a",
        "stop",
    ),
    "two of one text each, the other one ends first": (
        [*counted("a", "x"), chunk(choice(end="stop", index=1)), chunk(choice(end="stop", index=0)), DONE],
        "a",
        "stop",
    ),
    "a short count whose end repeats an index": (
        [*counted("a", "b"), chunk(choice(end="stop", index=1)), DONE],
        "a",
        MIXED,
    ),
    "a count past the end": ([chunk(choice("a", "stop", index=0)), *counted("b", start=1), DONE], "a", "stop"),
    "always one": ([chunk(choice("a", index=1)), chunk(choice("b", "stop", index=1))], "ab", "stop"),
    "always seven": ([chunk(choice("a", index=7)), chunk(choice("b", index=7)), DONE], "ab", "stop"),
    "no index": ([chunk(choice("a")), chunk(choice("b")), DONE], "ab", "stop"),
    "no index, then zero": ([chunk(choice("a")), chunk(choice("b", index=0)), STOP], "ab", "stop"),
    "null, then zero": ([chunk(choice("a", index=None)), chunk(choice("b", index=0)), DONE], "ab", "stop"),
    "one, then none": ([chunk(choice("a", index=1)), chunk(choice("b")), DONE], "ab", "stop"),
    "a text": ([chunk(choice("a", index="0")), chunk(choice("b", index="0")), DONE], "ab", "stop"),
    "texts that count": ([chunk(choice("a", index="0")), chunk(choice("b", index="1")), DONE], "a", MIXED),
    "true, then one": ([chunk(choice("a", index=True)), chunk(choice("b", index=1)), DONE], "a", MIXED),
    "a list": ([chunk(choice("a", index=[0])), chunk(choice("b", index=[0])), DONE], "ab", "stop"),
    "two in turn": (
        [chunk(choice(text, index=index)) for text, index in zip("axbycz", [0, 1] * 3, strict=True)]
        + [chunk(choice(end="stop", index=0)), chunk(choice(end="stop", index=1)), DONE],
        "abc",
        "stop",
    ),
    "four in turn": (
        [chunk(choice(text, index=index)) for text, index in zip("axyzbuvw", [0, 1, 2, 3] * 2, strict=True)]
        + [chunk(choice(end="stop", index=0)), DONE],
        "ab",
        "stop",
    ),
    "eight in turn": (
        [chunk(choice(text, index=index)) for text, index in zip(ABC * 2, [*range(8)] * 2, strict=True)] + [DONE],
        "abcdefgh",
        MIXED,
    ),
    "one after the other": (
        [chunk(choice("a", index=0)), chunk(choice("b", "stop", index=0)), *counted("x", start=1), DONE],
        "ab",
        "stop",
    ),
    "the other one first": (
        [chunk({"index": 0, "delta": {"role": "assistant"}}), chunk({"index": 1, "delta": {"role": "assistant"}}), chunk(choice("x", index=1)), chunk(choice("a", "stop", index=0)), chunk(choice("y", index=1)), DONE],
        "a",
        "stop",
    ),
    "two in turn without an end of the first": (
        [chunk(choice(text, index=index)) for text, index in zip("axby", [0, 1] * 2, strict=True)]
        + [chunk(choice(end="stop", index=1)), DONE],
        "ab",
        MIXED,
    ),
    "two in each chunk": (
        [chunk(choice("x", index=1), choice("a", index=0)), chunk(choice("b", "stop", index=0), choice("y", index=1))],
        "ab",
        "stop",
    ),
    "two in each chunk without zero": (
        [chunk(choice("a", index=2), choice("x", index=1)), chunk(choice("y", index=1), choice("b", "stop", index=2))],
        "ab",
        "stop",
    ),
    "what is not a choice": ([chunk(5, None, choice("a"), "x"), chunk("x"), STOP], "a", "stop"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_an_index_tells_choices_apart_unless_it_counts(ask: Ask, name: str) -> None:
    chunks, text, end = CHOICES[name]

    assert in_short(ask(chunks)) == (text, end, [])


def test_a_count_is_streamed_once_it_is_known_to_be_one(ask: Ask) -> None:
    first = chunk({"index": 0, "delta": {"content": "a", "reasoning": "why"}})
    events = ask([first, *counted("b", "c", "d", "e", "f", start=1), DONE])

    assert events == [ReasoningDelta("why"), *map(TextDelta, "abcdef"), Done("stop")]


@pytest.mark.parametrize(
    ("late", "text", "end"),
    [
        ([chunk(choice("b")), DONE], "ab", "stop"),
        ([chunk(choice("b", "stop"))], "ab", "stop"),
        ([chunk(choice("b", "stop")), chunk(choice("c", "stop")), DONE], "abc", "stop"),
        ([chunk(choice("b")), STOP, STOP], "ab", "stop"),
        ([chunk(choice("b"))], "ab", NO_END),
        ([chunk(choice("b", "length")), DONE], "ab", TOO_LONG),
    ],
    ids=["done", "with its end", "each with an end", "another end", "cut off", "too long"],
)
def test_text_after_the_end_is_a_part_of_the_answer(
    ask: Ask, late: list[Any], text: str, end: str
) -> None:
    assert in_short(ask([chunk(choice("a", "stop")), *late])) == (text, end, [WENT_ON])


LONG = "It is a red bicycle."
LONG_DELTAS = [chunk(choice(text)) for text in ("It is ", "a red ", "bicycle.")]
WHOLE = chunk(message(LONG, "stop", index=0), object="chat.completion")

MESSAGES: dict[str, tuple[list[Any], str, str | None, list[object]]] = {
    "the same": ([*LONG_DELTAS, WHOLE, DONE], LONG, None, []),
    "the same beside an empty delta": ([*LONG_DELTAS, chunk({"delta": {}} | message(LONG, "stop"))], LONG, None, []),
    "the same beside a role": (
        [*LONG_DELTAS, chunk({"delta": {"role": "assistant", "content": ""}} | message(LONG, "stop"))],
        LONG,
        None,
        [],
    ),
    "the same beside a delta that is null": ([*LONG_DELTAS, chunk({"delta": None} | message(LONG, "stop"))], LONG, None, []),
    "the same beside the last delta": (
        [*LONG_DELTAS[:2], chunk(choice("bicycle.", "stop") | {"message": {"content": LONG}})],
        LONG,
        None,
        [],
    ),
    "the same after the end": ([*LONG_DELTAS, STOP, chunk(message(LONG)), DONE], LONG, None, []),
    "another after the end": ([*LONG_DELTAS, STOP, chunk(message("No.")), DONE], f"{LONG}\nNo.", "No.", [WENT_ON, REWROTE]),
    "longer after the end": ([*LONG_DELTAS[:2], STOP, chunk(message(LONG)), DONE], LONG, None, [WENT_ON]),
    "the same as delta after the end": ([*LONG_DELTAS, STOP, chunk(choice(LONG)), DONE], LONG, None, []),
    "the same twice": ([*LONG_DELTAS, chunk(message(LONG)), WHOLE], LONG, None, []),
    "with blanks around": ([*LONG_DELTAS, chunk(message(f"\n\n{LONG}\n", "stop"))], LONG, None, []),
    "without the blanks of the deltas": (
        [chunk(choice(" ")), *LONG_DELTAS, chunk(choice(" \n")), chunk(message(LONG, "stop"))],
        LONG,
        None,
        [],
    ),
    "longer": ([*LONG_DELTAS[:2], WHOLE], LONG, None, []),
    "longer, then its end": ([*LONG_DELTAS[:2], chunk(message(LONG)), STOP], LONG, None, []),
    "longer, then more": ([*LONG_DELTAS[:2], chunk(message(LONG)), chunk(choice(" Yes.")), STOP], f"{LONG} Yes.", None, []),
    "longer, whose blank was held back": ([chunk(choice("It is ")), chunk(message("It is  red", "stop"))], "It is  red", None, []),
    "nothing but it": ([WHOLE, DONE], LONG, None, []),
    "nothing but it and its end": ([chunk(message(LONG)), STOP], LONG, None, []),
    "different": (
        [*LONG_DELTAS, chunk(message("It is a blue car.", "stop"))],
        f"{LONG}\nblue car.",
        "It is a blue car.",
        [REWROTE],
    ),
    "different, then more": (
        [*LONG_DELTAS, chunk(message("It is a blue car")), chunk(choice(" now.")), STOP],
        f"{LONG}\nblue car now.",
        "It is a blue car now.",
        [REWROTE],
    ),
    "different from the begin": ([*LONG_DELTAS, chunk(message("No.", "stop"))], f"{LONG}\nNo.", "No.", [REWROTE]),
    "shorter": ([*LONG_DELTAS, chunk(message("It is a", "stop"))], LONG, "It is a", [TOOK_BACK]),
    "shorter, then whole": ([*LONG_DELTAS, chunk(message("It is a")), WHOLE], LONG, None, []),
    "shorter, then the rest": (
        [*LONG_DELTAS, chunk(message("It is a")), chunk(choice(" red bicycle. Yes.")), STOP],
        f"{LONG} Yes.",
        None,
        [],
    ),
    "null": ([*LONG_DELTAS, chunk(message(None, "stop"))], LONG, None, []),
    "empty": ([*LONG_DELTAS, chunk(message("", "stop"))], LONG, None, []),
    "blank": ([*LONG_DELTAS, chunk(message(" \n", "stop"))], LONG, None, []),
    "a message that is null": ([*LONG_DELTAS, chunk(choice(end="stop", message=None)), DONE], LONG, None, []),
    "a message that is a text": ([*LONG_DELTAS, chunk(choice(end="stop", message=LONG)), DONE], LONG, None, []),
    "growing": (
        [*(chunk(message(LONG[:size])) for size in (2, 5, 9, 15)), WHOLE],
        LONG,
        None,
        [],
    ),
    "growing, with a blank first": ([*(chunk(message(text)) for text in ("", " It", " It is", " It is red")), STOP], "It is red", None, []),
    "growing, in a tag": (
        [*(chunk(message(text)) for text in ("<thi", "<think>why</think>", "<think>why</think>Yes", "<think>why</think>Yes.")), STOP],
        "Yes.",
        None,
        [ReasoningDelta("why")],
    ),
    "growing, with its reasoning": (
        [
            chunk({"message": {"reasoning": "wh"}}),
            chunk({"message": {"reasoning": "why"}}),
            chunk({"message": {"reasoning": "why", "content": "Yes"}}),
            chunk({"message": {"reasoning": "why", "content": "Yes."}, "finish_reason": "stop"}),
        ],
        "Yes.",
        None,
        [ReasoningDelta("wh"), ReasoningDelta("y")],
    ),
    "growing, then different": (
        [*(chunk(message(text)) for text in ("A cat", "A cat is", "A dog is")), STOP],
        "A cat is\ndog is",
        "A dog is",
        [REWROTE],
    ),
    "parts": ([*(chunk(message(text)) for text in ("It is ", "a red ", "bicycle.")), STOP], LONG, None, []),
    "parts, then the whole": ([*(chunk(message(text)) for text in ("It is ", "a red ", "bicycle.")), WHOLE], LONG, None, []),
    "two parts, then the whole": ([chunk(message("It is ")), chunk(message("red.")), chunk(message("It is red.", "stop"))], "It is red.", None, []),
    "reasoning as before": (
        [
            chunk({"delta": {"reasoning_content": "wh"}}),
            chunk({"delta": {"reasoning_content": "y"}}),
            chunk(choice("Yes")),
            chunk({"message": {"reasoning_content": "why", "content": "Yes"}, "finish_reason": "stop"}),
        ],
        "Yes",
        None,
        [ReasoningDelta("wh"), ReasoningDelta("y")],
    ),
    "reasoning in tags as before": (
        [
            *(chunk(choice(text)) for text in ("<thi", "nk>why</think>", "\n\nYes", ".")),
            chunk(message("<think>why</think>\n\nYes.", "stop")),
        ],
        "Yes.",
        None,
        [ReasoningDelta("why")],
    ),
    "reasoning that was in tags": (
        [
            *(chunk(choice(text)) for text in ("<think>why</think>", "Yes", ".")),
            chunk({"message": {"reasoning": "why", "content": "Yes."}, "finish_reason": "stop"}),
        ],
        "Yes.",
        None,
        [ReasoningDelta("why")],
    ),
    "reasoning that is new": (
        [*LONG_DELTAS, chunk({"message": {"reasoning": "why", "content": LONG}, "finish_reason": "stop"})],
        LONG,
        None,
        [ReasoningDelta("why")],
    ),
    "a wrapper and a separator": (
        [*(chunk(choice(text)) for text in ("<answer>", "Yes", "</answer>", "<sep>")), chunk(message("<answer>Yes</answer><sep>", "stop"))],
        "Yes",
        None,
        [],
    ),
    "what looked like a separator": ([chunk(choice("a <s")), chunk(message("a <six", "stop"))], "a <six", None, []),
    "the last delta is all": ([*LONG_DELTAS, chunk(choice(LONG, "stop")), DONE], LONG, None, []),
    "the last delta of a completion is all": ([*LONG_DELTAS, chunk(choice(LONG), object="chat.completion"), DONE], LONG, None, []),
    "the last delta is all, with blanks": ([*LONG_DELTAS, chunk(choice(f" {LONG}\n", "stop")), DONE], LONG, None, []),
    "a delta that is all, but not last": ([*LONG_DELTAS, chunk(choice(LONG)), STOP], LONG + LONG, None, []),
    "a short last delta that is all": ([*(chunk(choice(text)) for text in ("no", ",", " ")), chunk(choice("no, ", "stop"))], "no, no,", None, []),
    "the third delta is as the first two": ([*(chunk(choice(text)) for text in ("walla walla ", "bing bang ")), chunk(choice("walla walla bing bang ", "stop"))], "walla walla bing bang walla walla bing bang", None, []),
    "every chunk is a completion": ([one | {"object": "chat.completion"} for one in [*LONG_DELTAS, STOP]], LONG, None, []),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_a_whole_message_is_not_more_text(ask: Ask, name: str) -> None:
    chunks, text, replacement, said = MESSAGES[name]
    events = ask(chunks)

    assert in_short(events) == (text, "stop", said)
    assert [event for event in events if isinstance(event, Done)] == [Done("stop", replacement)]


@pytest.mark.parametrize("content", [5, True, {"a": 1}])
@pytest.mark.parametrize("kind", [choice, message])
def test_a_text_of_another_type_is_an_error(ask: Ask, kind: Any, content: object) -> None:
    events = ask([*LONG_DELTAS, chunk(kind(content, "stop")), DONE])

    assert in_short(events) == (
        LONG,
        "ServiceError: the service sent an answer whose text is no text",
        [],
    )


def test_a_message_among_counted_choices_is_one_of_them(ask: Ask) -> None:
    events = ask(
        [*counted("It ", "is ", "a ", "red "), chunk(message("It is a red one.", "stop", index=4))]
    )

    assert in_short(events) == ("It is a red one.", "stop", [])


def test_a_message_of_another_choice_is_left_out(ask: Ask) -> None:
    said = chunk(message(LONG, "stop", index=0), message("No.", "stop", index=1))

    assert in_short(ask([*LONG_DELTAS, said])) == (LONG, "stop", [])


def test_messages_without_end_are_given_up(ask: Ask) -> None:
    flip = [chunk(message(text)) for text in ("ab", "ab", *["ax", "ay"] * 60)]
    text, end, _ = in_short(ask([*flip, STOP]))

    assert text.count("\n") == 100
    assert end == "ServiceError: the service rewrote its answer more than 100 times"


ERRORS: dict[str, tuple[str, str]] = {
    "an object": ('error: {"code": 400, "message": "too long", "type": "x"}', "too long"),
    "an object in an object": ('error: {"error": {"message": "too long"}}', "too long"),
    "a text of JSON": ('error: "too long"', "too long"),
    "plain text": ("error: too long", "too long"),
    "without a blank": ("error:too long", "too long"),
    "in capitals": ("Error: too long", "too long"),
    "the name in capitals": ("event: Error\ndata: too long", "too long"),
    "in a choice": (
        'data: {"choices": [{"delta": {}, "error": {"message": "too long"}}]}',
        "too long",
    ),
    "in a choice with an end": (
        'data: {"choices": [{"error": {"message": "too long"}, "finish_reason": "stop"}]}',
        "too long",
    ),
    "without words": ("error:", "it does not say which"),
    "without a message": ('error: {"code": 500}', "it does not say which"),
    "null": ("error: null", "it does not say which"),
    "twice": ("error: too long\nerror: too short", "too long"),
    "after the name": ("event: error\nerror: too long", "too long"),
    "with data after it": ("error: too long\ndata: [DONE]", "too long"),
    "the name and an object": ('event: error\n{"message": "too long"}', "too long"),
    "the name and data": ('event: error\ndata: {"message": "too long"}', "too long"),
    "the name and the end": ("event: error\ndata: [DONE]", "[DONE]"),
    "the name alone": ("event: error", "it does not say which"),
}


@pytest.fixture(params=["api", "web"])
def half(request: pytest.FixtureRequest) -> tuple[str, dict[str, str], Any]:
    """A provider, its environment, and half an answer in its words."""
    if request.param == "api":
        return "api", {"REKA_API_BASE": "URL/v1"}, chunk(choice("half"))
    return "web", {"REKA_WEB_BASE": "URL", "REKA_TOKEN": "t"}, {"type": "model", "text": "half"}


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("name", ERRORS)
def test_a_line_of_an_error_is_an_error(
    run: Run, serve_stream: Serve, half: Any, name: str, is_first: bool
) -> None:
    provider, env, begin = half
    line, words = ERRORS[name]
    url = serve_stream(stream([line, DONE] if is_first else [begin, line, DONE]))
    result = run(
        *("ask", "hello", "-n", "-m", "m", "--provider", provider),
        env={key: value.replace("URL", url) for key, value in env.items()},
    )

    told = f"error: the service reported an error: {words}\n"
    assert result == Result(7, "" if is_first else "half\n", told)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ("error: too late", "the service reported an error: too late"),
        ("event: error", "the service reported an error: it does not say which"),
        ('data: {"error": {"message": "too late"}}', "the service reported an error: too late"),
        ("data: {", "the service sent something that is not JSON in its answer"),
        ("data: [1]", "the service sent an answer that is no object"),
        (chunk(choice(5)), "the service sent an answer whose text is no text"),
    ],
    ids=str,
)
def test_what_fails_after_the_end_leaves_the_answer_complete(
    ask: Ask, after: Any, words: str
) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    events = ask([*LONG_DELTAS, STOP, usage, after, DONE])

    assert in_short(events) == (
        LONG,
        "stop",
        [Notice(f"after the end of the answer: {words}"), Usage(1, 2)],
    )


LEFT_OUT = {
    "plain text": ("too long", "too long"),
    "a page": ("<b>too long</b>", "<b>too long</b>"),
    "a list": ('[{"error": "too long"}]', "too long"),
    "an event": ("event: exception\ndata: too long", "too long"),
    "an object": ('data: {"detail": "too long"}', "too long"),
    "an object without words": ('data: {"status": 500}', '{"status": 500}'),
    "an empty error": ('data: {"error": {}}', '{"error": {}}'),
    "a bare object": ('{"code": 500, "msg": "too long"}', "too long"),
    "two lines": ("too long\nand too wide", "too long"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_done_is_no_end_where_something_was_left_out(ask: Ask, name: str) -> None:
    line, words = LEFT_OUT[name]
    events = ask([chunk(choice("half")), line, DONE])

    assert in_short(events) == (
        "half",
        f"IncompleteAnswer: the answer was cut off; the service said: {words}",
        [],
    )


@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_answer_with_an_end_is_complete_whatever_was_left_out(ask: Ask, name: str) -> None:
    line, _ = LEFT_OUT[name]

    events = ask([chunk(choice("a")), line, chunk(choice("ll")), STOP, line, DONE])
    assert in_short(events) == ("all", "stop", [])


@pytest.mark.parametrize(
    "line",
    [
        ": too long",
        "id: 7",
        "retry: 5",
        "data:",
        "event: ping",
        'data: {"usage": null}',
        "data: " + json.dumps(chunk()),
    ],
)
def test_done_is_the_end_after_what_belongs_to_a_stream(ask: Ask, line: str) -> None:
    assert in_short(ask([chunk(choice("all")), line, DONE])) == ("all", "stop", [])
