"""What tests share: the command as a real process, a sandbox to talk to, a home of its own for each test."""

from __future__ import annotations

import contextlib
import gc
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import zygote
from faults import FAULTS
from hypothesis import settings
from sites import Site, served

from reka_cli.sandbox.server import Received, Server

ROOT = Path(__file__).parent.parent
CAT = ROOT / "docs/images/cat.jpeg"
COOKIE_VALUE = "canary-session-7f3a9c"

# scripts/check --all installs newer ones too
needs_limited_typer = pytest.mark.skipif(
    not version("typer").startswith("0.28."),
    reason="newer releases import pydantic and report errors in its words",
)

# properties are tried with few examples where slow tests are left out
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.register_profile("quick", max_examples=40, deadline=None)

Run = Callable[..., "Result"]


def pytest_configure(config: pytest.Config) -> None:
    """Choose the number of examples; stop ignoring signals, which what the tests start would ignore too.

    Processes that nohup or a shell starts in the background ignore some.
    """
    settings.load_profile("quick" if "not slow" in config.option.markexpr else "thorough")
    for number, action in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going over modules and tests again and again: they stay to the end."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Result:
    """What a process left behind."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass
class Service:
    """A running sandbox and what came in."""

    server: Server
    received: list[Received]
    arrived: threading.Event  # something came in

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def paths(self) -> list[str]:
        return [one.path for one in self.received]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def clean_env(home: Path) -> dict[str, str]:
    """The environment of a user without any setting of ours, and without a proxy."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("REKA_") and not k.lower().endswith("_proxy")
    }
    return kept | {"REKA_HOME": str(home), "HOME": str(home)}


def _runner(
    run_command: Callable[..., subprocess.CompletedProcess[bytes]], clean_env: dict[str, str]
) -> Run:
    def run(
        *arguments: str,
        env: dict[str, str] | None = None,
        stdin: bytes | int = subprocess.DEVNULL,
        cwd: Path = ROOT,
    ) -> Result:
        given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        ended = run_command(
            [sys.executable, "-m", "reka_cli", *arguments],
            env=clean_env | (env or {}),
            capture_output=True,
            timeout=60,
            cwd=cwd,
            check=False,
            **given,
        )
        return Result(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


@pytest.fixture
def run(clean_env: dict[str, str]) -> Run:
    """Run `reka-cli` with the given arguments to its end, in a process that is forked ready to run."""
    return _runner(zygote.run, clean_env)


@pytest.fixture
def run_process(clean_env: dict[str, str]) -> Run:
    """Run it in a process that starts from nothing, for what only a start shows."""
    return _runner(subprocess.run, clean_env)


@pytest.fixture
def service() -> Iterator[Service]:
    received: list[Received] = []
    arrived = threading.Event()

    def take(request: Received) -> None:
        received.append(request)
        arrived.set()

    with Server(on_request=take, faults=FAULTS) as server:
        yield Service(server, received, arrived)


@pytest.fixture
def serve_stream() -> Iterator[Callable[..., str]]:
    """Serve one body to every request, and give the origin."""
    with contextlib.ExitStack() as stack:

        def serve(body: bytes, media_type: str = "text/event-stream") -> str:
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(200)
                    self.send_header("Content-Type", media_type)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        self.wfile.write(body)

                def log_message(self, *_: object) -> None:
                    pass

            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield serve


@pytest.fixture
def site() -> Iterator[Site]:
    with served() as site:
        yield site


@pytest.fixture
def cookies_file(tmp_path: Path) -> Path:
    return write_cookies(tmp_path / "cookies.txt", {"appSession": COOKIE_VALUE})


@pytest.fixture
def web_env(service: Service, cookies_file: Path) -> dict[str, str]:
    """The environment of a user whose web session is at the sandbox."""
    return {"REKA_WEB_BASE": service.url, "REKA_COOKIES": str(cookies_file), "REKA_PROVIDER": "web"}


def write_cookies(path: Path, cookies: dict[str, str], host: str = "space.reka.ai") -> Path:
    lines = [
        f"#HttpOnly_{host}\tFALSE\t/\tTRUE\t0\t{name}\t{value}\n" for name, value in cookies.items()
    ]
    path.write_text("# Netscape HTTP Cookie File\n" + "".join(lines))
    return path
