"""`reka-cli ask`: one question, one answer, streamed."""

# no `from __future__ import annotations`: Typer would evaluate each of them four times before every question
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Annotated

from typer import Argument, Option

from reka_cli import images as pictures
from reka_cli import providers
from reka_cli.answer import Answer
from reka_cli.client import Client
from reka_cli.config import Config
from reka_cli.deadline import Deadline
from reka_cli.errors import UsageError
from reka_cli.files import leads_to_stdout, output_file
from reka_cli.messages import Image, Options, Usage
from reka_cli.output import output_path
from reka_cli.render import check as check_format
from reka_cli.render import names as format_names
from reka_cli.render import render
from reka_cli.schema import read as read_schema
from reka_cli.stdin import PIPED_PICTURE, piped_picture, piped_text
from reka_cli.terminal import FOR_PROGRAMS, Terminal

_IMAGE_HELP = "A picture: a file, folder, glob, URL, - for standard input, clipboard, or NAME= and one; repeatable."
_MAX_SIDE = pictures.AS_USUAL.max_side
_MAX_SIDE_HELP = "Make larger pictures smaller; 0 sends them as large as they are."
_FORBIDDEN = "- reads standard input, which --no-stdin forbids"
_EXAMPLE = 'reka-cli ask "What can you see?" picture.jpg'


def ask(
    prompt: Annotated[str | None, Argument(help="The question; - is standard input.")] = None,
    files: Annotated[list[str] | None, Argument(help="Pictures, as for -i.", metavar="[FILE]...")] = None,
    image: Annotated[list[str] | None, Option("-i", "--image", metavar="FILE", help=_IMAGE_HELP)] = None,
    model: Annotated[str | None, Option("-m", "--model", help="The model to ask.")] = None,
    system: Annotated[str | None, Option("-s", "--system", help="What the model is told before the question.")] = None,
    provider: Annotated[
        str | None, Option("--provider", help=f"The provider: auto, {', '.join(providers.names())}.")
    ] = None,
    max_tokens: Annotated[int | None, Option("--max-tokens", help="The longest answer, in tokens.", min=1)] = None,
    temperature: Annotated[float | None, Option("--temperature", help="How much chance is in it.", min=0.0)] = None,
    seed: Annotated[int | None, Option("--seed", help="The same seed asks for the same answer.")] = None,
    schema: Annotated[str | None, Option("--schema", metavar="FILE|JSON", help="A JSON Schema for the answer.")] = None,
    video: Annotated[list[str] | None, Option("--video", metavar="FILE|URL", help="A clip; repeatable.")] = None,
    mmproj: Annotated[str | None, Option("--mmproj", metavar="FILE", help="What lets a local model see.")] = None,
    context: Annotated[int | None, Option("--context", help="Tokens a local model has room for.", min=1)] = None,
    reasoning: Annotated[str, Option("--reasoning", metavar="show|hide", help="On stderr, on a terminal.")] = "show",
    format_: Annotated[
        str, Option("-f", "--format", help="How to print it.", metavar="|".join(format_names()))
    ] = "auto",
    live: Annotated[bool | None, Option("--live/--no-live", help="Repaint what is not finished, or do not.")] = None,
    output: Annotated[str | None, Option("-o", "--output", metavar="FILE", help="Put the answer there.")] = None,
    timeout: Annotated[float, Option("--timeout", help="For everything, retries too.", metavar="S")] = 600.0,
    idle_timeout: Annotated[float, Option("--idle-timeout", help="For silence in the answer.", metavar="S")] = 60.0,
    retries: Annotated[int, Option("--retries", help="More attempts when the service is busy.", min=0)] = 2,
    no_wait: Annotated[bool, Option("--no-wait", help="Fail at once at a rate limit.")] = False,
    allow_partial: Annotated[bool, Option("--allow-partial", help="Take an answer that is cut off.")] = False,
    insecure_http: Annotated[bool, Option("--insecure-http", help="Allow http:// to another machine.")] = False,
    no_stdin: Annotated[bool, Option("-n", "--no-stdin", help="Never read standard input.")] = False,
    max_side: Annotated[int, Option("--max-side", metavar="PX", help=_MAX_SIDE_HELP, min=0)] = _MAX_SIDE,
    keep_metadata: Annotated[bool, Option("--keep-metadata", help="Send what pictures say of place and time.")] = False,
    show: Annotated[bool, Option("--show", help="The pictures in the terminal, above the answer.")] = False,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No notices on stderr.")] = False,
    verbose: Annotated[bool, Option("-v", "--verbose", help="Sizes, model, tokens, seconds on stderr.")] = False,
    debug: Annotated[bool, Option("--debug", help="The HTTP on stderr, secrets redacted.")] = False,
) -> None:
    """Ask one question, about pictures or without, and print the answer as it comes.

    Exit codes: 0 the answer is whole, 2 usage, 3 not logged in, 4 refused, 5 bad input, 6 rate limited, 7 service
    error, 8 timeout, 9 network, 10 the answer is incomplete, 70 internal.
    """
    if reasoning not in ("show", "hide"):
        raise UsageError(f"--reasoning is show or hide, not {reasoning!r}")
    check_format(format_)
    terminal = Terminal(
        quiet=quiet,
        verbose=verbose,
        shows_reasoning=reasoning == "show",
        speaks_json=format_ in FOR_PROGRAMS,
        live=live,
    )
    preparation = pictures.Preparation(max_side, keep_metadata)
    if output in (None, "-"):
        terminal.check_output()
    deadline = Deadline.after(timeout)
    client = Client(
        provider,
        model=model,
        idle_timeout_s=idle_timeout,
        retries=retries,
        allow_partial=allow_partial,
        waits_for_limits=not no_wait,
        config=Config.read(insecure_http=insecure_http),
        log=terminal.debug if debug else None,
        pictures=preparation,
        progress=terminal.uploading,
    )
    wanted = None if schema is None else read_schema(schema, deadline)
    sources = [*(image or []), *(files or [])]
    _refuse_picture_as_prompt(prompt)
    _check_dashes(prompt, sources, may_read=not no_stdin)
    options = Options(max_tokens, temperature, seed, mmproj, context)
    with terminal.waiting():
        loaded: tuple[Image, ...] = ()
        if sources:
            loaded = pictures.load_all(
                sources,
                deadline,
                preparation,
                stdin=lambda: piped_picture(terminal, deadline, pictures.LARGEST),
                log=terminal.debug if debug else None,
            )
        question = _question(prompt, bool(sources or video), terminal, None if no_stdin else deadline)
    if show and format_ not in FOR_PROGRAMS:
        from reka_cli.render._show import show as show_pictures

        show_pictures(loaded, terminal)
    asked = client.ask(
        question, loaded, system=system, options=options, deadline=deadline, videos=video or (), schema=wanted
    )
    with terminal.waiting(), closing(asked) as answer, _destination(output, loaded, deadline, terminal):
        render(format_, answer, terminal)
    if loaded:
        terminal.detail(_sent(loaded))
    terminal.detail(_summary(answer))


@contextmanager
def _destination(
    output: str | None, pictures: Sequence[Image], deadline: Deadline, terminal: Terminal
) -> Iterator[None]:
    """Where the answer goes: stdout, or a file that takes its place when the answer is whole."""
    if output is None or output == "-":
        yield
        return
    path = output_path(output, pictures[0].name if pictures else None)
    if leads_to_stdout(path):
        terminal.check_output()
        yield
        return
    with output_file(path, deadline) as descriptor, terminal.answering_to(descriptor):
        yield
    terminal.detail(f"the answer is in {path}")


def _refuse_picture_as_prompt(prompt: str | None) -> None:
    if prompt and pictures.looks_like_one(prompt):
        raise UsageError(
            f"{prompt} is a picture, not a question",
            hint=f'reka-cli ask -i {shlex.quote(prompt)} "What can you see?"',
        )


def _check_dashes(prompt: str | None, sources: list[str], *, may_read: bool) -> None:
    """Standard input is one picture or the question, once."""
    dashes = [source for source in sources if pictures.reads_stdin(source)]
    if dashes and not may_read:
        raise UsageError(_FORBIDDEN)
    if len(dashes) > 1:
        raise UsageError("standard input is one picture: - can be given once", hint=PIPED_PICTURE)
    if dashes and prompt in (None, "-"):
        raise UsageError("standard input is the picture: the question must be an argument", hint=PIPED_PICTURE)


def _question(prompt: str | None, has_pictures: bool, terminal: Terminal, stdin_until: Deadline | None) -> str:
    """Put the question together; standard input is part of it only if it is needed.

    With a prompt and a picture it is not touched, so that a `while read` loop keeps its lines.
    """
    if prompt == "-" and stdin_until is None:
        raise UsageError(_FORBIDDEN)
    needed = prompt in (None, "-") or not has_pictures
    piped = piped_text(terminal, stdin_until) if needed and stdin_until else ""
    own = prompt if prompt and prompt != "-" else ""
    question = "\n\n".join(part for part in (own.strip(), piped) if part)
    if not question:
        raise UsageError("there is no question", hint=_EXAMPLE)
    return question


def _sent(images: Sequence[Image]) -> str:
    given, sent = (sum(sizes) for sizes in zip(*(_sizes(image) for image in images), strict=True))
    count = "1 image" if len(images) == 1 else f"{len(images)} images"
    return f"sent {count}, {_megabytes(given)}" + (f" → {_megabytes(sent)}" if given != sent else "")


def _sizes(image: Image) -> tuple[int, int]:
    return (image.original or image).size_bytes, image.size_bytes


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _summary(answer: Answer) -> str:
    usage = answer.usage or Usage(None, None)
    first_s, total_s = answer.first_token_s or 0.0, answer.total_s
    streamed_s = total_s - first_s
    pace = f", {usage.output_tokens / streamed_s:.0f} tokens/s" if usage.output_tokens and streamed_s > 0 else ""
    tokens = f", {usage.input_tokens} tokens in, {usage.output_tokens} out" if answer.usage else ""
    cost = f", {usage.cost_usd:.6f} USD" if usage.cost_usd is not None else ""
    return f"{answer.provider}, {answer.model}{tokens}{cost}, first word after {first_s:.1f} s, {total_s:.1f} s{pace}"
