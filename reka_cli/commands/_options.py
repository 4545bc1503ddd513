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

# the groups of options in help, in their order
INPUT = "Input"
MODEL = "Model"
ANSWER = "Answer"
LIMITS = "Limits"
OUTPUT = "Output"
DIAGNOSTICS = "Diagnostics"

ImageOption = Annotated[
    list[str] | None,
    Option(
        "-i",
        "--image",
        metavar="FILE",
        help="Image to ask about: a file, folder, glob, URL, - (standard input) or clipboard. "
        "NAME=FILE tells the model its name. Can be repeated. See also: reka-cli help images.",
        rich_help_panel=INPUT,
    ),
]
VideoOption = Annotated[
    list[str] | None,
    Option(
        "--video",
        metavar="FILE",
        help="Video to ask about: a file or a URL. Can be repeated.",
        rich_help_panel=INPUT,
    ),
]
NoStdinOption = Annotated[
    bool,
    Option(
        "-n",
        "--no-stdin",
        help="Never read standard input, even where the question would use it.",
        rich_help_panel=INPUT,
    ),
]
MaxSideOption = Annotated[
    int,
    Option(
        "--max-side",
        metavar="PIXELS",
        min=0,
        help="Shrink images whose longer side has more pixels than this. 0 keeps their size.",
        rich_help_panel=INPUT,
    ),
]
KeepMetadataOption = Annotated[
    bool,
    Option(
        "--keep-metadata",
        help="Keep the location, time and camera metadata of images, which is removed otherwise.",
        rich_help_panel=INPUT,
    ),
]
ProviderOption = Annotated[
    str | None,
    Option(
        "--provider",
        metavar="NAME",
        help=f"Provider to use: auto, {', '.join(providers.names())}. "
        "auto, the default, is the first provider with credentials.",
        rich_help_panel=MODEL,
    ),
]
ModelOption = Annotated[
    str | None,
    Option(
        "-m",
        "--model",
        metavar="NAME",
        help="Model to ask, such as reka-flash. For the provider local, the path of a GGUF file.",
        rich_help_panel=MODEL,
    ),
]
MmprojOption = Annotated[
    str | None,
    Option(
        "--mmproj",
        metavar="FILE",
        help="Multimodal projector file, which the provider local needs for images.",
        rich_help_panel=MODEL,
    ),
]
ContextOption = Annotated[
    int | None,
    Option(
        "--context",
        metavar="N",
        min=1,
        help="Size of the context window of the provider local, in tokens (at least 1).",
        rich_help_panel=MODEL,
    ),
]
InsecureHttpOption = Annotated[
    bool,
    Option(
        "--insecure-http",
        help="Allow a REKA_API_BASE with http:// on another machine. The traffic is not encrypted.",
        rich_help_panel=MODEL,
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    Option(
        "--header",
        metavar="NAME=VALUE",
        help="Header to send to REKA_API_BASE, as env:NAME, file:PATH, or a value that is no secret. "
        "Can be repeated.",
        rich_help_panel=MODEL,
    ),
]
SystemOption = Annotated[
    str | None,
    Option(
        "-s",
        "--system",
        metavar="TEXT",
        help="System prompt: instructions that precede the question.",
        rich_help_panel=ANSWER,
    ),
]
SchemaOption = Annotated[
    str | None,
    Option(
        "--schema",
        metavar="FILE|JSON",
        help="JSON Schema that the answer must match, as a file or as JSON. "
        "Without a valid answer, nothing is printed.",
        rich_help_panel=ANSWER,
    ),
]
MaxTokensOption = Annotated[
    int | None,
    Option(
        "--max-tokens",
        metavar="N",
        min=1,
        help="Maximum number of tokens to generate (at least 1).",
        rich_help_panel=ANSWER,
    ),
]
TemperatureOption = Annotated[
    float | None,
    Option(
        "--temperature",
        metavar="N",
        min=0.0,
        help="Sampling temperature (0 to 2). Answers vary less with a lower one.",
        rich_help_panel=ANSWER,
    ),
]
SeedOption = Annotated[
    int | None,
    Option(
        "--seed",
        metavar="N",
        help="Sampling seed. With the same seed, a model that supports it repeats its answer.",
        rich_help_panel=ANSWER,
    ),
]
AllowPartialOption = Annotated[
    bool,
    Option(
        "--allow-partial",
        help="Accept a truncated answer: exit with code 0 and a notice, instead of code 10.",
        rich_help_panel=ANSWER,
    ),
]
TimeoutOption = Annotated[
    float,
    Option(
        "--timeout",
        metavar="SECONDS",
        help="Total time limit in seconds, including reading standard input and retries.",
        rich_help_panel=LIMITS,
    ),
]
CheckTimeoutOption = Annotated[
    float,
    Option(
        "--timeout",
        metavar="SECONDS",
        help="Time limit in seconds for asking the service whether it accepts the credentials.",
        rich_help_panel=LIMITS,
    ),
]
IdleTimeoutOption = Annotated[
    float,
    Option(
        "--idle-timeout",
        metavar="SECONDS",
        help="Time limit in seconds for a pause after the answer has begun.",
        rich_help_panel=LIMITS,
    ),
]
RetriesOption = Annotated[
    int,
    Option(
        "--retries",
        metavar="N",
        min=0,
        help="Maximum number of retries when the service is busy or out of reach (0 or more).",
        rich_help_panel=LIMITS,
    ),
]
NoWaitOption = Annotated[
    bool,
    Option(
        "--no-wait",
        help="Exit with code 6 when the service limits the rate, instead of waiting.",
        rich_help_panel=LIMITS,
    ),
]
FormatOption = Annotated[
    str,
    Option(
        "-f",
        "--format",
        metavar="NAME",
        help=f"Output format: {', '.join(format_names())}. auto: markdown on a terminal, else text.",
        rich_help_panel=OUTPUT,
    ),
]
QuietOption = Annotated[
    bool,
    Option(
        "-q",
        "--quiet",
        help="Print no notices on stderr. Errors are still printed.",
        rich_help_panel=DIAGNOSTICS,
    ),
]
VerboseOption = Annotated[
    bool,
    Option(
        "-v",
        "--verbose",
        help="Print image sizes, model, tokens, cost and seconds on stderr.",
        rich_help_panel=DIAGNOSTICS,
    ),
]
DebugOption = Annotated[
    bool,
    Option(
        "--debug",
        help="Print the HTTP traffic on stderr, with secrets removed.",
        rich_help_panel=DIAGNOSTICS,
    ),
]


def with_ask_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that asks get the options that all such commands share as one value.

    The command has a parameter `options`; in its place Typer sees a parameter for each option. An
    option that the command declares itself, under the same name, is not shared.
    """
    own = inspect.signature(command).parameters
    every = inspect.signature(_gather).parameters
    shared = {name: one for name, one in every.items() if name not in own}
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
    video: VideoOption = None,
    no_stdin: NoStdinOption = False,
    max_side: MaxSideOption = DEFAULT_PREPARATION.max_side,
    keep_metadata: KeepMetadataOption = False,
    provider: ProviderOption = None,
    model: ModelOption = None,
    mmproj: MmprojOption = None,
    context: ContextOption = None,
    insecure_http: InsecureHttpOption = False,
    header: HeaderOption = None,
    system: SystemOption = None,
    schema: SchemaOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    allow_partial: AllowPartialOption = False,
    timeout: TimeoutOption = 600.0,
    idle_timeout: IdleTimeoutOption = 60.0,
    retries: RetriesOption = 2,
    no_wait: NoWaitOption = False,
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
        headers=tuple(header or ()),
        reads_stdin=not no_stdin,
        quiet=quiet,
        verbose=verbose,
        debug=debug,
    )
