"""From the start of a process to its end: Python's floor, our command on both protocols, and the peers, in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import Row, Section
from benchmarks.commands import IMPORTS, Commands
from benchmarks.processes import (
    Command,
    Costs,
    cpu,
    in_turns,
    middle,
    peak,
    ratio,
    request,
    serving,
    wall,
)

_PROTOCOLS = ("API", "web session")


def measure(*, quick: bool) -> Section:
    """Run every command in turns."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        costs = in_turns(_commands(Commands(server, Path(folder))), 4 if quick else 21, server)
    return Section(_rows(costs), [_table(costs)])


def _commands(commands: Commands) -> dict[str, Command]:
    return {
        "python -c pass": commands.python("pass"),
        "reka-cli --version": commands.ours("--version"),
        "python -c 'import typer'": commands.python("import typer"),
        f"python -c '{IMPORTS}'": commands.python(IMPORTS),
        "reka-cli ask, API": commands.api(),
        "reka-cli ask, web session": commands.web(),
        "curl -N": commands.curl(),
        "httpie": commands.httpie(),
        "openai, a script": commands.openai(),
        "llm": commands.llm(),
        "sgpt": commands.sgpt("", "--no-md"),
    }


def _rows(costs: Costs) -> list[Row]:
    bare, version, typer, floor = list(costs.values())[:4]
    found = [
        ratio("`--version`: time / `import typer`", 1.15, version, typer),
        ratio("`--version`: time / bare Python", 1.2, version, bare),
    ]
    for protocol in _PROTOCOLS:
        ask = costs[f"reka-cli ask, {protocol}"]
        found += [
            ratio(f"`ask`, {protocol}: time / `{IMPORTS}`", 1.2, ask, floor),
            ratio(f"`ask`, {protocol}: CPU / `{IMPORTS}`", 1.2, ask, floor, cpu),
            ratio(
                f"`ask`, {protocol}: time until the request is there / `{IMPORTS}`",
                1.15,
                ask,
                floor,
                request,
                wall,
            ),
            ratio(f"`ask`, {protocol}: time / llm", 0.25, ask, costs["llm"]),
            ratio(f"`ask`, {protocol}: time / sgpt", 0.15, ask, costs["sgpt"]),
            ratio(f"`ask`, {protocol}: memory / llm", 0.55, ask, costs["llm"], peak),
        ]
    return found


def _table(costs: Costs) -> str:
    floor = costs[f"python -c '{IMPORTS}'"]
    lines = [
        "| command (200 events) | time, ms | fastest | CPU, ms | memory, MiB | request there, ms | × floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, of in costs.items():
        asked = middle(of, request)
        lines.append(
            f"| {name} | {middle(of, wall):.0f} | {min(map(wall, of)):.0f} | {middle(of, cpu):.0f} "
            f"| {middle(of, peak):.1f} | {f'{asked:.0f}' if asked else ''} | {ratio('', 0, of, floor).value:.2f} |"
        )
    return "\n".join(lines)
