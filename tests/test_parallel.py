"""Many processes on one home: nothing of it breaks, and each exit code is that of its own answer."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zygote
from conftest import ROOT, Result, Run, Service

pytestmark = pytest.mark.slow

TOLD = b"This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello %d\n"
CREDENTIALS = ["schema", "session", "tokens"]
HALF = b"This is the sandbox of reka-cli: a stand-in for Reka,\n"


def ask(env: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "reka_cli", "ask", "-n", "-q", *arguments]
    return zygote.Popen(command, env=env, cwd=ROOT, stdout=-1, stderr=-1)


def state_of(home: Path) -> dict[str, list[str]]:
    """The files of a home, each with the names of what it holds; fails if one is not whole."""
    files = [
        path
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", ".reka-cli"))
    ]
    return {path.name: sorted(json.loads(path.read_bytes())) for path in files}


def test_fifty_at_once_have_each_their_own_exit_code(
    clean_env: dict[str, str], web_env: dict[str, str], home: Path, service: Service
) -> None:
    models = {0: "sandbox", 5: "sandbox-400", 6: "sandbox-402", 10: "sandbox-length"}
    wanted = [list(models)[number % len(models)] for number in range(50)]
    env = clean_env | web_env
    processes = [
        ask(env, "-m", models[code], f"hello {number}") for number, code in enumerate(wanted)
    ]
    ended = [(process.communicate(timeout=120)[0], process.returncode) for process in processes]

    outputs = {0: TOLD, 5: b"", 6: b"", 10: HALF}
    assert ended == [
        (outputs[code] % number if code == 0 else outputs[code], code)
        for number, code in enumerate(wanted)
    ]
    assert state_of(home) == {"credentials.json": ["schema", "tokens"]}
    assert service.paths.count("/api/chat") == 50


def test_a_process_that_is_killed_at_any_moment_leaves_no_broken_file(
    run: Run,
    clean_env: dict[str, str],
    home: Path,
    tmp_path: Path,
    service: Service,
    cookies_file: Path,
) -> None:
    env = clean_env | {"REKA_WEB_BASE": service.url}
    output, whole = tmp_path / "answer.txt", (TOLD % 1).decode()
    assert run("login", "--cookies", str(cookies_file), env=env).exit_code == 0
    assert (
        run("ask", "-n", "-q", "hello 1", env=env).exit_code == 0
    )  # keeps a token, before anything is killed
    chance = random.Random(7)
    for _ in range(100):
        output.write_text("old")
        login = [sys.executable, "-m", "reka_cli", "login", "--cookies", str(cookies_file)]
        running = [
            zygote.Popen(login, env=env, cwd=ROOT, stdout=-1, stderr=-1),
            ask(env, "-m", "sandbox-429-once", "hello 1"),
            ask(env, "-o", str(output), "hello 1"),
        ]
        time.sleep(chance.uniform(0.1, 0.9))  # nothing is waited for: the moment is what is random
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert output.read_text() in ("old", whole)
        state = state_of(home)
        assert state.pop("credentials.json") == CREDENTIALS
        assert state in ({}, {"limits.json": [service.url]})

    assert run("ask", "-n", "-q", "hello 1", env=env) == Result(0, whole, "")
