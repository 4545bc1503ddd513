"""The options that several commands share: each is declared once, here.

A command that asks takes most of them in one piece:

    @with_ask_options
    def ask(prompt: ... = None, *, options: AskOptions) -> None: ...
"""

# no `from __future__ import annotations`: Typer would evaluate each of them four times
import functools
import inspect
from collections.abc import Callable
from typing import Annotated

from typer import Option

from reka_cli import providers
from reka_cli.asking import AskOptions
from reka_cli.images import DEFAULT_PREPARATION, Preparation
from reka_cli.messages import Options
from reka_cli.render import names as format_names

ImageOption = Annotated[
    list[str] | None,
    Option(
        "-i",
        "--image",
        metavar="FILE",
        help="Image: file, folder, glob, URL, - (standard input), clipboard, NAME=IMAGE. Repeatable.",
    ),
]
ModelOption = Annotated[str | None, Option("-m", "--model", help="Model to ask.")]
SystemOption = Annotated[
    str | None,
    Option("-s", "--system", help="System prompt: instructions that precede the question."),
]
ProviderOption = Annotated[
    str | None,
    Option("--provider", help=f"Provider: auto, {', '.join(providers.names())}."),
]
MaxTokensOption = Annotated[
    int | None,
    Option("--max-tokens", min=1, help="Maximum number of tokens to generate."),
]
TemperatureOption = Annotated[
    float | None,
    Option("--temperature", min=0.0, help="Sampling temperature (0 to 2)."),
]
SeedOption = Annotated[
    int | None,
    Option("--seed", help="Seed for sampling: the same seed asks for the same answer."),
]
SchemaOption = Annotated[
    str | None,
    Option("--schema", metavar="FILE|JSON", help="JSON Schema that the answer must match."),
]
VideoOption = Annotated[
    list[str] | None,
    Option("--video", metavar="FILE|URL", help="Video: file or URL. Repeatable."),
]
MmprojOption = Annotated[
    str | None,
    Option("--mmproj", metavar="FILE", help="Multimodal projector file of a local model."),
]
ContextOption = Annotated[
    int | None,
    Option("--context", min=1, help="Context window of a local model, in tokens."),
]
TimeoutOption = Annotated[
    float,
    Option(
        "--timeout",
        metavar="S",
        help="Total time limit in seconds, including reading standard input and retries.",
    ),
]
CheckTimeoutOption = Annotated[
    float,
    Option("--timeout", metavar="S", help="Time limit in seconds for the check with the service."),
]
IdleTimeoutOption = Annotated[
    float,
    Option("--idle-timeout", metavar="S", help="Time limit in seconds for silence in an answer."),
]
RetriesOption = Annotated[
    int,
    Option("--retries", min=0, help="Maximum number of retries when the service is busy."),
]
NoWaitOption = Annotated[
    bool,
    Option("--no-wait", help="Fail at once at a rate limit instead of waiting."),
]
AllowPartialOption = Annotated[
    bool,
    Option("--allow-partial", help="Accept a truncated answer: exit code 0."),
]
InsecureHttpOption = Annotated[
    bool,
    Option("--insecure-http", help="Allow http:// to another machine."),
]
NoStdinOption = Annotated[bool, Option("-n", "--no-stdin", help="Never read standard input.")]
MaxSideOption = Annotated[
    int,
    Option(
        "--max-side",
        metavar="PX",
        min=0,
        help="Shrink larger images to this many pixels on the longer side; 0 keeps their size.",
    ),
]
KeepMetadataOption = Annotated[
    bool, Option("--keep-metadata", help="Keep location, time and camera metadata of images.")
]
FormatOption = Annotated[
    str,
    Option("-f", "--format", metavar="|".join(format_names()), help="Output format."),
]
QuietOption = Annotated[bool, Option("-q", "--quiet", help="Print no notices on stderr.")]
VerboseOption = Annotated[
    bool,
    Option("-v", "--verbose", help="Print sizes, model, tokens and seconds on stderr."),
]
DebugOption = Annotated[
    bool,
    Option("--debug", help="Print the HTTP traffic on stderr, without secrets."),
]


def with_ask_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that asks get the options that all such commands share as one value.

    The command has a parameter `options`; in its place Typer sees a parameter for each option.
    """
    shared = inspect.signature(_gather).parameters
    own = inspect.signature(command).parameters
    names = list(own)
    at = names.index("options")
    order = [*names[:at], *shared, *names[at + 1 :]]

    @functools.wraps(command)
    def run(**values: object) -> None:
        options = _gather(**{name: values.pop(name) for name in shared})  # type: ignore[arg-type]
        command(**values, options=options)

    known = {**own, **shared}
    parameters = [known[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in order]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _gather(
    image: ImageOption = None,
    model: ModelOption = None,
    system: SystemOption = None,
    provider: ProviderOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    schema: SchemaOption = None,
    video: VideoOption = None,
    mmproj: MmprojOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = 600.0,
    idle_timeout: IdleTimeoutOption = 60.0,
    retries: RetriesOption = 2,
    no_wait: NoWaitOption = False,
    allow_partial: AllowPartialOption = False,
    insecure_http: InsecureHttpOption = False,
    no_stdin: NoStdinOption = False,
    max_side: MaxSideOption = DEFAULT_PREPARATION.max_side,
    keep_metadata: KeepMetadataOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> AskOptions:
    return AskOptions(
        images=tuple(image or ()),
        videos=tuple(video or ()),
        provider=provider,
        model=model,
        system=system,
        sampling=Options(max_tokens, temperature, seed, mmproj, context),
        schema=schema,
        preparation=Preparation(max_side, keep_metadata),
        timeout_s=timeout,
        idle_timeout_s=idle_timeout,
        retries=retries,
        waits_for_limits=not no_wait,
        allow_partial=allow_partial,
        allows_http=insecure_http,
        reads_stdin=not no_stdin,
        quiet=quiet,
        verbose=verbose,
        debug=debug,
    )
