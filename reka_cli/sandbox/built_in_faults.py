"""Misbehavior on request: ask for a model called `sandbox-NAME`, and the sandbox fails as services do.

These are the faults that the author of a script meets in real life, each with where it was seen, or that it is assumed.
The tests of reka-cli give more of them to the servers they start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reka_cli.sandbox import instances
from reka_cli.sandbox.answers import texts_so_far
from reka_cli.sandbox.fault import Fault, half, whole
from reka_cli.sandbox.steps import Cut, End, Say, Step, Think, Wait, WholeReply

PREFIX = "sandbox-"
TEXT_ONLY = f"{PREFIX}text"  # the model that takes no image
_CHALLENGE = (
    b"<!doctype html><title>Just a moment...</title><p>sandbox: this stands for a challenge page"
)
_TRACE = "The sandbox does not think: this stands for a trace of reasoning."


def _end_early(texts: Sequence[str], finish_reason: str) -> list[Step]:
    spoken = texts[: len(texts) // 2] or [""]
    return [*map(Say, spoken), End(finish_reason, spoken[-1])]


def _slow(texts: Sequence[str]) -> Iterator[Step]:
    for step in whole(texts):
        yield Wait(0.05)
        yield step


def _thinking(texts: Sequence[str]) -> list[Step]:
    return [*map(Think, texts_so_far(_TRACE)), *whole(texts)]


def _error(code: int, message: str, kind: str = "sandbox", **headers: str) -> WholeReply:
    body = f'{{"error": {{"type": "{kind}", "message": "{message}"}}}}'.encode()
    return WholeReply(
        code, body, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


_ASSUMED = "assumed: nobody recorded this of Reka's web session"
_HTTP = "assumed of Reka; what HTTP services in general do"
_V1 = "a finish_reason of API v1, 2024"
_A8 = "seen by clients: docs/protocols.md, A8"
_B5, _B7 = (f"docs/protocols.md, {section}" for section in ("B5", "B7"))

FAULTS: dict[str, Fault] = {
    "400": Fault("refuses the request", _HTTP, _error(400, "the sandbox refuses this request")),
    "401": Fault("takes no token", _HTTP, _error(401, "Unauthorized")),
    "401-once": Fault("wants a fresh token", _HTTP, _error(401, "Unauthorized"), once=True),
    "402": Fault(
        "wants money", "docs/protocols.md, B9: P001", _error(402, "P001: Insufficient Balance")
    ),
    "403": Fault("forbids it", _HTTP, WholeReply(403, _CHALLENGE, "text/html")),
    "404": Fault("knows no such model", "docs/protocols.md, B8", _error(404, "no such model")),
    "429": Fault("is asked too often", _A8, _error(429, "slow down")),
    "429-later": Fault(
        "asks to come back in an hour", _HTTP, _error(429, "slow down", Retry_After="3600")
    ),
    "429-once": Fault(
        "is asked too often, once", _A8, _error(429, "slow down", Retry_After="0"), once=True
    ),
    "500": Fault("fails", _HTTP, _error(500, "internal error")),
    "503": Fault("is overloaded", _HTTP, _error(503, "overloaded")),
    "503-once": Fault(
        "is overloaded, once", _HTTP, _error(503, "overloaded", Retry_After="0"), once=True
    ),
    "html": Fault(
        "serves a challenge page with status 200",
        _ASSUMED,
        WholeReply(200, _CHALLENGE, "text/html"),
    ),
    "hang-up": Fault("closes the connection without an answer", _HTTP, Cut()),
    "silent": Fault("never begins", _HTTP, course=lambda _: [Wait(3600)]),
    "empty": Fault("ends without a word", _HTTP, course=lambda _: [Say(""), End("stop", "")]),
    "cut": Fault("breaks off in the middle", _HTTP, course=lambda texts: [*half(texts), Cut()]),
    "length": Fault(
        "reaches its longest answer", _V1, course=lambda texts: _end_early(texts, "length")
    ),
    "filtered": Fault(
        "filters the rest", _ASSUMED, course=lambda texts: _end_early(texts, "content_filter")
    ),
    "stall": Fault(
        "falls silent in the middle", _HTTP, course=lambda texts: [*half(texts), Wait(3600)]
    ),
    "slow": Fault("says twenty words a second", "that is how models speak", course=_slow),
    "reasoning": Fault("reasons first, in reasoning_content", _B5, course=_thinking),
    "bad-json": Fault("gives JSON that its schema forbids", _B7, json_text=instances.invalid_json),
    "bad-json-once": Fault(
        "gives JSON that its schema forbids, once", _B7, json_text=instances.invalid_json, once=True
    ),
}


def model_names(faults: Iterable[str] = FAULTS) -> list[str]:
    """Return the names of all models: one that takes images, one that does not, and one for each fault."""
    return ["sandbox", TEXT_ONLY, *(PREFIX + name for name in faults)]
