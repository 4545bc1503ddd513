"""`reka-cli sandbox`: the stand-in as a server of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from reka_cli.commands._options import DIAGNOSTICS, INPUT, OUTPUT
from reka_cli.errors import UsageError
from reka_cli.files import reason
from reka_cli.terminal import Terminal, print_to_stderr


def sandbox(
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            help="Port to listen on (0 to 65535). 0 selects a free one.",
            rich_help_panel=INPUT,
        ),
    ] = 0,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults",
            help="List the model names that misbehave, and exit.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Print a line on stderr for each request.",
            rich_help_panel=DIAGNOSTICS,
        ),
    ] = False,
) -> None:
    """Run a stand-in for Reka on this machine, until Ctrl-C.

    Examples:
        reka-cli sandbox --port 8000
        reka-cli sandbox --faults
        reka-cli ask --provider sandbox "What can you see?" cat.jpeg

    Use it to try scripts without an account. It measures images, and cannot see. Models such as
    sandbox-429 misbehave on purpose.
    """
    terminal = Terminal(verbose=verbose)
    if faults:
        from reka_cli.sandbox.built_in_faults import FAULTS, PREFIX

        width = max(map(len, FAULTS)) + len(PREFIX)
        terminal.write(
            "".join(f"{PREFIX + name:{width}}  {fault.does}\n" for name, fault in FAULTS.items())
        )
        return
    from reka_cli.sandbox.server import Received, Server

    def show(came: Received) -> None:
        terminal.detail(f"{came.method} {came.path}, {len(came.body)} bytes")

    try:
        server = Server(port, on_request=show)
    except OSError as error:
        raise UsageError(
            f"cannot listen on port {port}: {reason(error)}", hint="--port 0"
        ) from error
    with server:
        terminal.write(
            f"# The sandbox of reka-cli, a stand-in for Reka, answers at {server.url} until Ctrl-C.\n"
            "# In another terminal:\n"
            f"export REKA_WEB_BASE={server.url}\n"
            f"export REKA_TOKEN={server.token}\n"
            "# or, for the way of the API:\n"
            f"export REKA_API_BASE={server.url}/v1\n"
            "export REKA_MODEL=sandbox\n"
        )
        print_to_stderr("# reka-cli sandbox --faults lists the models that misbehave")
        server.stopping.wait()
