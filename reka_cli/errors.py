"""The tree of errors: each class has its exit code and its code for programs.

The docstring of a class is what `reka-cli help exit-codes` says about its exit code.
"""

from __future__ import annotations

from typing import Any, ClassVar

_LONGEST_HINT = 500  # characters; the names of models in it may have any length


class RekaError(Exception):
    """Base of all errors.

    `hint` is one action that helps, `retry_after_s` how many seconds the service asked to wait.
    `status` is the HTTP status of the response, and `service_text` its body, which is not safe to show.
    """

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 70

    def __init__(
        self, message: str, hint: str | None = None, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = _limit_hint(hint)
        self.status: int | None = None
        self.service_text = ""
        self.retry_after_s = retry_after_s
        self.partial_chars = 0  # how much of the answer had been passed on

    def as_dict(self) -> dict[str, Any]:
        """Return the error as a JSON object; its schema is in docs/json.md."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "retry_after_s": self.retry_after_s,
            "partial_chars": self.partial_chars,
        }


class UsageError(RekaError):
    """The command line, an environment variable or an argument of the library is wrong."""

    code = "usage"
    exit_code = 2


class NotLoggedIn(RekaError):
    """Not logged in: there are no credentials, or the service no longer accepts them."""

    code = "not_logged_in"
    exit_code = 3


class Refused(RekaError):
    """The service refused the request: 403, a challenge page or a redirect instead of an answer."""

    code = "refused"
    exit_code = 4


class BadInput(RekaError):
    """An input is missing, unreadable, not an image, truncated or too large; an output file cannot be
    written; the model or the service rejects the request (400, 404, 405, 413, 415, 422).
    """

    code = "bad_input"
    exit_code = 5


class RateLimited(RekaError):
    """The rate limit is reached (429), or no credit is left (402)."""

    code = "rate_limited"
    exit_code = 6


class ServiceError(RekaError):
    """The service failed (5xx), or its answer cannot be read."""

    code = "service_error"
    exit_code = 7


class DeadlineExceeded(RekaError):
    """A time limit passed: total, idle or connecting."""

    code = "timeout"
    exit_code = 8


class NetworkError(RekaError):
    """No answer began: DNS, connection refused or reset, TLS or proxy failure."""

    code = "network"
    exit_code = 9


class IncompleteAnswer(RekaError):
    """The answer is incomplete: truncated, too long, filtered, empty, invalid against the schema, or
    not written completely.
    """

    code = "incomplete"
    exit_code = 10


class SomeFailed(RekaError):
    """`batch`: some rows failed or were left."""

    code = "some_failed"
    exit_code = 11


class Locked(RekaError):
    """`batch`: another process is writing the same output."""

    code = "locked"
    exit_code = 75


def _limit_hint(hint: str | None) -> str | None:
    if not hint or not hint.strip():
        return None
    if len(hint) > _LONGEST_HINT:
        return hint[: _LONGEST_HINT - 1] + "…"
    return hint


def release_frames(error: BaseException | None) -> None:
    """Clear the frames of an error: through its traceback, connections and processes would outlive it."""
    from traceback import clear_frames

    while error:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
