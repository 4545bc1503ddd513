"""A process that is forked ready to run is like one that starts from nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zygote
from conftest import Run

STATE = """
import gc, json, locale, os, signal, sys, threading, time

streams = (sys.stdin, sys.stdout, sys.stderr)
state = {
    "argv": sys.argv,
    "environment": sorted(os.environ.items()),
    "directory": os.getcwd(),
    "umask": os.umask(0),
    "session": os.getsid(0) == os.getpid(),
    "time zone": time.tzname,
    "path": [one for one in sys.path if one.startswith(("/tmp", ""))][:1],
    "main": (__name__, sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("__"))),
    "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "wakeup": signal.set_wakeup_fd(-1),
    "threads": threading.active_count(),
    "descriptors": sorted(set(os.listdir("/dev/fd")) & set("0123456789")),
    "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
    "streams": [(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.isatty(), s.newlines) for s in streams],
    "warnings": sys.warnoptions,
    "ours": sorted(name for name in sys.modules if name.startswith("reka_cli")),
}
sys.stdin.close()
sys.stderr.write(json.dumps(state))
"""
WAYS = (subprocess.run, zygote.run)


@pytest.fixture(params=["a pipe", "a terminal"])
def stdout(request: pytest.FixtureRequest) -> Iterator[int]:
    ours, theirs = pty.openpty() if request.param == "a terminal" else os.pipe()
    yield theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("new_session", [False, True])
def test_its_state_is_that_of_a_fresh_one(tmp_path: Path, stdout: int, new_session: bool) -> None:
    unwanted = ("HOME", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env = kept | {"TZ": "Asia/Tokyo", "MORE": "\udcff"}
    before = os.umask(0o027)
    try:
        states = [
            json.loads(
                run(
                    [sys.executable, "-c", STATE, "one", "two words", "\udcff"],
                    env=env,
                    cwd=tmp_path,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=subprocess.PIPE,
                    start_new_session=new_session,
                    check=True,
                ).stderr
            )
            for run in WAYS
        ]
    finally:
        os.umask(before)

    assert states[1] == states[0]
    assert (states[0]["umask"], states[0]["time zone"]) == (0o027, ["JST", "JST"])


def test_each_has_a_seed_of_its_own() -> None:
    command = [sys.executable, "-c", "import random; print(random.random())"]

    assert len({zygote.run(command, capture_output=True).stdout for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "raise SystemExit",
        "raise SystemExit(7)",
        "raise SystemExit(-1)",
        "raise SystemExit('a word')",
        "import os; os._exit(9)",
        "import os; os.kill(os.getpid(), 9)",
        "import signal; signal.signal(2, signal.SIG_DFL); signal.raise_signal(2)",
        "import atexit; atexit.register(print, 'at the end')",
        "import threading; threading.Timer(0, print, ['in a thread']).start()",
        "import sys; sys.stdout.write('not flushed')",
        "print(input())",
    ],
)
def test_it_ends_as_a_fresh_one_does(code: str) -> None:
    ended = [
        run([sys.executable, "-c", code], input=b"asked\n", capture_output=True) for run in WAYS
    ]

    assert vars(ended[1]) == vars(ended[0])


@pytest.mark.parametrize("code", ["1 / 0", "raise KeyboardInterrupt"])
def test_what_it_does_not_catch_is_told(code: str) -> None:
    ended = [run([sys.executable, "-c", code], capture_output=True) for run in WAYS]
    told = [(one.returncode, one.stderr.decode().splitlines()[-1]) for one in ended]

    assert told[1] == told[0]


def test_it_gets_the_descriptors_that_are_passed() -> None:
    code = "import os, sys; os.write(int(sys.argv[1]), b'written'); print(sorted(os.listdir('/dev/fd')))"
    seen = []
    for run in WAYS:
        read_end, write_end = os.pipe()
        command = [sys.executable, "-c", code, str(write_end)]
        ended = run(command, capture_output=True, pass_fds=[write_end])
        os.close(write_end)
        seen.append((ended.returncode, ended.stdout.count(b"'"), os.read(read_end, 100)))
        os.close(read_end)

    assert seen == [(0, 10, b"written")] * 2


def test_it_can_be_stopped_and_waited_for() -> None:
    command = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
    with zygote.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.terminate()

        assert (process.wait(), process.poll()) == (-signal.SIGTERM, -signal.SIGTERM)


def test_the_command_line_is_the_same(run: Run, run_process: Run) -> None:
    for arguments in (["--version"], ["ask", "--help"], ["ask", "--nothing"], []):
        assert run(*arguments) == run_process(*arguments)
