"""How a question ends for each misbehaviour of the service: given for text on either wire, derived for other formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reka_cli import errors
from reka_cli.render import FOR_PROGRAMS, NAMES

FORMATS = tuple(name for name in NAMES if name != "auto")  # which is one of the others
WIRES = ("web", "api")

WHOLE = (
    "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello\n"
)
HALF = "This is the sandbox of reka-cli: a stand-in for Reka,\n"
TRACE = "The sandbox does not think: this stands for a trace of reasoning."
ESCAPES = "\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r"
LOGIN_HINT = "hint: log in at https://space.reka.ai in a browser, then: reka-cli login\n"
KEY_HINT = "hint: reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=...\n"
CUT_OFF = "error: the answer was cut off"
NO_END = f"{CUT_OFF}: the service did not say that this is its end\n"
MORE_TIME = "hint: --timeout SECONDS allows more time\n"
MORE_SILENCE = "hint: --idle-timeout SECONDS allows longer silence\n"
CODES = {cls.exit_code: cls.code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "code")}


@dataclass(frozen=True)
class Row:
    """Exit code, stdout and stderr of `-f text`; HOST stands for the service's address, TOTAL for the time it had.

    `deltas` is the joined text of the events where that is not stdout without its newline, `answer` what of the JSON
    object is not as usual.
    """

    exit_code: int
    stdout: str
    stderr: str
    deltas: str | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)
    retry_after_s: float | None = None

    @property
    def ends_at_the_deadline(self) -> bool:
        return "TOTAL" in self.stderr

    @property
    def falls_silent(self) -> bool:
        return "was silent" in self.stderr

    def at(self, host: str, total_s: float) -> Row:
        return replace(self, stderr=self.stderr.replace("HOST", host).replace("TOTAL", f"{total_s:g}"))


def good(stderr: str = "", **answer: Any) -> Row:
    return Row(0, WHOLE, stderr, answer=answer)


def tokens(put_in: int, put_out: int) -> dict[str, int | None]:
    return {"input_tokens": put_in, "output_tokens": put_out, "cost_usd": None}


ESCAPED = Row(0, WHOLE, "", deltas=ESCAPES + WHOLE[:-1], answer={"text": ESCAPES + WHOLE[:-1], "usage": tokens(21, 21)})
WEB: dict[str, Row] = {
    "400": Row(5, "", "error: HOST answered 400: the sandbox refuses this request\n"),
    "401": Row(3, "", f"error: HOST answered 401: Unauthorized\n{LOGIN_HINT}"),
    "401-once": good(),
    "402": Row(6, "", "error: HOST answered 402: P001: Insufficient Balance\n"),
    "403": Row(4, "", "error: HOST answered 403 (Forbidden)\n"),
    "404": Row(5, "", "error: HOST answered 404: no such model\n"),
    "413": Row(5, "", "error: HOST answered 413 (Request Entity Too Large)\n"),
    "422": Row(5, "", "error: HOST answered 422: field required\n"),
    "429": Row(6, "", "error: HOST answered 429: slow down\n"),
    "429-later": Row(6, "", "error: HOST answered 429: slow down (try again in 3600 s)\n", retry_after_s=3600.0),
    "429-once": Row(6, "", "error: HOST answered 429: slow down\n", retry_after_s=0.0),
    "500": Row(7, "", "error: HOST answered 500: internal error\n"),
    "502": Row(7, "", "error: HOST answered 502 (Bad Gateway)\n"),
    "503": Row(7, "", "error: HOST answered 503: overloaded\n"),
    "503-once": Row(7, "", "error: HOST answered 503: overloaded\n", retry_after_s=0.0),
    "504": Row(7, "", "error: HOST answered 504 (Gateway Timeout)\n"),
    "html": Row(4, "", "error: HOST answered with a web page (200) where an answer was due\n"),
    "redirect": Row(4, "", "error: HOST answered with a redirect to elsewhere.invalid (302) where an answer was due\n"),
    "hang-up": Row(9, "", "error: the connection to HOST failed: it was closed without an answer\n"),
    "silent": Row(8, "", f"error: no whole answer within TOTAL s\n{MORE_TIME}"),
    "empty": Row(10, "", "error: the answer is empty\n"),
    "nothing": Row(10, "", NO_END),
    "cut": Row(10, HALF, f"{CUT_OFF}: the connection to HOST failed: it ended in the middle\n"),
    "no-end": Row(10, WHOLE, NO_END),
    "length": Row(10, HALF, f"{CUT_OFF}: it reached the longest the service gives\n"),
    "context": Row(10, HALF, f"{CUT_OFF}: the conversation is longer than the model can take\n"),
    "filtered": Row(10, HALF, f"{CUT_OFF} by a filter of the service\n"),
    "stall": Row(8, HALF, f"error: HOST was silent for 0.5 s\n{MORE_SILENCE}"),
    "garbage": Row(7, HALF, "error: the service sent something that is not JSON in its answer\n"),
    "error-event": Row(7, HALF, "error: the service reported an error: the sandbox gives up\n"),
    "error-field": Row(7, HALF, "error: the service reported an error: the sandbox gives up\n"),
    "rewrite": Row(
        0,
        HALF + WHOLE.removeprefix("This is the sandbox of reka-cli: a s").replace("tand-in", "ubstitute"),
        "notice: the service rewrote its answer: what follows replaces the text from the point where it differs\n",
        answer={"text": WHOLE[:-1].replace("stand-in", "substitute")},
    ),
    "take-back": Row(
        0,
        WHOLE,
        "notice: the service took back the end of its answer\n",
        answer={
            "text": "This is the sandbox of reka-cli: a stand-in for Reka, not",
            "usage": tokens(11, 11),
        },
    ),
    "repeat": good(),
    "blanks": good(),
    "bare-json": good(),
    "other-events": good(),
    "osc52": ESCAPED,
    "only-escapes": Row(10, "", "error: the answer is empty\n", deltas=ESCAPES.rstrip()),
    "close": good(),
    "slow": good(),
    "reasoning": good(),
    "reasoning-field": good(),
    "reasoning-tags": good(),
    "think-tags": good(),
    "reasoning-length": good(),
    "wrapped": good(),
    "no-choices": good(),
    "done-only": Row(10, WHOLE, NO_END),
    "finish-only": good(),
    "hang-after-end": good(),
    "detail": Row(5, "", "error: HOST answered 400: the sandbox refuses this request\n"),
    "empty-400": Row(5, "", "error: HOST answered 400 (Bad Request)\n"),
    "balance": Row(6, "", "error: HOST answered 429: P001: Insufficient Balance\n"),
    "no-image": good(),
    "fenced": good(),
    "bad-json": good(),
    "bad-json-once": good(),
}
KEY_REFUSED = Row(3, "", f"error: HOST answered 401: Unauthorized\n{KEY_HINT}")
THOUGHT = {"reasoning": TRACE, "usage": tokens(1, 32)}
# where the API's wire ends otherwise than the web session
API: dict[str, Row] = (
    WEB
    | {
        "401": KEY_REFUSED,
        "401-once": KEY_REFUSED,  # there is no fresh key to be had
        "osc52": replace(ESCAPED, answer={**ESCAPED.answer, "usage": tokens(1, 21)}),
        "rewrite": good(),  # on a wire of deltas nothing can be taken back
        "take-back": good(),
        "blanks": Row(0, "  " + WHOLE, "", answer={"text": "  " + WHOLE[:-1]}),  # an indentation may be meant
        "done-only": good(usage=None),
        "finish-only": good(usage=None),
        "hang-after-end": good(usage=None),
        "reasoning": good(**THOUGHT),
        "reasoning-field": good(**THOUGHT),
        "reasoning-tags": good(**THOUGHT),
        "think-tags": good(**THOUGHT),
        "wrapped": good(usage=tokens(1, 21)),
        "only-escapes": replace(WEB["only-escapes"], deltas=ESCAPES[:-1]),
        "reasoning-length": Row(
            10,
            "",
            "error: the answer is empty: the reasoning used up the tokens it may take\n"
            "hint: --max-tokens with a higher number\n",
            answer={"reasoning": TRACE},
        ),
    }
)
TABLES = {"web": WEB, "api": API}


@dataclass(frozen=True)
class Told:
    """What a process left behind, its JSON read: `answer` is stdout, `aside` is stderr."""

    exit_code: int
    answer: object
    aside: object


def expected(row: Row, wire: str, fault: str, format_: str) -> Told:
    notices = [line.removeprefix("notice: ") for line in row.stderr.splitlines() if line.startswith("notice: ")]
    deltas = row.stdout[:-1] if row.deltas is None else row.deltas
    error = [] if row.exit_code == 0 else [{"error": _error(row, len(deltas))}]
    if format_ not in FOR_PROGRAMS:
        return Told(row.exit_code, _shape(row.stdout, format_), row.stderr)
    whole = None if error else _answer(row, wire, fault)
    if format_ == "json":
        return Told(row.exit_code, [whole] if whole else [], [*({"notice": one} for one in notices), *error])
    streamed = {
        "start": {"provider": wire, "model": f"sandbox-{fault}"},
        "deltas": deltas,
        "reasoning": row.answer.get("reasoning") or "",
        "notices": notices,
        "last": whole or error[0]["error"],
    }
    return Told(row.exit_code, streamed, error)


def told(exit_code: int, stdout: str, stderr: str, format_: str) -> Told:
    """Read what a process printed, for comparing it with what is expected."""
    if format_ not in FOR_PROGRAMS:
        return Told(exit_code, _shape(stdout, format_), stderr)
    lines, aside = _objects(stdout), _objects(stderr)
    return Told(exit_code, lines if format_ == "json" else _streamed(lines), aside)


def _shape(stdout: str, format_: str) -> str:
    """What of stdout is held: for text all of it; another format for people may break lines as it likes."""
    return stdout if format_ == "text" else " ".join(stdout.split())


def _objects(text: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(line).items() if k not in _TIMES} for line in text.splitlines()]


_TIMES = ("first_token_s", "total_s")


def _streamed(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Put events together, whatever pieces a text came in."""
    first, *events, last = lines
    kinds = ("delta", "reasoning", "notice")
    texts = {kind: [event.pop("text") for event in events if event == {**event, "type": kind}] for kind in kinds}
    assert [event for event in events if event["type"] not in kinds] == []
    assert (first.pop("type"), last.pop("type")) in (("start", "end"), ("start", "error"))
    return {
        "start": first,
        "deltas": "".join(texts["delta"]),
        "reasoning": "".join(texts["reasoning"]),
        "notices": texts["notice"],
        "last": last.get("error", last),
    }


def _error(row: Row, partial_chars: int) -> dict[str, Any]:
    said = dict(line.split(": ", 1) for line in row.stderr.splitlines())
    return {
        "code": CODES[row.exit_code],
        "message": said["error"],
        "hint": said.get("hint"),
        "exit_code": row.exit_code,
        "retry_after_s": row.retry_after_s,
        "partial_chars": partial_chars,
    }


def _answer(row: Row, wire: str, fault: str) -> dict[str, Any]:
    return {
        "schema": "reka-cli/answer/1",
        "provider": wire,
        "model": f"sandbox-{fault}",
        "model_served": {"web": None, "api": "default"}[wire],
        "text": WHOLE[:-1],
        "reasoning": None,
        "finish_reason": "stop",
        "usage": tokens({"web": 20, "api": 1}[wire], 20),
        "images": [],
        "attempts": 1,
        **row.answer,
    }
