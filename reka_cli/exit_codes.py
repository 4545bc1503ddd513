"""Every exit code of the program, and what it means."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from reka_cli import errors
from reka_cli.errors import RekaError


class HungUp(RekaError):
    """SIGHUP arrived, such as when the terminal was closed. The process dies of that signal."""

    code = "hangup"
    exit_code = 129


class Interrupted(RekaError):
    """Ctrl-C (SIGINT) was pressed. The process dies of that signal, so that shell loops stop."""

    code = "interrupted"
    exit_code = 130


class Terminated(RekaError):
    """SIGTERM arrived. The process dies of that signal."""

    code = "terminated"
    exit_code = 143


# by number, because Windows has no signal.SIGHUP
STOPS: dict[int, type[RekaError]] = {1: HungUp, 2: Interrupted, 15: Terminated}


class ExitCode(NamedTuple):
    """An exit code; `code` is the word for it in JSON, "" where no error is reported."""

    number: int
    code: str
    meaning: str


_SUCCESS = ExitCode(0, "", "The answer is complete. Only then is the exit code 0.")
_BUG = ExitCode(RekaError.exit_code, RekaError.code, "A bug of reka-cli.")
_CLOSED_PIPE = ExitCode(141, "", "Standard output was closed before the end, such as by head.")


def exit_codes() -> list[ExitCode]:
    """Return all exit codes in ascending order."""
    kinds = [*_kinds_of_errors(), *STOPS.values()]
    reported = [ExitCode(kind.exit_code, kind.code, _meaning(kind)) for kind in kinds]
    return sorted([_SUCCESS, _BUG, _CLOSED_PIPE, *reported])


def _kinds_of_errors() -> list[type[RekaError]]:
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in classes if issubclass(one, RekaError) and one is not RekaError]


def _meaning(kind: type[RekaError]) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())
