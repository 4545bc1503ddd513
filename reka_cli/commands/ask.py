"""`reka-cli ask`: one question, one answer, streamed."""

# no `from __future__ import annotations`: Typer would evaluate each of them four times
from typing import Annotated

from typer import Argument, Option

from reka_cli.asking import (
    AskOptions,
    ask_question,
    check_destination,
    destination,
    open_client,
    read_question,
)
from reka_cli.commands._options import FormatOption, with_ask_options
from reka_cli.errors import UsageError
from reka_cli.limits.deadline import Deadline
from reka_cli.render import check_format, is_for_programs, render
from reka_cli.render._summary import report_summary
from reka_cli.terminal import Terminal


@with_ask_options
def ask(
    prompt: Annotated[str | None, Argument(help="Question; - is standard input.")] = None,
    files: Annotated[
        list[str] | None,
        Argument(help="Images, as for -i.", metavar="[FILE]..."),
    ] = None,
    *,
    options: AskOptions,
    format_: FormatOption = "auto",
    output: Annotated[
        str | None, Option("-o", "--output", metavar="FILE", help="Write the answer to this file.")
    ] = None,
    reasoning: Annotated[
        str,
        Option(
            "--reasoning",
            metavar="show|hide",
            help="The model's reasoning, on stderr of a terminal.",
        ),
    ] = "show",
    live: Annotated[
        bool | None,
        Option("--live/--no-live", help="Repaint what is not finished, or do not."),
    ] = None,
    show: Annotated[
        bool,
        Option("--show", help="Show the images in the terminal, above the answer."),
    ] = False,
) -> None:
    """Ask one question, with or without images.

    Exit codes: 0 the answer is complete, 2 usage, 3 not logged in, 4 refused, 5 bad input, 6 rate
    limited, 7 service error, 8 timeout, 9 network, 10 the answer is incomplete, 70 internal.
    """
    if reasoning not in ("show", "hide"):
        raise UsageError(f"--reasoning is show or hide, not {reasoning!r}")
    check_format(format_)
    for_programs = is_for_programs(format_)
    terminal = Terminal(
        quiet=options.quiet,
        verbose=options.verbose,
        shows_reasoning=reasoning == "show",
        speaks_json=for_programs,
        live=live,
    )
    check_destination(output, terminal)
    deadline = Deadline.after(options.timeout_s)
    with open_client(options, terminal) as client:
        question = read_question(
            prompt,
            files or (),
            options,
            client=client,
            terminal=terminal,
            deadline=deadline,
        )
        if show and not for_programs:
            from reka_cli.render._show import show as show_images

            show_images(question.images, terminal)
        with (
            terminal.waiting(),
            destination(output, question, terminal),
            ask_question(client, question) as answer,
        ):
            render(format_, answer, terminal)
    report_summary(answer, terminal)
