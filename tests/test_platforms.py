"""Commands where Python has nothing of what only POSIX has; and the lock that several processes share."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service
from misbehaviors import FORMATS

from reka_cli import files
from reka_cli.files import hold_lock

WITHOUT_POSIX = ROOT / "tests/without_posix.py"
SCHEMA = '{"type": "object", "required": ["answer"]}'

Commands = list[list[str]]


def sandbox(*arguments: str) -> list[str]:
    return ["ask", "--provider", "sandbox", "-n", "hello", *arguments]


# in each, the words HOME, COOKIES stand for a path
SCENARIOS: dict[str, Commands] = {
    "version": [["--version"]],
    "help": [["--help"], ["ask", "--help"]],
    **{format_: [sandbox("-f", format_, "-i", str(CAT))] for format_ in FORMATS},
    "schema": [sandbox("--schema", SCHEMA), sandbox("--schema", SCHEMA, "-m", "sandbox-bad-json")],
    "file": [sandbox("-o", "HOME/answer.txt"), sandbox("-o", "HOME/no/answer.txt")],
    "descriptor": [sandbox("-o", "/dev/stdout"), sandbox("-o", "/dev/null")],
    "session": [
        ["status"],
        ["login", "--cookies", "COOKIES"],
        ["status"],
        ["ask", "--provider", "web", "-n", "hello"],
        ["models", "--provider", "web"],
        ["logout"],
        ["logout"],
        ["ask", "--provider", "web", "-n", "hello"],
    ],
    "models": [["models", "--provider", "sandbox"], ["models", "--provider", "sandbox", "--json"]],
    "faults": [["sandbox", "--faults"]],
    "limit": [
        ["ask", "--provider", "api", "-n", "hello", "--no-wait", "-m", "sandbox-429-later"],
        ["ask", "--provider", "api", "-n", "hello", "--no-wait", "-m", "sandbox"],
    ],
    "usage": [
        ["ask", "--nonsense"],
        sandbox("-i", "HOME/missing.png"),
        sandbox("-m", "sandbox-500"),
    ],
}
QUICK = ("text",)
EXIT_CODES = {
    "schema": [0, 10],
    "file": [0, 5],
    "session": [0, 0, 0, 0, 0, 0, 0, 3],
    "limit": [6, 6],
    "usage": [2, 5, 7],
}


@pytest.fixture
def run_without_posix(clean_env: dict[str, str]) -> Run:
    def run(*arguments: str, env: dict[str, str]) -> Result:
        command = [sys.executable, str(WITHOUT_POSIX), *arguments]
        ended = subprocess.run(
            command,
            env=clean_env | env,
            stdin=-3,
            capture_output=True,
            timeout=60,
            cwd=ROOT,
            check=False,
        )
        return Result(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


def outcome(
    run: Run, commands: Commands, home: Path, env: dict[str, str]
) -> tuple[list[Result], list[str]]:
    """Return what the commands left behind in a folder of their own, without what time changes."""
    home.mkdir(mode=0o700)
    words = {"HOME": str(home), "COOKIES": env["REKA_COOKIES"]}
    env = env | {"REKA_HOME": str(home)}
    del env["REKA_COOKIES"]
    results = [run(*(_filled(one, words) for one in command), env=env) for command in commands]
    plain = [
        Result(one.exit_code, _timeless(one.stdout, home), _timeless(one.stderr, home))
        for one in results
    ]
    return plain, sorted(path.name for path in home.rglob("*"))


def _filled(argument: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        argument = argument.replace(word, value)
    return argument


def _timeless(text: str, home: Path) -> str:
    return re.sub(r"\d+(\.\d+)?", "0", text.replace(str(home), "HOME"))


@pytest.mark.parametrize(
    "scenario",
    # each takes several processes that start from nothing
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS],
)
def test_a_command_does_the_same_without_what_only_posix_has(
    run: Run,
    run_without_posix: Run,
    service: Service,
    cookies_file: Path,
    tmp_path: Path,
    scenario: str,
) -> None:
    env = {
        "REKA_WEB_BASE": service.url,
        "REKA_API_BASE": f"{service.url}/v1",
        "REKA_COOKIES": str(cookies_file),
        "COLUMNS": "100",
    }
    commands = SCENARIOS[scenario]

    usual = outcome(run, commands, tmp_path / "usual", env)

    assert outcome(run_without_posix, commands, tmp_path / "without", env) == usual
    assert [one.exit_code for one in usual[0]] == EXIT_CODES.get(scenario, [0] * len(commands))


def test_what_only_posix_has_is_not_there() -> None:
    code = (
        "import os, signal, socket, sys; sys.argv = ['reka-cli', '--version']\n"
        "import without_posix\n"
        "try:\n    without_posix.main()\nexcept SystemExit:\n    pass\n"
        "gone = [hasattr(os, 'geteuid'), hasattr(os, 'fork'), hasattr(signal, 'SIGHUP'), hasattr(socket, 'AF_UNIX')]\n"
        "gone += [name for name in ('fcntl', 'pwd', 'termios') if sys.modules[name]]\n"
        "assert gone == [False] * 4, gone\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, timeout=60, stdout=subprocess.DEVNULL
    )


HOLDER = """
import sys
from pathlib import Path
from reka_cli.files import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let another process hold a lock."""
    with zygote.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


class TestALock:
    def test_of_a_process_that_is_stopped_is_waited_for_until_a_deadline(
        self, hold: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "_LONGEST_LOCK_S", 0.1)
        hold.send_signal(signal.SIGSTOP)

        with (
            pytest.raises(TimeoutError, match="another process holds the lock"),
            hold_lock(tmp_path / "lock"),
        ):
            pass

    def test_of_a_process_that_ends_is_free(
        self, hold: subprocess.Popen[bytes], tmp_path: Path
    ) -> None:
        hold.kill()

        with hold_lock(tmp_path / "lock"):
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600

    def test_is_no_symbolic_link(self, tmp_path: Path) -> None:
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

        with pytest.raises(OSError, match="symbolic links") as caught, hold_lock(tmp_path / "lock"):
            pass

        assert (caught.value.errno, (tmp_path / "elsewhere").exists()) == (errno.ELOOP, False)
