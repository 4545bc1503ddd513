"""`reka-cli models`: what can be asked, with modalities, limits and prices."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

from typer import Option

from reka_cli.client import Client, Listing
from reka_cli.commands._options import (
    OUTPUT,
    DebugOption,
    HeaderOption,
    InsecureHttpOption,
    ProviderOption,
    QuietOption,
    RetriesOption,
    TimeoutOption,
)
from reka_cli.config import Config, parse_headers
from reka_cli.providers._models import Model
from reka_cli.terminal import Terminal, print_to_stderr

_COLUMNS = ("model", "takes", "context", "longest answer", "USD/M in", "USD/M out")


def models(
    provider: ProviderOption = None,
    as_json: Annotated[
        bool,
        Option(
            "--json",
            help="Print one JSON object with everything that is known about the models.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    refresh: Annotated[
        bool,
        Option(
            "--refresh",
            help="Request the list from the service, instead of using one that is up to a day old.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    timeout: TimeoutOption = 60.0,
    retries: RetriesOption = 2,
    insecure_http: InsecureHttpOption = False,
    header: HeaderOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """List the models, with modalities, limits and prices.

    Examples:
        reka-cli models
        reka-cli models --provider api --refresh
        reka-cli models --json | jq -r ".models[].id"

    The output is a table on a terminal, and tab-separated lines in a pipe. Prices are in USD per
    million tokens.
    """
    terminal = Terminal(quiet=quiet)
    config = Config.read(insecure_http=insecure_http)
    log = print_to_stderr if debug else None
    client = Client(
        provider,
        timeout_s=timeout,
        retries=retries,
        config=config,
        headers=parse_headers(header or ()),
        log=log,
    )
    with client:
        listing = client.models(refresh=refresh, notice=terminal.notice)
    if as_json:
        terminal.write(json.dumps({"schema": "reka-cli/models/1", **asdict(listing)}) + "\n")
    elif sys.stdout is not None and sys.stdout.isatty():
        _print_table(listing)
    else:
        terminal.write("".join("\t".join(_row(model)) + "\n" for model in listing.models))


def _row(model: Model) -> tuple[str, ...]:
    """Put a model into words, `-` for what is not known."""
    return (
        model.id,
        ",".join(model.input_modalities or ()) or "-",
        str(model.context_tokens or "-"),
        str(model.max_output_tokens or "-"),
        _per_million(model.input_usd),
        _per_million(model.output_usd),
    )


def _per_million(usd: float | None) -> str:
    return "-" if usd is None else f"{usd * 1e6:.2f}"


def _print_table(listing: Listing) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"models of {listing.provider}", title_justify="left", box=None, pad_edge=False
    )
    for index, column in enumerate(_COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=index == 0)
    for model in listing.models:
        cells = list(_row(model))
        cells[0] += " (default)" if model.id == listing.default else ""
        table.add_row(*map(Text, cells))
    Console().print(table)
