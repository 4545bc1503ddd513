"""Puts the commands together; the one place where an error becomes an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from reka_cli import __version__, commands, discovery
from reka_cli.errors import IncompleteAnswer, RekaError, UsageError
from reka_cli.escapes import one_line
from reka_cli.files import discard_unfinished
from reka_cli.render import report
from reka_cli.terminal import OutputClosed, Terminal, print_to_stderr, signals

_TYPER_INTERRUPTED = 130  # what Typer returns after a KeyboardInterrupt inside a command


class _Reporting:
    """How errors are reported: what `--format` and `--debug` say once Typer has parsed them."""

    def __init__(self) -> None:
        self.format = "text"
        self.debug = False

    def note(self, parsed: dict[str, Any]) -> None:
        self.format = parsed.get("format_") or self.format
        self.debug = parsed.get("debug") or self.debug


class _Command(TyperCommand):
    """A command that notes how errors are reported, also when its arguments cannot be parsed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        try:
            rest = super().parse_args(ctx, args)
        except typer.TyperException as error:
            if getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined]  # whose help the hint names
            # the same parser once more, now past the error: it skips what it does not know
            ctx.resilient_parsing = ctx.ignore_unknown_options = True
            parsed, _, _ = self.make_parser(ctx).parse_args(given)
            ctx.obj.note(parsed)
            raise
        ctx.obj.note(ctx.params)
        return rest

    def get_help(self, ctx: Any) -> str:
        from reka_cli import help as pages
        from reka_cli.help.page import command_page

        return pages.text(command_page(ctx), Terminal()).rstrip("\n")


class _Program(TyperGroup):
    """All commands, or the one that is run."""

    def get_help(self, ctx: Any) -> str:
        from reka_cli import help as pages
        from reka_cli.help.page import program_page
        from reka_cli.help.topics import summaries

        return pages.text(program_page(ctx, summaries()), Terminal()).rstrip("\n")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0]
        if word not in self.commands:
            from reka_cli.help.suggestions import hint_for_command

            raise UsageError(
                f"there is no command {word!r}", hint=hint_for_command(word, self.commands)
            )
        return super().resolve_command(ctx, args)


def entry() -> NoReturn:
    """Run one command, then end the process: by the signal that stopped the command, if one did."""
    signals.install(discard_files=discard_unfinished)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # they are for developers; stderr is for the user
    try:
        code = main(sys.argv[1:])
        signals.uninstall()  # what is left is the interpreter's own end
    except KeyboardInterrupt:  # while an error was reported
        code = -signal.SIGINT
    except signals.Terminated as stop:
        code = -stop.number
    if code < 0:
        signals.die(-code)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command. Return its exit code, or -N if signal N stopped it."""
    reporting = _Reporting()
    try:
        run = application(arguments)
        ended = run(list(arguments), prog_name="reka-cli", standalone_mode=False, obj=reporting)
        if ended == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt
        return ended if isinstance(ended, int) else 0
    except RekaError as error:
        _trace(reporting)
        report(error, reporting.format)
        return error.exit_code
    except typer.TyperException as error:
        return _report_usage_error(error, reporting.format)
    except (OutputClosed, SystemExit):  # Typer ends so when nobody reads the help
        return _end_quietly(141)
    except KeyboardInterrupt:
        return _report_signal(signal.SIGINT, reporting.format)
    except signals.Terminated as stop:
        return _report_signal(stop.number, reporting.format)
    except Exception as error:  # noqa: BLE001 - a bug of ours is still told in one line
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
            report(
                IncompleteAnswer(f"cannot write: {os.strerror(error.errno).lower()}"),
                reporting.format,
            )
            _end_quietly(0)
            return IncompleteAnswer.exit_code
        _trace(reporting)
        message = f"a bug of reka-cli: {type(error).__name__}"
        report(RekaError(message, hint="--debug shows where it happened"), reporting.format)
        return RekaError.exit_code


def _report_usage_error(error: typer.TyperException, format_: str) -> int:
    format_message = getattr(error, "format_message", None)
    message = " ".join(str(format_message() if format_message else error).split())
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "reka-cli"
    message = message[:1].lower() + message[1:].rstrip(".")
    hint = f"{command} --help"
    if context and hasattr(error, "possibilities"):  # as only Typer's NoSuchOption has
        from reka_cli.help.suggestions import hint_for_option

        option = str(getattr(error, "option_name", ""))
        message = f"there is no option {one_line(option)}"
        hint = hint_for_option(option, command, _options(context))
    report(UsageError(message, hint=hint), format_)
    return UsageError.exit_code


def _options(context: Any) -> dict[str, list[str]]:
    """Return the options of the command of a context; of all commands, if that is the program."""
    commands = {context.command_path: context.command}
    for name, command in getattr(context.command, "commands", {}).items():
        commands[f"{context.command_path} {name}"] = command
    return {path: _spellings(command, context) for path, command in commands.items()}


def _spellings(command: Any, context: Any) -> list[str]:
    options = [one for one in command.get_params(context) if one.param_type_name == "option"]
    return [spelling for one in options for spelling in (*one.opts, *one.secondary_opts)]


def _report_signal(number: int, format_: str) -> int:
    """Report a signal to a program, which waits for the last event; a person knows of it."""
    from reka_cli.exit_codes import STOPS

    stop = STOPS[number]
    report(stop(stop.code), format_, to_people=False)
    return -number


def _trace(reporting: _Reporting) -> None:
    """With --debug, print where it happened, without messages: those of libraries may hold secrets."""
    if reporting.debug:
        import traceback

        print_to_stderr("Traceback (most recent call last):")
        error = sys.exc_info()[1]
        while error:
            for line in traceback.format_tb(error.__traceback__):
                for part in line.splitlines():
                    print_to_stderr(part)
            print_to_stderr(type(error).__name__ + (": from" if error.__cause__ else ""))
            error = error.__cause__


def _end_quietly(code: int) -> int:
    """Keep the interpreter from complaining, on its way out, that nobody reads stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def application(arguments: Sequence[str]) -> typer.Typer:
    """Return the program with the command that the first argument names, or with all commands."""
    app = typer.Typer(
        name="reka-cli",
        rich_markup_mode=None,  # otherwise help and usage errors import Rich: twice the time
        add_completion=False,
        cls=_Program,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    names = discovery.names_in(commands)
    named = [name for name in names if name in arguments[:1] and name != "help"]
    for name in named or names:
        app.command(cls=_Command)(getattr(discovery.load(commands, name), name))
    return app


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("-V", "--version", help="Show the version."),
    ] = False,
) -> None:
    """Ask Reka's multimodal models about images.

    Examples:
        reka-cli ask "What can you see?" cat.jpeg
        git diff | reka-cli ask "Write a commit message"
        reka-cli help ask

    The answer is written to stdout, everything else to stderr. Exit code 0 means that the answer is complete.

    reka-cli is unofficial, and not reka-ai/reka-cli.
    """
    if version:
        Terminal().write(f"reka-cli {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        Terminal().write(context.get_help() + "\n")
