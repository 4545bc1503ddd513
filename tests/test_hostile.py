"""A hostile service: every misbehavior, over both protocols, in every format, ends as the table says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CAT, ROOT, Result, Run, write_cookies
from faults import FAULTS
from hostile import HOSTILE
from misbehaviors import FORMATS, HEAVY, PROTOCOLS, TABLES, Told, expected, told

from reka_cli import Client, RekaError
from reka_cli.config import Config
from reka_cli.escapes import clean
from reka_cli.messages import Notice, TextDelta
from reka_cli.sandbox.server import Server, _Handler
from reka_cli.sandbox.steps import Reply

SAMPLE = (
    "401-once",
    "429-later",
    "500",
    "redirect",
    "hang-up",
    "length",
    "stall",
    "rewrite",
    "osc52",
    "cut",
)


@contextmanager
def a_user(folder: Path, protocol: str) -> Iterator[tuple[Server, dict[str, str]]]:
    """A sandbox and the environment of somebody who uses nothing else."""
    folder.mkdir(mode=0o700)
    cookies = write_cookies(folder / "cookies.txt", {"appSession": "sandbox-session"})
    with Server(faults=FAULTS) as server:
        bases = {
            "web": {"REKA_WEB_BASE": server.url, "REKA_COOKIES": str(cookies)},
            "api": {"REKA_API_BASE": f"{server.url}/v1"},
        }
        yield server, {"REKA_HOME": str(folder), "REKA_PROVIDER": protocol} | bases[protocol]


def by_process(
    run: Run, folder: Path, fault: str, protocol: str, format_: str
) -> tuple[Told, Told]:
    """Ask with the command; give what is expected and what came."""
    with a_user(folder, protocol) as (server, env):
        row = TABLES[protocol][fault]
        limits = ["--retries", "0", "--timeout", "3" if row.ends_at_the_deadline else "60"]
        limits += ["--idle-timeout", "0.5"] if row.falls_silent else []
        result = run(
            "ask", "-n", "-f", format_, "-m", f"sandbox-{fault}", "hello", *limits, env=env
        )
    came = told(result.exit_code, result.stdout, result.stderr, format_)
    return expected(row.at(server.url.removeprefix("http://"), 3.0), protocol, fault, format_), came


def by_client(folder: Path, fault: str, protocol: str) -> tuple[Result, Result]:
    """Ask with the library, put into the words of the command; give what is expected and what came."""
    with a_user(folder, protocol) as (server, env):
        row = TABLES[protocol][fault]
        client = Client(
            config=Config.read(env),
            retries=0,
            timeout_s=1.0 if row.ends_at_the_deadline else 60.0,
            idle_timeout_s=0.5 if row.falls_silent else 60.0,
        )
        came = in_words(client, fault)
    row = row.at(server.url.removeprefix("http://"), 1.0)
    return Result(row.exit_code, row.stdout, row.stderr), came


def in_words(client: Client, fault: str) -> Result:
    pieces, said, exit_code = [], [], 0
    try:
        for event in client.ask("hello", model=f"sandbox-{fault}"):
            if isinstance(event, TextDelta):
                pieces.append(event.text)
            elif isinstance(event, Notice):
                said.append(f"notice: {event.text}\n")
    except RekaError as error:
        exit_code = error.exit_code
        said += [f"error: {error.message}\n", *([f"hint: {error.hint}\n"] if error.hint else [])]
    text = clean("".join(pieces)).strip("\n")
    return Result(exit_code, text + "\n" if text else "", "".join(said))


def at_once(
    checks: list[Callable[[], tuple[object, object]]], workers: int
) -> tuple[list[object], list[object]]:
    """Run checks beside each other, for some of them wait; give what was expected and what came."""
    with ThreadPoolExecutor(workers) as pool:
        pairs = list(pool.map(lambda check: check(), checks))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@pytest.fixture
def clean_env(clean_env: dict[str, str]) -> dict[str, str]:
    """Without coverage: a thousand processes that start and are measured would take minutes."""
    return {name: value for name, value in clean_env.items() if not name.startswith("COVERAGE_")}


def test_the_table_has_every_misbehavior() -> None:
    assert {protocol: sorted(table) for protocol, table in TABLES.items()} == dict.fromkeys(
        PROTOCOLS, sorted(FAULTS)
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_misbehavior_has_its_error(tmp_path: Path, protocol: str) -> None:
    def check(fault: str) -> Callable[[], tuple[object, object]]:
        return lambda: by_client(tmp_path / fault, fault, protocol)

    names = [fault for fault in FAULTS if fault not in HEAVY]
    wanted, came = at_once([check(fault) for fault in names], 16)

    assert dict(zip(names, came, strict=True)) == dict(zip(names, wanted, strict=True))


@pytest.mark.parametrize("fault", SAMPLE)
def test_a_misbehavior_has_its_exit_code(run: Run, tmp_path: Path, fault: str) -> None:
    wanted, came = by_process(run, tmp_path / fault, fault, "web", "text")

    assert came == wanted


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_misbehavior_has_its_exit_code_on_both_protocols_in_every_format(
    run: Run, tmp_path: Path, fault: str
) -> None:
    ways = [(protocol, format_) for protocol in PROTOCOLS for format_ in FORMATS]

    def check(protocol: str, format_: str) -> Callable[[], tuple[object, object]]:
        return lambda: by_process(run, tmp_path / f"{protocol}-{format_}", fault, protocol, format_)

    wanted, came = at_once([check(*way) for way in ways], len(ways))

    assert dict(zip(ways, came, strict=True)) == dict(zip(ways, wanted, strict=True))


ENDLESS = [
    *(("endless-line", protocol) for protocol in PROTOCOLS),
    *(("endless-data", protocol) for protocol in PROTOCOLS),
    *(("gzip-bomb", protocol) for protocol in PROTOCOLS),
    *(("endless-text", protocol) for protocol in PROTOCOLS),
    ("endless-reasoning", "api"),
    ("endless-blanks", "api"),
    ("endless-json", "web"),
    ("flip-flop", "web"),
]
MEASURED = """
import resource, subprocess, sys
process = subprocess.run([sys.executable, "-m", "reka_cli", *sys.argv[1:]], stdout=-3, stderr=-3)
print(process.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "protocol"), ENDLESS)
def test_memory_stays_flat_whatever_comes(
    clean_env: dict[str, str], tmp_path: Path, fault: str, protocol: str
) -> None:
    with a_user(tmp_path / "user", protocol) as (_, env):
        # through a small process: what a child weighs begins with the weight of who made it
        command = [
            sys.executable,
            "-c",
            MEASURED,
            "ask",
            "-n",
            "-f",
            "json",
            "-m",
            f"sandbox-{fault}",
            "hello",
        ]
        came = subprocess.run(
            command, env=clean_env | env, cwd=ROOT, capture_output=True, check=True
        )
    exit_code, peak_kb = map(int, came.stdout.split())

    assert exit_code == 7
    assert (
        peak_kb < 256 << 10
    )  # a question that is answered takes 32 MB; a text so far of 16 MB takes 170


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/bff/auth/access_token", "/api/upload-image", "/v1/models"])
def test_every_other_request_ends_whatever_answers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    usual = _Handler._reply

    def reply(self: _Handler, headers: dict[str, str], body: bytes) -> Reply:
        return self.server.instead if self.path == path else usual(self, headers, body)  # type: ignore[attr-defined]

    monkeypatch.setattr(_Handler, "_reply", reply)
    protocol = "api" if path.startswith("/v1") else "web"

    def check(fault: str) -> Callable[[], tuple[object, object]]:
        def ask() -> tuple[object, object]:
            with a_user(tmp_path / fault, protocol) as (server, env):
                server.instead = HOSTILE[fault].instead  # type: ignore[attr-defined]
                row = TABLES[protocol][fault]
                timeout_s = 1.0 if row.ends_at_the_deadline else 60.0
                client = Client(
                    config=Config.read(env), retries=0, timeout_s=timeout_s, idle_timeout_s=60.0
                )
                with pytest.raises(RekaError) as caught:
                    client.models() if protocol == "api" else client.ask("hello", [CAT]).read()
            return ends[row.exit_code], caught.value.exit_code

        return ask

    # JSON is due here: what is no answer cannot be read; and a session that is sent elsewhere is over
    ends = {code: code for code in (6, 7, 8, 9)} | {10: 7, 4: 3 if path.startswith("/bff") else 4}
    names = [fault for fault in HOSTILE if HOSTILE[fault].instead is not None]
    wanted, came = at_once([check(fault) for fault in names], 16)

    assert dict(zip(names, came, strict=True)) == dict(zip(names, wanted, strict=True))
