"""All the misbehaviors that the tests run: those of the sandbox, more of what services do, and what a hostile one does.

A server that a test starts knows them all with `Server(faults=FAULTS)`. Each fault says where it was seen, or that it is
assumed. What no service does on purpose is in `hostile.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from hostile import HOSTILE

from reka_cli.sandbox import built_in_faults, instances
from reka_cli.sandbox.answers import texts_so_far
from reka_cli.sandbox.api_protocol import NO_IMAGE
from reka_cli.sandbox.fault import Course, Fault, half, whole
from reka_cli.sandbox.steps import BareLine, End, Fail, RawBytes, Say, Step, Think, Wait, WholeReply

_GARBAGE = b"data: {not json\n\n"
_ERROR_EVENT = b'event: error\ndata: {"message": "the sandbox gives up"}\n\n'
_OTHER_EVENTS = (
    b': a comment\n\nevent: ping\ndata: 1\n\ndata: {"type": "search", "text": "sandbox"}\n\n'
)
_NO_CHOICES = (
    b'data: {"object": "chat.completion.chunk"}\n\n'
    b'data: {"object": "chat.completion.chunk", "choices": []}\n\n'
    b'data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": null}]}\n\n'
)
_BALANCE = b'{"error": {"type": "rate_limit_error", "message": "P001: Insufficient Balance"}}'
_DONE = b"data: [DONE]\n\n"
_ESCAPES = "\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r"
_TRACE = "The sandbox does not think: this stands for a trace of reasoning."


def _out_of_context(texts: Sequence[str]) -> list[Step]:
    said = half(texts)
    return [*said, End("context", texts[len(said) - 1])]


def _take_back(texts: Sequence[str]) -> list[Step]:
    return [*map(Say, texts), End("stop", texts[len(texts) // 2])]


def _repeat(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield from (step, step) if isinstance(step, Say) else (step,)


def _rewrite(texts: Sequence[str]) -> Iterator[Step]:
    yield from half(texts)
    yield from (
        Say(text.replace("a stand-in", "a substitute", 1)) for text in texts[len(texts) // 2 :]
    )
    yield End("stop", texts[-1].replace("a stand-in", "a substitute", 1))


def _thinking(texts: Sequence[str]) -> list[Step]:
    return [*map(Think, texts_so_far(_TRACE)), *whole(texts)]


def _thinking_in_another_field(texts: Sequence[str]) -> list[Step]:
    return [*(Think(trace, "reasoning") for trace in texts_so_far(_TRACE)), *whole(texts)]


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
        yield RawBytes(_NO_CHOICES)
        yield step


def _unclosed(texts: Sequence[str]) -> list[Step]:
    return [*map(Say, texts), End("stop", texts[-1], closing=False)]


_ASSUMED = "assumed: nobody recorded this of Reka's web session"
_HTTP = "assumed of Reka; what HTTP services in general do"
_V1 = "a finish_reason of API v1, 2024"
_A6, _A7 = (f"seen by clients: docs/protocols.md, {section}" for section in ("A6", "A7"))
_B4, _B5, _B7, _B9, _C = (
    f"docs/protocols.md, {section}" for section in ("B4", "B5", "B7", "B9", "C")
)
_B4_OPEN = "assumed: no text names the end of the API's stream (docs/protocols.md, B4)"

SERVICES: dict[str, Fault] = {
    "413": Fault("finds it too large", _HTTP, WholeReply(413)),
    "422": Fault(
        "finds it malformed",
        "docs/protocols.md, B9",
        WholeReply(422, b'{"detail": [{"msg": "field required"}]}'),
    ),
    "502": Fault(
        "has no service behind its gateway",
        _HTTP,
        WholeReply(502, b"<h1>Bad Gateway</h1>", "text/html"),
    ),
    "504": Fault("takes too long behind its gateway", _HTTP, WholeReply(504, b"", "text/plain")),
    "redirect": Fault(
        "sends elsewhere",
        _ASSUMED,
        WholeReply(302, headers={"Location": "https://elsewhere.invalid/"}),
    ),
    "nothing": Fault("sends an empty body", _HTTP, course=lambda _: []),
    "no-end": Fault("stops without a finish_reason", _A6, course=lambda texts: map(Say, texts)),
    "context": Fault("runs out of context", _V1, course=_out_of_context),
    "garbage": Fault(
        "sends what is no JSON", _ASSUMED, course=lambda texts: [*half(texts), RawBytes(_GARBAGE)]
    ),
    "error-event": Fault(
        "reports an error", _ASSUMED, course=lambda texts: [*half(texts), RawBytes(_ERROR_EVENT)]
    ),
    "error-field": Fault(
        "reports an error as a field",
        _ASSUMED,
        course=lambda texts: [*half(texts), Fail("the sandbox gives up")],
    ),
    "rewrite": Fault("rewrites what it already sent", _ASSUMED, course=_rewrite, api_course=whole),
    "take-back": Fault(
        "takes the end of its answer back", _A7, course=_take_back, api_course=whole
    ),
    "repeat": Fault("sends each text twice", _ASSUMED, course=_repeat, api_course=whole),
    "blanks": Fault(
        "begins with blanks", _A7, course=lambda texts: whole(["  " + text for text in texts])
    ),
    "bare-json": Fault(
        "answers with one bare JSON line",
        _A7,
        course=lambda texts: [BareLine("  " + texts[-1])],
        api_course=whole,
    ),
    "other-events": Fault(
        "sends other events too", _A6, course=lambda texts: [RawBytes(_OTHER_EVENTS), *whole(texts)]
    ),
    "osc52": Fault(
        "tries to rule the terminal",
        _ASSUMED,
        course=lambda texts: whole([_ESCAPES + t for t in texts]),
    ),
    "only-escapes": Fault(
        "sends nothing but escape sequences", _ASSUMED, course=lambda _: whole([_ESCAPES])
    ),
    "close": Fault("ends its body by closing the connection", _HTTP, framed=False),
    "reasoning-field": Fault("reasons first, in reasoning", _B5, course=_thinking_in_another_field),
    "reasoning-tags": Fault(
        "reasons first, between <reasoning> tags",
        f"{_B5} and C",
        course=_thinking,
        api_course=_tagged("reasoning"),
    ),
    "think-tags": Fault(
        "reasons first, between <think> tags",
        "assumed of local servers",
        course=_thinking,
        api_course=_tagged("think"),
    ),
    "reasoning-length": Fault(
        "reasons until nothing is left", _B5, course=_thinking, api_course=_only_thinking
    ),
    "wrapped": Fault(
        "wraps its answer into <answer> and <sep>",
        f"{_C}: llama.cpp without --reasoning off, LM Studio",
        api_course=lambda texts: _in_pieces(f"<answer>{texts[-1]}</answer>\n <sep>"),
    ),
    "no-choices": Fault("sends chunks without choices or delta", _B4, api_course=_without_choices),
    "done-only": Fault(
        "says [DONE] but no finish_reason",
        _B4_OPEN,
        course=lambda texts: [*map(Say, texts), RawBytes(_DONE)],
    ),
    "finish-only": Fault("gives a finish_reason but no [DONE]", _B4_OPEN, course=_unclosed),
    "hang-after-end": Fault(
        "falls silent after its finish_reason",
        _B4_OPEN,
        course=lambda texts: [*_unclosed(texts), Wait(3600)],
    ),
    "detail": Fault(
        "gives its reason as a detail",
        _B9,
        WholeReply(400, b'{"detail": "the sandbox refuses this request"}'),
    ),
    "empty-400": Fault(
        "refuses without a reason", f"{_B9}: an API key is missing", WholeReply(400)
    ),
    "balance": Fault("has no credit left", _B9, WholeReply(429, _BALANCE)),
    "no-image": Fault(
        "does not accept images",
        "measured: llama.cpp's server without an mmproj file, 2026-11-22",
        WholeReply(500, NO_IMAGE),
        for_images=True,
    ),
    "fenced": Fault("puts JSON into a code fence", _B7, json_text=instances.fenced_json),
}
FAULTS: dict[str, Fault] = {**built_in_faults.FAULTS, **SERVICES, **HOSTILE}
