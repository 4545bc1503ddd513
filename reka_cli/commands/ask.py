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
from reka_cli.commands._options import ANSWER, OUTPUT, FormatOption, with_ask_options
from reka_cli.errors import UsageError
from reka_cli.limits.deadline import Deadline
from reka_cli.render import check_format, is_for_programs, render
from reka_cli.render._summary import report_summary
from reka_cli.terminal import Terminal


@with_ask_options
def ask(
    prompt: Annotated[
        str | None,
        Argument(
            metavar="PROMPT",
            help="Question. With - or without one, it is read from standard input.",
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        Argument(metavar="[FILE]...", help="Images to ask about, as with -i."),
    ] = None,
    *,
    options: AskOptions,
    format_: FormatOption = "auto",
    output: Annotated[
        str | None,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the answer to this file, completely or not at all. {date}, {time}, "
            "{name} (of the image) and {stem} (without its suffix) are filled in.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    reasoning: Annotated[
        str,
        Option(
            "--reasoning",
            metavar="show|hide",
            help="Show or hide the model's reasoning on stderr when it is a terminal.",
            rich_help_panel=ANSWER,
        ),
    ] = "show",
    live: Annotated[
        bool | None,
        Option(
            "--live/--no-live",
            help="Repaint unfinished Markdown while the answer streams, or print each block once. "
            "By default it is repainted if the terminal can do that.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    show: Annotated[
        bool,
        Option(
            "--show",
            help="Show the images in the terminal above the answer. This needs reka-cli[show].",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Ask one question, with or without images.

    Examples:
        reka-cli ask "What can you see?" cat.jpeg
        git diff | reka-cli ask "Write a commit message"
        reka-cli ask -f json "What can you see?" cat.jpeg | jq -r .text

    Standard input is part of the question if there is no PROMPT, or a PROMPT and no image.

    The exit code is 0 only if the answer is complete. See also: reka-cli help exit-codes.
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
    terminal.keep(deadline)
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
