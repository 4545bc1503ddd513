"""`reka-cli help`: help about the program, a command or a topic."""

from __future__ import annotations

from typing import Annotated

import typer

from reka_cli.errors import UsageError
from reka_cli.terminal import Terminal


def help(  # noqa: A001 - a command is called like its file
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Command or topic; without it, help about reka-cli."),
    ] = None,
) -> None:
    """Show help about a command or a topic.

    Examples:
        reka-cli help ask
        reka-cli help exit-codes
    """
    from reka_cli import help as pages
    from reka_cli.help.topics import TOPICS

    program = context.parent
    if program is None:
        raise UsageError("help has no program to describe")
    commands = program.command.commands  # type: ignore[attr-defined]
    terminal = Terminal()
    if name is None:
        terminal.write(program.get_help() + "\n")
    elif name in commands:
        command = typer.Context(commands[name], parent=program, info_name=name)
        terminal.write(command.get_help() + "\n")
    elif name in TOPICS:
        terminal.write(pages.text(TOPICS[name].page(), terminal))
    else:
        from reka_cli.help.suggestions import hint_for_topic

        hint = hint_for_topic(name, [*commands, *TOPICS])
        raise UsageError(f"there is no command or help topic {name!r}", hint=hint)
