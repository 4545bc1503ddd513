"""`reka-cli status`: which ways to a model are ready, with whose credentials, until when."""

from __future__ import annotations

import json
import time
from typing import Annotated

from typer import Option

from reka_cli import providers
from reka_cli.client import Client
from reka_cli.commands._options import (
    DIAGNOSTICS,
    INPUT,
    OUTPUT,
    CheckTimeoutOption,
    ProviderOption,
    QuietOption,
)
from reka_cli.config import Config
from reka_cli.credentials import format_relative_time
from reka_cli.escapes import clean
from reka_cli.providers import Status
from reka_cli.terminal import Terminal

_DAY_S = 86_400


def status(
    as_json: Annotated[
        bool,
        Option("--json", help="Print the providers as one JSON object.", rich_help_panel=OUTPUT),
    ] = False,
    check: Annotated[
        bool,
        Option(
            "--check",
            help="Ask the service whether it accepts the credentials, and exit with code 3 if not.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    provider: ProviderOption = None,
    warn_days: Annotated[
        float,
        Option(
            "--warn-days",
            metavar="N",
            min=0,
            help="With --check, print a notice if the credentials expire in fewer days than this.",
            rich_help_panel=DIAGNOSTICS,
        ),
    ] = 2.0,
    timeout: CheckTimeoutOption = 60.0,
    quiet: QuietOption = False,
) -> None:
    """Show which providers are ready, and until when.

    Examples:
        reka-cli status
        reka-cli status --check --provider web

    The credentials are named, never shown.
    """
    config = Config.read()
    terminal = Terminal(quiet=quiet)
    states = [providers.load(name).status(config) for name in providers.names()]
    if as_json:
        listed = [one._asdict() for one in states]
        terminal.write(json.dumps({"schema": "reka-cli/status/1", "providers": listed}) + "\n")
    else:
        terminal.write("".join("\t".join(_row(one)) + "\n" for one in states))
    if check:
        _check_credentials(
            config, provider or config.provider, states, terminal, timeout, warn_days
        )


def _check_credentials(
    config: Config,
    wanted: str,
    states: list[Status],
    terminal: Terminal,
    timeout_s: float,
    warn_days: float,
) -> None:
    with Client(wanted, config=config, timeout_s=timeout_s) as client:
        name = client.check(notice=terminal.notice)
    ends_s = next((one.expires_s for one in states if one.provider == name), None)
    if ends_s is not None and ends_s - time.time() < warn_days * _DAY_S:
        terminal.notice(
            f"the credentials of {name} end {format_relative_time(ends_s)}: reka-cli login"
        )


def _row(state: Status) -> tuple[str, ...]:
    ready = "ready" if state.ready else "not ready"
    ends = (
        f"ends {format_relative_time(state.expires_s)}"
        if state.expires_s is not None and state.ready
        else ""
    )
    return (
        state.provider,
        ready,
        clean("; ".join(filter(None, (state.source, *state.holds, ends, state.problem)))),
    )
