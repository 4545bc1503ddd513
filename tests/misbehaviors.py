"""How a question ends for each misbehavior of the service: given for text on either protocol, derived for other formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from reka_cli import errors, render

FORMATS = tuple(name for name in render.names() if name != "auto")  # which is one of the others
PROTOCOLS = ("web", "api")

WHOLE = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello\n"
HALF = "This is the sandbox of reka-cli: a stand-in for Reka,\n"
TRACE = "The sandbox does not think: this stands for a trace of reasoning."
ESCAPES = "\x1b]52;c;c2FuZGJveA==\x07\x1b[31m\x1b]0;title\x1b\\\x9b2J\x07\r"
LOGIN_HINT = "hint: log in at https://space.reka.ai in a browser, then: reka-cli login\n"
KEY_HINT = (
    "hint: reka-cli login --api-key (keys: https://developer.reka.ai), or export REKA_API_KEY=...\n"
)
CUT_OFF = "error: the answer was cut off"
NO_END = f"{CUT_OFF}: the service did not say that this is its end\n"
MORE_TIME = "hint: --timeout SECONDS allows more time\n"
MORE_SILENCE = "hint: --idle-timeout SECONDS allows longer silence\n"
REWROTE = "notice: the service rewrote its answer: what follows replaces the text from the point where it differs\n"
WENT_ON = "notice: the service went on after the end of its answer\n"
UNREADABLE = "error: the response of HOST cannot be read"
NOT_JSON = "error: the service sent something that is not JSON in its answer\n"
NO_STREAM = "error: the response is not an event stream\n"
PAGE = "error: the service answered with a web page where an answer was due\n"
TOO_LONG_EVENT = "error: the service sent more than 16 MB as one event\n"
TOO_LONG_ANSWER = "error: the service sent more than 32 million characters as one answer\n"
TRICKS = (
    "\x1b[31mred \x1b]8;;https://evil.example/\x1b\\a link\x1b]8;;\x1b\\ \x9b2J\x1bP$q\x1b\\ \u202ereversed\u202c "
    "\x1b[201~ \x07\r\n\x1b]0;title\x07"
)
CODES = {
    cls.exit_code: cls.code
    for cls in vars(errors).values()
    if isinstance(cls, type) and hasattr(cls, "code")
}


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
        return replace(
            self, stderr=self.stderr.replace("HOST", host).replace("TOTAL", f"{total_s:g}")
        )


def good(stderr: str = "", **answer: Any) -> Row:
    return Row(0, WHOLE, stderr, answer=answer)


def good_of(stdout: str, text: str | None = None, **answer: Any) -> Row:
    """Another whole answer; `text` is what came, where not all of it is shown."""
    text = stdout[:-1] if text is None else text
    return Row(0, stdout, "", deltas=text, answer={"text": text, **answer})


def tokens(put_in: int | None, put_out: int | None) -> dict[str, int | None]:
    return {"input_tokens": put_in, "output_tokens": put_out, "cost_usd": None}


IN_VAIN = Row(8, "", f"error: no whole answer within TOTAL s\n{MORE_TIME}")
HALF_IN_VAIN = replace(IN_VAIN, stdout=HALF)
NO_HTTP = Row(
    9, "", "error: the connection to HOST failed: what answers there does not speak HTTP\n"
)
CUT = Row(10, HALF, f"{CUT_OFF}: the connection to HOST failed: it ended in the middle\n")
ESCAPED = Row(
    0,
    WHOLE,
    "",
    deltas=ESCAPES + WHOLE[:-1],
    answer={"text": ESCAPES + WHOLE[:-1], "usage": tokens(21, 21)},
)
CHALLENGE_HINT = "hint: open HOST in a browser: it may want to check that you are human\n"
SIZE_HINT = "hint: --max-side 1024 sends smaller images\n"
WEB: dict[str, Row] = {
    "400": Row(5, "", "error: HOST answered 400: the sandbox refuses this request\n"),
    "401": Row(3, "", f"error: HOST answered 401: Unauthorized\n{LOGIN_HINT}"),
    "401-once": good(),
    "402": Row(6, "", "error: HOST answered 402: P001: Insufficient Balance\n"),
    "403": Row(4, "", f"error: HOST answered 403 (Forbidden)\n{CHALLENGE_HINT}"),
    "404": Row(5, "", "error: HOST answered 404: no such model\n"),
    "413": Row(5, "", f"error: HOST answered 413 ({HTTPStatus(413).phrase})\n{SIZE_HINT}"),
    "422": Row(5, "", "error: HOST answered 422: field required\n"),
    "429": Row(6, "", "error: HOST answered 429: slow down\n"),
    "429-later": Row(
        6, "", "error: HOST answered 429: slow down (try again in 3600 s)\n", retry_after_s=3600.0
    ),
    "429-once": Row(6, "", "error: HOST answered 429: slow down\n", retry_after_s=0.0),
    "500": Row(7, "", "error: HOST answered 500: internal error\n"),
    "502": Row(7, "", "error: HOST answered 502 (Bad Gateway)\n"),
    "503": Row(7, "", "error: HOST answered 503: overloaded\n"),
    "503-once": Row(7, "", "error: HOST answered 503: overloaded\n", retry_after_s=0.0),
    "504": Row(7, "", "error: HOST answered 504 (Gateway Timeout)\n"),
    "html": Row(4, "", "error: HOST answered with a web page (200) where an answer was due\n"),
    "redirect": Row(
        4,
        "",
        "error: HOST answered with a redirect to elsewhere.invalid (302) where an answer was due\n",
    ),
    "hang-up": Row(
        9, "", "error: the connection to HOST failed: it was closed without an answer\n"
    ),
    "silent": IN_VAIN,
    "empty": Row(10, "", "error: the answer is empty\n"),
    "nothing": Row(10, "", NO_END),
    "cut": CUT,
    "no-end": Row(10, WHOLE, NO_END),
    "length": Row(10, HALF, f"{CUT_OFF}: it reached the longest the service gives\n"),
    "context": Row(10, HALF, f"{CUT_OFF}: the conversation is longer than the model can take\n"),
    "filtered": Row(10, HALF, f"{CUT_OFF} by a filter of the service\n"),
    "stall": Row(8, HALF, f"error: HOST was silent for 0.5 s\n{MORE_SILENCE}"),
    "garbage": Row(7, HALF, NOT_JSON),
    "error-event": Row(7, HALF, "error: the service reported an error: the sandbox gives up\n"),
    "error-field": Row(7, HALF, "error: the service reported an error: the sandbox gives up\n"),
    "rewrite": Row(
        0,
        HALF
        + WHOLE.removeprefix("This is the sandbox of reka-cli: a s").replace(
            "tand-in", "ubstitute"
        ),
        REWROTE,
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
    "no-http": NO_HTTP,
    "http-0.9": NO_HTTP,
    "http-2": NO_HTTP,
    "odd-status": NO_HTTP,
    "status-999": Row(7, "", "error: HOST answered 999\n"),
    "endless-status": Row(7, "", f"{UNREADABLE}: a line of its HTTP is too long\n"),
    "endless-headers": Row(7, "", f"{UNREADABLE}: it has too many headers\n"),
    "slow-headers": IN_VAIN,
    "many-headers": Row(7, "", f"{UNREADABLE}: it has too many headers\n"),
    "huge-cookie": Row(7, "", f"{UNREADABLE}: a line of its HTTP is too long\n"),
    "odd-headers": good(),
    "continue": good(),
    "endless-continue": IN_VAIN,
    "early-hints": good(),
    "reset": Row(9, "", "error: the connection to HOST failed: connection reset by peer\n"),
    "101": Row(7, "", "error: HOST answered 101 (Switching Protocols)\n"),
    "204": Row(10, "", NO_END),
    "204-body": Row(10, "", NO_END),
    "205": Row(10, "", NO_END),
    "206": Row(7, "", "error: HOST answered 206 (Partial Content)\n"),
    "300": Row(7, "", "error: HOST answered 300 (Multiple Choices)\n"),
    "301": Row(
        4,
        "",
        "error: HOST answered with a redirect to elsewhere.invalid (301) where an answer was due\n",
    ),
    "303": Row(
        4,
        "",
        "error: HOST answered with a redirect to elsewhere.invalid (303) where an answer was due\n",
    ),
    "304": Row(7, "", "error: HOST answered 304 (Not Modified)\n"),
    "307": Row(
        4,
        "",
        "error: HOST answered with a redirect to elsewhere.invalid (307) where an answer was due\n",
    ),
    "308": Row(
        4,
        "",
        "error: HOST answered with a redirect to elsewhere.invalid (308) where an answer was due\n",
    ),
    "redirect-loop": Row(
        4, "", "error: HOST answered with a redirect (302) where an answer was due\n"
    ),
    "retry-negative": Row(6, "", "error: HOST answered 429 (Too Many Requests)\n"),
    "retry-huge": Row(
        6,
        "",
        "error: HOST answered 429 (Too Many Requests) (try again in 1000000000 s)\n",
        retry_after_s=1_000_000_000.0,
    ),
    "retry-rubbish": Row(6, "", "error: HOST answered 429 (Too Many Requests)\n"),
    "retry-past": Row(6, "", "error: HOST answered 429 (Too Many Requests)\n", retry_after_s=0.0),
    "endless-error": Row(7, "", "error: HOST answered 500 (Internal Server Error)\n"),
    "slow-error": Row(7, "", "error: HOST answered 500 (Internal Server Error)\n"),
    "long-error": Row(7, "", f"error: HOST answered 500: {('sandbox ' * 38)[:300]}\n"),
    "deep-error": Row(7, "", "error: HOST answered 500 (Internal Server Error)\n"),
    "error-tricks": Row(7, "", "error: HOST answered 500: red a link <U+202E>reversed<U+202C>\n"),
    "cut-chunk": CUT,
    "odd-chunk": CUT,
    "huge-chunk": CUT,
    "endless-chunk-size": Row(7, HALF, f"{UNREADABLE}: a line of its HTTP is too long\n"),
    "trailers": good(),
    "endless-trailers": good(),
    "short-length": Row(10, HALF, NO_END),
    "long-length": good(),
    "long-length-cut": CUT,
    "negative-length": good(),
    "odd-length": good(),
    "two-lengths": Row(7, "", f"{UNREADABLE}: it announces two lengths\n"),
    "two-framings": good(),
    "odd-framing": good(),
    "http-1.0": good(),
    "reset-later": Row(
        10, HALF, f"{CUT_OFF}: the connection to HOST failed: connection reset by peer\n"
    ),
    "gzip": good(),
    "deflate": good(),
    "brotli": Row(7, "", f"{UNREADABLE}: it is compressed with 'br', which was not requested\n"),
    "gzip-twice": good(),
    "gzip-broken": Row(7, "", f"{UNREADABLE}: its compression is broken\n"),
    "gzip-bomb": Row(7, "", TOO_LONG_EVENT),
    "byte-by-byte": good(),
    "drip": HALF_IN_VAIN,
    "comments": HALF_IN_VAIN,
    "no-progress": HALF_IN_VAIN,
    "endless-line": Row(7, HALF, TOO_LONG_EVENT),
    "endless-data": Row(7, HALF, TOO_LONG_EVENT),
    "endless-text": Row(7, WHOLE[:-1] + "x" * (12 << 20) + "\n", TOO_LONG_EVENT),
    "endless-blanks": good(),
    "endless-reasoning": good(),
    "flip-flop": Row(
        7,
        HALF + "heads\ntails\n" * 50,
        REWROTE * 100 + "error: the service rewrote its answer more than 100 times\n",
    ),
    "after-end": Row(
        10,
        WHOLE[:-1] + " more\n",
        WENT_ON + NO_END,
        answer={"text": WHOLE[:-1] + " more", "usage": tokens(20, 20)},
    ),
    "after-reason": Row(
        10,
        WHOLE[:-1] + " more\n",
        f"{WENT_ON}{CUT_OFF}: it reached the longest the service gives\n",
        answer={"text": WHOLE[:-1] + " more", "usage": tokens(21, 21)},
    ),
    "mark": good(),
    "crlf": good(),
    "cr": good(),
    "empty-data": good(),
    "utf-16": Row(7, "", NO_STREAM),
    "no-utf-8": good_of(WHOLE.replace("sandbox", "s\ufffdndbox")),
    "plain-text": Row(7, "", f"{NO_STREAM[:-1]}: This is the sandbox.\n"),
    "mislabelled": Row(7, "", NOT_JSON),
    "unlabelled": good(),
    "page-as-json": Row(4, "", PAGE),
    "page-as-stream": Row(4, "", PAGE),
    "endless-json": Row(7, "", "error: HOST answered with more than 1048576 bytes\n"),
    "deep": Row(7, HALF, NOT_JSON),
    "digits": Row(7, HALF, NOT_JSON),
    "raw-null": Row(7, HALF, NOT_JSON),
    "no-object": Row(7, HALF, "error: the service sent an answer that is no object\n"),
    "no-text": Row(7, HALF, "error: the service sent an answer whose text is no text\n"),
    "odd-reason": Row(10, HALF, NO_END),
    "capital-reason": good(finish_reason="STOP"),
    "large-counts": good(usage=tokens(None, None)),
    "odd-counts": good(usage=tokens(None, None)),
    "negative-counts": good(usage=tokens(None, None)),
    "double-keys": good(),
    "nulls": good_of(WHOLE, WHOLE[:-1].replace("a", "a\0")),
    "half-characters": good_of(
        WHOLE.replace("stand-in", "stand\ufffdin"), WHOLE[:-1].replace("stand-in", "stand\ud83din")
    ),
    "tricks": good_of(
        f"red a link  <U+202E>reversed<U+202C>  \n{WHOLE}",
        TRICKS + WHOLE[:-1],
        usage=tokens(27, 27),
    ),
}
KEY_REFUSED = Row(3, "", f"error: HOST answered 401: Unauthorized\n{KEY_HINT}")
THOUGHT = {"reasoning": TRACE, "usage": tokens(1, 32)}
# where the API's protocol ends otherwise than the web session
API: dict[str, Row] = (
    WEB
    | {
        "401": KEY_REFUSED,
        "401-once": KEY_REFUSED,  # there is no fresh key to be had
        "endless-text": Row(7, HALF[:-1] + "x" * (1953 << 14) + "\n", TOO_LONG_ANSWER),
        "endless-blanks": Row(
            7, HALF, "error: the service sent more than 1 MB of blanks in a row\n"
        ),
        "endless-reasoning": Row(
            7, HALF, TOO_LONG_ANSWER, answer={"reasoning": "x" * (1953 << 14)}
        ),
        "flip-flop": good(),
        "after-end": good(),
        "after-reason": replace(
            WEB["after-reason"],
            answer={"text": WHOLE[:-1] + " more", "usage": tokens(1, 22)},
        ),
        "odd-reason": Row(10, HALF, NO_END),
        "tricks": replace(WEB["tricks"], answer={**WEB["tricks"].answer, "usage": tokens(1, 27)}),
        "osc52": replace(ESCAPED, answer={**ESCAPED.answer, "usage": tokens(1, 21)}),
        "rewrite": good(),  # on a protocol of deltas nothing can be taken back
        "take-back": good(),
        "blanks": Row(
            0, "  " + WHOLE, "", answer={"text": "  " + WHOLE[:-1]}
        ),  # an indentation may be meant
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


def expected(row: Row, protocol: str, fault: str, format_: str) -> Told:
    notices = [
        line.removeprefix("notice: ")
        for line in row.stderr.splitlines()
        if line.startswith("notice: ")
    ]
    deltas = row.stdout[:-1] if row.deltas is None else row.deltas
    error = [] if row.exit_code == 0 else [{"error": _error(row, len(deltas))}]
    if not render.is_for_programs(format_):
        return Told(row.exit_code, _shape(row.stdout, format_), row.stderr)
    whole = None if error else _answer(row, protocol, fault)
    if format_ == "json":
        return Told(
            row.exit_code, [whole] if whole else [], [*({"notice": one} for one in notices), *error]
        )
    streamed = {
        "start": {"provider": protocol, "model": f"sandbox-{fault}"},
        "deltas": brief(deltas),
        "reasoning": brief(row.answer.get("reasoning") or ""),
        "notices": notices,
        "last": whole or error[0]["error"],
    }
    return Told(row.exit_code, streamed, error)


def told(exit_code: int, stdout: str, stderr: str, format_: str) -> Told:
    """Read what a process printed, for comparing it with what is expected."""
    if not render.is_for_programs(format_):
        return Told(exit_code, _shape(stdout, format_), stderr)
    lines, aside = _objects(stdout), _objects(stderr)
    return Told(exit_code, lines if format_ == "json" else _streamed(lines), aside)


def _shape(stdout: str, format_: str) -> str:
    """What of stdout is held: for text all of it; another format for people may break lines as it likes."""
    return brief(stdout if format_ == "text" else "".join(stdout.split()))


def brief(text: str) -> str:
    """Give a short text as it is, and what tells a long one from another: the table has some of 32 MB."""
    if len(text) < 1 << 20:
        return text
    return (
        f"{len(text)} characters with {sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
    )


def _objects(text: str) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in json.loads(line).items() if k not in _TIMES} for line in text.splitlines()
    ]


_TIMES = ("first_token_s", "total_s")


def _streamed(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Put events together, whatever pieces a text came in."""
    first, *events, last = lines
    kinds = ("delta", "reasoning", "notice")
    texts = {
        kind: [event.pop("text") for event in events if event == {**event, "type": kind}]
        for kind in kinds
    }
    assert [event for event in events if event["type"] not in kinds] == []
    assert (first.pop("type"), last.pop("type")) in (("start", "end"), ("start", "error"))
    return {
        "start": first,
        "deltas": brief("".join(texts["delta"])),
        "reasoning": brief("".join(texts["reasoning"])),
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


def _answer(row: Row, protocol: str, fault: str) -> dict[str, Any]:
    return {
        "schema": "reka-cli/answer/1",
        "provider": protocol,
        "model": f"sandbox-{fault}",
        "model_served": {"web": None, "api": "default"}[protocol],
        "text": WHOLE[:-1],
        "reasoning": None,
        "finish_reason": "stop",
        "usage": tokens({"web": 20, "api": 1}[protocol], 20),
        "images": [],
        "attempts": 1,
        **row.answer,
    }


# rows that take seconds, of a processor or of the clock
HEAVY = {"endless-text", "endless-reasoning", "endless-data", "gzip-bomb", "slow-error"}
