"""Ask every client about every misbehavior, and print a document with what they make of it."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path

from peers.clients import PATIENCE_S, ROOT, Client, clients
from reka_cli.sandbox.built_in_faults import PREFIX
from reka_cli.sandbox.server import Server

sys.path.insert(0, str(ROOT / "tests"))
from faults import FAULTS
from misbehaviors import API, WHOLE  # the table that says what is whole is one of the tests

HANGS_S = (
    PATIENCE_S + 20
)  # that a client may take: longer than the retries of any, and than it was told to wait
MOST_MEMORY = 3 << 30  # bytes
_KEPT = 1 << 20  # bytes of stdout
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Outcome:
    """How a client ended: its exit code, None if it did not; and what it printed."""

    exit_code: int | None
    stdout: str
    stderr: str

    @property
    def has_traceback(self) -> bool:
        return "Traceback" in self.stderr


def main(home: Path, names: Sequence[str]) -> None:
    found = clients(home)
    jobs = [(name, client) for name in names or FAULTS for client in found]
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        outcomes = dict(
            zip(
                [(name, client.name) for name, client in jobs],
                pool.map(lambda job: _ask(*job), jobs),
                strict=True,
            )
        )
    print(_document(found, names or list(FAULTS), outcomes))


def _ask(name: str, client: Client) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, Server(faults=FAULTS) as server:
        command, more = client.ask(f"{server.url}/v1", PREFIX + name, Path(folder))
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "LANG": "C.UTF-8",
            "NO_PROXY": "*",
            "TERM": "dumb",
        } | more
        with subprocess.Popen(
            ["bash", "-c", f'ulimit -v {MOST_MEMORY >> 10}; exec "$@"', "bash", *command],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            kept = [bytearray(), bytearray()]
            readers = [
                threading.Thread(target=_keep, args=pair)
                for pair in zip((process.stdout, process.stderr), kept, strict=True)
            ]
            for reader in readers:
                reader.start()
            try:
                code: int | None = process.wait(HANGS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = None
            for reader in readers:
                reader.join()
    return Outcome(code, *(one.decode("utf-8", "replace") for one in kept))


def _keep(stream: object, kept: bytearray) -> None:
    """Read to the end, keep the begin."""
    while block := stream.read1(65_536):  # type: ignore[attr-defined]
        kept += block[: max(0, _KEPT - len(kept))]


def _lies(name: str, outcome: Outcome) -> bool:
    """Whether it exits 0 for an answer that is not whole, and has not got it by other means."""
    return (
        API[name].exit_code != 0
        and outcome.exit_code == 0
        and outcome.stdout.strip() != WHOLE.strip()
    )


def _cell(name: str, outcome: Outcome) -> str:
    if outcome.exit_code is None:
        return "hangs"
    words = [f"**{outcome.exit_code}**" if _lies(name, outcome) else str(outcome.exit_code)]
    words += ["traceback"] * outcome.has_traceback
    words += ["escapes"] * bool(_CONTROLS.search(outcome.stdout))
    return ", ".join(words)


def _document(
    found: list[Client], names: Sequence[str], outcomes: dict[tuple[str, str], Outcome]
) -> str:
    broken = sum(API[name].exit_code != 0 for name in names)
    titles = [f"{client.name} {client.version}" for client in found]

    def count(client: Client, what: str) -> str:
        cells = [(name, outcomes[name, client.name]) for name in names]
        counts = {
            "lies": sum(_lies(*one) for one in cells),
            "hangs": sum(outcome.exit_code is None for _, outcome in cells),
            "tracebacks": sum(outcome.has_traceback for _, outcome in cells),
            "escapes": sum("escapes" in _cell(*one) for one in cells),
        }
        return f"{counts[what]} of {broken if what == 'lies' else len(names)}"

    summary = {
        "exits 0 on a broken answer": "lies",
        f"does not end within {HANGS_S} s": "hangs",
        "ends with a traceback": "tracebacks",
        "passes escape sequences on": "escapes",
    }
    lines = [
        *_introduction(),
        _row(["", *titles]),
        _row(["---"] * (len(found) + 1)),
        *(
            _row([words, *(count(client, what) for client in found)])
            for words, what in summary.items()
        ),
        "",
        "## Every misbehavior",
        "",
        f"An exit code in bold is a 0 where the answer is not whole; *hangs* is still running after {HANGS_S} s.",
        "",
        _row(["`sandbox-…`", "the service", *titles]),
        _row(["---"] * (len(found) + 2)),
    ]
    for name in names:
        cells = [_cell(name, outcomes[name, client.name]) for client in found]
        lines.append(_row([f"`{name}`", escape(FAULTS[name].does), *cells]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _introduction() -> list[str]:
    now = datetime.datetime.now(datetime.UTC)
    return [
        "# Reliability",
        "",
        "What clients make of a service that misbehaves: the sandbox, over the protocol of the API. Where a client can be told how",
        f"long to wait, it was told {PATIENCE_S} s (reka-cli `--timeout`, shell-gpt `REQUEST_TIMEOUT`, which bounds each read; llm has no",
        "such thing); all else is as it comes.",
        "",
        f"Made by `scripts/compare` on {now:%Y-%m-%d} with Python {platform.python_version()} on {platform.system()}. Which answers are broken is",
        "what the tests say (`tests/misbehaviors.py`); a client that has got the whole answer nevertheless is not counted.",
        "",
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
