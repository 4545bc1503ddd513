"""From options to a running question: the steps that every command that asks has in common."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from reka_cli import images
from reka_cli.answer import Answer
from reka_cli.client import Client
from reka_cli.config import Config, parse_headers
from reka_cli.errors import UsageError
from reka_cli.files import leads_to_stdout, output_file
from reka_cli.images import Preparation
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Image, Options
from reka_cli.terminal import Terminal
from reka_cli.terminal.output import check_pattern, output_path
from reka_cli.terminal.stdin import PIPED_IMAGE, read_image, read_text

_FORBIDDEN = "- reads standard input, which --no-stdin forbids"
_EXAMPLE = 'reka-cli ask "What can you see?" image.jpg'


# NamedTuple, because making two dataclasses of this size would cost 1 ms at every start
class AskOptions(NamedTuple):
    """The options of every command that asks; reka_cli/commands/_options.py declares them."""

    images: tuple[str, ...]  # as given, not yet loaded
    videos: tuple[str, ...]
    provider: str | None
    model: str | None
    system: str | None
    sampling: Options
    schema: str | None
    preparation: Preparation
    timeout_s: float
    idle_timeout_s: float
    retries: int
    waits_for_limits: bool
    allow_partial: bool
    allows_http: bool
    headers: tuple[str, ...]  # NAME=VALUE
    reads_stdin: bool
    quiet: bool
    verbose: bool
    debug: bool


class Question(NamedTuple):
    """A question that is ready to be sent: its images are loaded, and standard input is read."""

    text: str
    system: str | None
    images: tuple[Image, ...]
    videos: tuple[str, ...]
    sampling: Options
    schema: dict[str, Any] | None
    deadline: Deadline


def open_client(options: AskOptions, terminal: Terminal, *, shows_uploads: bool = True) -> Client:
    """Return a client that reads `-` from standard input and reports uploads to the terminal."""

    def read_stdin(deadline: Deadline) -> bytes:
        return read_image(terminal, deadline, images.MAX_IMAGE_BYTES)

    return Client(
        options.provider,
        model=options.model,
        idle_timeout_s=options.idle_timeout_s,
        retries=options.retries,
        allow_partial=options.allow_partial,
        waits_for_limits=options.waits_for_limits,
        config=Config.read(insecure_http=options.allows_http),
        headers=parse_headers(options.headers),
        log=terminal.debug if options.debug else None,
        preparation=options.preparation,
        progress=terminal.show_upload if shows_uploads else None,
        stdin=read_stdin,
    )


def read_question(
    prompt: str | None,
    files: Sequence[str],
    options: AskOptions,
    *,
    client: Client,
    terminal: Terminal,
    deadline: Deadline,
) -> Question:
    """Read everything a question consists of: schema, images and standard input.

    `prompt` is the argument: `-` or None stands for standard input. `files` are more images, after
    those of `options`. Raises RekaError for what cannot be sent; no request has been sent then.
    """
    schema = None
    if options.schema is not None:
        from reka_cli.schema import read as read_schema

        schema = read_schema(options.schema, deadline)
    sources = [*options.images, *files]
    _reject_image_as_prompt(prompt)
    _check_dashes(prompt, sources, options)
    with terminal.waiting():
        loaded = client.load(sources, deadline)
        has_media = bool(sources or options.videos)
        text = _read_text(prompt, terminal, deadline, options, has_media=has_media)
    return Question(
        text,
        options.system,
        loaded,
        options.videos,
        options.sampling,
        schema,
        deadline,
    )


def ask_question(client: Client, question: Question) -> Answer:
    """Return the answer to a question. The request is sent when its first event is read."""
    # needed for the first event too, but some 30 calls deeper. There the imports reach the end of
    # the first 16 KB of CPython's stack, where each call gets and frees memory: 20 ms
    import reka_cli.transport  # noqa: F401

    return client.ask(
        question.text,
        question.images,
        system=question.system,
        options=question.sampling,
        deadline=question.deadline,
        videos=question.videos,
        schema=question.schema,
    )


def check_destination(output: str | None, terminal: Terminal) -> None:
    """Raise UsageError if stdout is needed and closed, or the name of the output file is wrong."""
    if output is None or output == "-":
        terminal.check_output()
    else:
        check_pattern(output)


@contextmanager
def destination(output: str | None, question: Question, terminal: Terminal) -> Iterator[None]:
    """Write the answer to stdout, or to a file that appears when the answer is complete."""
    if output is None or output == "-":
        yield
        return
    path = output_path(output, question.images[0].name if question.images else None)
    if leads_to_stdout(path):
        terminal.check_output()
        yield
        return
    with output_file(path, question.deadline) as descriptor, terminal.redirect_answer(descriptor):
        yield
    terminal.detail(f"the answer is in {path}")


def _reject_image_as_prompt(prompt: str | None) -> None:
    if prompt and images.is_image_file(prompt):
        raise UsageError(
            f"{prompt} is an image, not a question",
            hint=f'reka-cli ask -i {shlex.quote(prompt)} "What can you see?"',
        )


def _check_dashes(prompt: str | None, sources: Sequence[str], options: AskOptions) -> None:
    """Raise UsageError unless standard input is read once at most, for one image or the prompt."""
    dashes = [source for source in sources if images.reads_stdin(source)]
    if dashes and not options.reads_stdin:
        raise UsageError(_FORBIDDEN)
    if len(dashes) > 1:
        raise UsageError("standard input is one image: - can be given once", hint=PIPED_IMAGE)
    if dashes and prompt in (None, "-"):
        message = "standard input is the image: the question must be an argument"
        raise UsageError(message, hint=PIPED_IMAGE)


def _read_text(
    prompt: str | None,
    terminal: Terminal,
    deadline: Deadline,
    options: AskOptions,
    *,
    has_media: bool,
) -> str:
    """Return the text of the question; standard input is part of it only if it is needed.

    With a prompt and an image it is not touched, so that a `while read` loop keeps its lines.
    """
    if prompt == "-" and not options.reads_stdin:
        raise UsageError(_FORBIDDEN)
    parts = []
    if prompt and prompt != "-":
        parts.append(prompt.strip())
    needs_stdin = prompt in (None, "-") or not has_media
    if needs_stdin and options.reads_stdin:
        parts.append(read_text(terminal, deadline))
    text = "\n\n".join(part for part in parts if part)
    if not text:
        raise UsageError("there is no question", hint=_EXAMPLE)
    return text
