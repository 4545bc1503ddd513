"""Puts the commands together; the one place where an error becomes an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise, takewhile
from typing import Annotated, NoReturn

import typer

from reka_cli import __version__
from reka_cli.errors import IncompleteAnswer, RekaError, UsageError
from reka_cli.files import abandon
from reka_cli.terminal import FOR_PROGRAMS, OutputClosed, Terminal, report, say

COMMANDS = ("ask", "login", "logout", "models", "sandbox", "status")

_PATIENCE_S = 1.0  # from a signal to the end


class Terminated(BaseException):
    """SIGTERM came: unwind, so that sockets and files are closed, then end."""


class _WasInterrupted(RekaError):
    code = "interrupted"
    exit_code = 130


class _WasTerminated(RekaError):
    code = "terminated"
    exit_code = 143


def entry() -> NoReturn:
    """The console script: one command, then the end of the process."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # they are for developers; stderr is for the user
    try:
        code = main(sys.argv[1:])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # what is left is the interpreter's own end
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code."""
    format_ = _format(arguments)
    try:
        ended = _application(arguments)(list(arguments), prog_name="reka-cli", standalone_mode=False)
        if ended == _WasInterrupted.exit_code:  # what Typer makes of a KeyboardInterrupt inside a command
            raise KeyboardInterrupt
        return ended if isinstance(ended, int) else 0
    except RekaError as error:
        _trace(arguments)
        report(error, format_)
        return error.exit_code
    except typer.TyperException as error:
        return _usage(error, format_)
    except (OutputClosed, SystemExit):  # Typer ends so when nobody reads the help
        return _end_quietly(141)
    except KeyboardInterrupt:
        return _stopped(_WasInterrupted("interrupted"), format_)
    except Terminated:
        return _stopped(_WasTerminated("terminated"), format_)
    except Exception as error:  # noqa: BLE001 - a bug of ours is still told in one line
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
            report(IncompleteAnswer(f"cannot write: {os.strerror(error.errno).lower()}"), format_)
            _end_quietly(0)
            return IncompleteAnswer.exit_code
        _trace(arguments)
        bug = RekaError(f"a bug of reka-cli: {type(error).__name__}", hint="--debug shows where it happened")
        report(bug, format_)
        return RekaError.exit_code


def _usage(error: typer.TyperException, format_: str) -> int:
    format_message = getattr(error, "format_message", None)
    message = " ".join(str(format_message() if format_message else error).split())
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "reka-cli"
    report(UsageError(message[:1].lower() + message[1:].rstrip("."), hint=f"{command} --help"), format_)
    return UsageError.exit_code


def _stopped(stop: RekaError, format_: str) -> int:
    """A person knows that it was stopped; a program that reads events waits for the last one."""
    if format_ in FOR_PROGRAMS:
        report(stop, format_)
    return stop.exit_code


def _format(arguments: Sequence[str]) -> str:
    """Find out how errors are to be written from the bare arguments, for there may be no parsed ones."""
    found = "text"
    for argument, following in pairwise([*takewhile(lambda one: one != "--", arguments), ""]):
        if option := re.fullmatch(r"(?:--format|-[a-z]*f)=?(\w*)", argument):
            found = option[1] or following
    return found


def _trace(arguments: Sequence[str]) -> None:
    """With --debug, say where it happened; what libraries say of it could hold a secret and is left out."""
    if "--debug" in arguments:
        import traceback

        say("Traceback (most recent call last):")
        error = sys.exc_info()[1]
        while error:
            for line in traceback.format_tb(error.__traceback__):
                for part in line.splitlines():
                    say(part)
            say(type(error).__name__ + (": from" if error.__cause__ else ""))
            error = error.__cause__


def _stop(number: int, _: object) -> NoReturn:
    """Unwind, but not for long: nobody may be reading what is still to be written."""
    signal.signal(number, signal.SIG_DFL)  # the second one does not wait
    patience = threading.Timer(_PATIENCE_S, _give_up, [128 + number])
    patience.daemon = True
    patience.start()
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _give_up(code: int) -> NoReturn:
    abandon()
    os._exit(code)


def _end_quietly(code: int) -> int:
    """Keep the interpreter from complaining, on its way out, that nobody reads stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _application(arguments: Sequence[str]) -> typer.Typer:
    """Put the command that is asked for behind the root; all of them where it is not the first argument."""
    # without rich_markup_mode=None, help and usage errors import Rich: twice the time, and boxes in a log file
    app = typer.Typer(name="reka-cli", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(_root)
    for name in set(arguments[:1]) & set(COMMANDS) or COMMANDS:
        app.command()(getattr(import_module(f"reka_cli.commands.{name}"), name))
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    """Ask Reka's multimodal models about pictures from a terminal, a pipeline or a cron job.

    Unofficial, and not reka-ai/reka-cli.
    """
    if version:
        Terminal().write(f"reka-cli {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise UsageError("there is no command", hint="reka-cli --help")
