"""Misbehaviour on request: ask for a model called `sandbox-NAME`, and the sandbox fails as services do.

Each fault says where it was seen, or that it is assumed. What no service does on purpose is in `hostile.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Literal

from reka_cli.sandbox import instances
from reka_cli.sandbox.answers import texts_so_far
from reka_cli.sandbox.fault import NO_FAULT, Course, Fault, half, whole
from reka_cli.sandbox.hostile import HOSTILE
from reka_cli.sandbox.steps import BareLine, Cut, End, Fail, Raw, Say, Status, Step, Think, Wait

PREFIX = "sandbox-"


def find(model: str) -> Fault:
    """Give the fault that a model name asks for; any other name answers normally."""
    return FAULTS.get(model.removeprefix(PREFIX), NO_FAULT) if model.startswith(PREFIX) else NO_FAULT


_CHALLENGE = b"<!doctype html><title>Just a moment...</title><p>sandbox: this stands for a challenge page"
_GARBAGE = b"data: {not json\n\n"
_ERROR_EVENT = b'event: error\ndata: {"message": "the sandbox gives up"}\n\n'
_OTHER_EVENTS = b': a comment\n\nevent: ping\ndata: 1\n\ndata: {"type": "search", "text": "sandbox"}\n\n'
_NO_CHOICES = (
    b'data: {"object": "chat.completion.chunk"}\n\n'
    b'data: {"object": "chat.completion.chunk", "choices": []}\n\n'
    b'data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": null}]}\n\n'
)
NO_IMAGE = (
    b'{"error": {"code": 500, "type": "server_error", "message": "image input is not supported - hint: if this is '
    b'unexpected, you may need to provide the mmproj"}}'
)
_DONE = b"data: [DONE]\n\n"
_ESCAPES = "\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r"
_TRACE = "The sandbox does not think: this stands for a trace of reasoning."


def _ended_early(texts: Sequence[str], finish_reason: str) -> list[Step]:
    half = texts[: len(texts) // 2] or [""]
    return [*map(Say, half), End(finish_reason, half[-1])]


def _take_back(texts: Sequence[str]) -> list[Step]:
    return [*map(Say, texts), End("stop", texts[len(texts) // 2])]


def _slow(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield Wait(0.05)
        yield step


def _repeat(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield from (step, step) if isinstance(step, Say) else (step,)


def _rewrite(texts: Sequence[str]) -> Iterator[Step]:
    yield from half(texts)
    yield from (Say(text.replace("a stand-in", "a substitute", 1)) for text in texts[len(texts) // 2 :])
    yield End("stop", texts[-1].replace("a stand-in", "a substitute", 1))


def _thinking(
    texts: Sequence[str], field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
) -> list[Step]:
    return [*(Think(trace, field) for trace in texts_so_far(_TRACE)), *whole(texts)]


def _only_thinking(_: Sequence[str]) -> list[Step]:
    return [*map(Think, texts_so_far(_TRACE)), End("length", "")]


def _in_pieces(text: str) -> Iterator[Step]:
    """Say the text one, two and three characters at a time, so that every tag is cut."""
    end = 0
    for size in cycle((1, 2, 3)):
        end += size
        yield Say(text[:end])
        if end >= len(text):
            break
    yield End("stop", text)


def _tagged(tag: str) -> Course:
    return lambda texts: _in_pieces(f"<{tag}>{_TRACE}</{tag}>\n\n{texts[-1]}")


def _without_choices(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield Raw(_NO_CHOICES)
        yield step


def _unclosed(texts: Sequence[str]) -> list[Step]:
    return [*map(Say, texts), End("stop", texts[-1], closing=False)]


def _error(code: int, message: str, kind: str = "sandbox", **headers: str) -> Status:
    body = f'{{"error": {{"type": "{kind}", "message": "{message}"}}}}'.encode()
    return Status(code, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


_ASSUMED = "assumed: nobody recorded this of Reka's web session"
_HTTP = "assumed of Reka; what HTTP services in general do"
_V1 = "a finish_reason of API v1, 2024"
_A6, _A7, _A8 = (f"seen by clients: docs/protocols.md, {section}" for section in ("A6", "A7", "A8"))
_B4, _B5, _B7, _B9, _C = (f"docs/protocols.md, {section}" for section in ("B4", "B5", "B7", "B9", "C"))
_B4_OPEN = "assumed: no text names the end of the API's stream (docs/protocols.md, B4)"

FAULTS: dict[str, Fault] = {
    "400": Fault("refuses the request", _HTTP, _error(400, "the sandbox refuses this request")),
    "401": Fault("takes no token", _HTTP, _error(401, "Unauthorized")),
    "401-once": Fault("wants a fresh token", _HTTP, _error(401, "Unauthorized"), once=True),
    "402": Fault("wants money", "docs/protocols.md, B9: P001", _error(402, "P001: Insufficient Balance")),
    "403": Fault("forbids it", _HTTP, Status(403, _CHALLENGE, "text/html")),
    "404": Fault("knows no such model", "docs/protocols.md, B8", _error(404, "no such model")),
    "413": Fault("finds it too large", _HTTP, Status(413)),
    "422": Fault(
        "finds it malformed", "docs/protocols.md, B9", Status(422, b'{"detail": [{"msg": "field required"}]}')
    ),
    "429": Fault("is asked too often", _A8, _error(429, "slow down")),
    "429-later": Fault("asks to come back in an hour", _HTTP, _error(429, "slow down", Retry_After="3600")),
    "429-once": Fault("is asked too often, once", _A8, _error(429, "slow down", Retry_After="0"), once=True),
    "500": Fault("fails", _HTTP, _error(500, "internal error")),
    "502": Fault("has no service behind its gateway", _HTTP, Status(502, b"<h1>Bad Gateway</h1>", "text/html")),
    "503": Fault("is overloaded", _HTTP, _error(503, "overloaded")),
    "503-once": Fault("is overloaded, once", _HTTP, _error(503, "overloaded", Retry_After="0"), once=True),
    "504": Fault("takes too long behind its gateway", _HTTP, Status(504, b"", "text/plain")),
    "html": Fault("serves a challenge page with status 200", _ASSUMED, Status(200, _CHALLENGE, "text/html")),
    "redirect": Fault("sends elsewhere", _ASSUMED, Status(302, headers={"Location": "https://elsewhere.invalid/"})),
    "hang-up": Fault("closes the connection without an answer", _HTTP, Cut()),
    "silent": Fault("never begins", _HTTP, course=lambda _: [Wait(3600)]),
    "empty": Fault("ends without a word", _HTTP, course=lambda _: [Say(""), End("stop", "")]),
    "nothing": Fault("sends an empty body", _HTTP, course=lambda _: []),
    "cut": Fault("breaks off in the middle", _HTTP, course=lambda texts: [*half(texts), Cut()]),
    "no-end": Fault("stops without a finish_reason", _A6, course=lambda texts: map(Say, texts)),
    "length": Fault("reaches its longest answer", _V1, course=lambda texts: _ended_early(texts, "length")),
    "context": Fault("runs out of context", _V1, course=lambda texts: _ended_early(texts, "context")),
    "filtered": Fault("filters the rest", _ASSUMED, course=lambda texts: _ended_early(texts, "content_filter")),
    "stall": Fault("falls silent in the middle", _HTTP, course=lambda texts: [*half(texts), Wait(3600)]),
    "garbage": Fault("sends what is no JSON", _ASSUMED, course=lambda texts: [*half(texts), Raw(_GARBAGE)]),
    "error-event": Fault("reports an error", _ASSUMED, course=lambda texts: [*half(texts), Raw(_ERROR_EVENT)]),
    "error-field": Fault(
        "reports an error as a field", _ASSUMED, course=lambda texts: [*half(texts), Fail("the sandbox gives up")]
    ),
    "rewrite": Fault("rewrites what it already sent", _ASSUMED, course=_rewrite, api_course=whole),
    "take-back": Fault("takes the end of its answer back", _A7, course=_take_back, api_course=whole),
    "repeat": Fault("sends each text twice", _ASSUMED, course=_repeat, api_course=whole),
    "blanks": Fault("begins with blanks", _A7, course=lambda texts: whole(["  " + text for text in texts])),
    "bare-json": Fault(
        "answers with one bare JSON line", _A7, course=lambda texts: [BareLine("  " + texts[-1])], api_course=whole
    ),
    "other-events": Fault("sends other events too", _A6, course=lambda texts: [Raw(_OTHER_EVENTS), *whole(texts)]),
    "osc52": Fault("tries to rule the terminal", _ASSUMED, course=lambda texts: whole([_ESCAPES + t for t in texts])),
    "only-escapes": Fault("sends nothing but escape sequences", _ASSUMED, course=lambda _: whole([_ESCAPES])),
    "close": Fault("ends its body by closing the connection", _HTTP, framed=False),
    "slow": Fault("says twenty words a second", "that is how models speak", course=_slow),
    "reasoning": Fault("reasons first, in reasoning_content", _B5, course=_thinking),
    "reasoning-field": Fault("reasons first, in reasoning", _B5, course=lambda texts: _thinking(texts, "reasoning")),
    "reasoning-tags": Fault(
        "reasons first, between <reasoning> tags", f"{_B5} and C", course=_thinking, api_course=_tagged("reasoning")
    ),
    "think-tags": Fault(
        "reasons first, between <think> tags", "assumed of local servers", course=_thinking, api_course=_tagged("think")
    ),
    "reasoning-length": Fault("reasons until nothing is left", _B5, course=_thinking, api_course=_only_thinking),
    "wrapped": Fault(
        "wraps its answer into <answer> and <sep>",
        f"{_C}: llama.cpp without --reasoning off, LM Studio",
        api_course=lambda texts: _in_pieces(f"<answer>{texts[-1]}</answer>\n <sep>"),
    ),
    "no-choices": Fault("sends chunks without choices or delta", _B4, api_course=_without_choices),
    "done-only": Fault(
        "says [DONE] but no finish_reason", _B4_OPEN, course=lambda texts: [*map(Say, texts), Raw(_DONE)]
    ),
    "finish-only": Fault("gives a finish_reason but no [DONE]", _B4_OPEN, course=_unclosed),
    "hang-after-end": Fault(
        "falls silent after its finish_reason", _B4_OPEN, course=lambda texts: [*_unclosed(texts), Wait(3600)]
    ),
    "detail": Fault(
        "gives its reason as a detail", _B9, Status(400, b'{"detail": "the sandbox refuses this request"}')
    ),
    "empty-400": Fault("refuses without a reason", f"{_B9}: an API key is missing", Status(400)),
    "balance": Fault("has no credit left", _B9, _error(429, "P001: Insufficient Balance", "rate_limit_error")),
    "no-image": Fault(
        "takes no picture",
        "measured: llama.cpp's server without an mmproj file, 2026-11-22",
        Status(500, NO_IMAGE),
        for_pictures=True,
    ),
    "fenced": Fault("puts JSON into a code fence", _B7, json_text=instances.fenced),
    "bad-json": Fault("gives JSON that its schema forbids", _B7, json_text=instances.invalid),
    "bad-json-once": Fault("gives JSON that its schema forbids, once", _B7, json_text=instances.invalid, once=True),
    **HOSTILE,
}
