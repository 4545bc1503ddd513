"""What only a process that starts from nothing shows: its imports, closed streams, signals at its start, its last breath."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Result, Run, needs_limited_typer
from test_ask import told
from test_ask_images import PIPED, QUESTION

SANDBOX = {"REKA_PROVIDER": "sandbox"}

Python = Callable[[str], Any]


@pytest.fixture
def python(clean_env: dict[str, str]) -> Python:
    """Run code in a process of its own and give the JSON that it leaves in `told`."""

    def python(code: str) -> Any:
        script = f"import json, sys\n{code}\nprint(json.dumps(told), file=sys.stderr)"
        env = {name: value for name, value in clean_env.items() if not name.startswith("COVERAGE")}
        command = [sys.executable, "-c", script]
        ended = subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return json.loads(ended.stderr.splitlines()[-1])

    return python


@pytest.fixture
def modules_after(clean_env: dict[str, str]) -> Callable[[str], set[str]]:
    """The modules a piece of code leaves imported in a process of its own."""

    def modules_after(code: str) -> set[str]:
        script = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
        env = {name: value for name, value in clean_env.items() if not name.startswith("COVERAGE")}
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(ended.stderr.split())

    return modules_after


@contextmanager
def running(
    env: dict[str, str], *arguments: str, **popen: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A `reka-cli` that is not waited for."""
    command = [sys.executable, "-m", "reka_cli", *arguments]
    streams = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    } | popen
    with subprocess.Popen(command, env=env | SANDBOX, cwd=ROOT, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_version_is_told_without_typer_or_anything_else(python: Python) -> None:
    told = python(
        "before = set(sys.modules)\n"
        "sys.argv = ['reka-cli', '--version']\n"
        "from reka_cli.__main__ import main\n"
        "main()\n"
        "told = sorted(set(sys.modules) - before)"
    )

    assert told == ["__future__", "gc", "reka_cli", "reka_cli.__main__"]


def test_nothing_that_is_imported_is_searched_for_garbage(python: Python) -> None:
    told = python(
        "import gc\n"
        "from reka_cli.__main__ import main\n"
        "collections = lambda: sum(one['collections'] for one in gc.get_stats())\n"
        "gc.collect()\n"
        "before = collections()\n"
        "sys.argv = ['reka-cli', 'ask', 'hello', '--provider', 'sandbox', '-n']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    told = [collections() - before, gc.get_freeze_count() > 10_000]\n"
    )

    assert told == [0, True]


def test_to_import_the_package_imports_nothing_else_of_it(
    modules_after: Callable[[str], set[str]],
) -> None:
    assert {name for name in modules_after("import reka_cli") if name.startswith("reka_cli")} == {
        "reka_cli"
    }


@needs_limited_typer
def test_a_piped_question_imports_nothing_it_does_not_need(
    modules_after: Callable[[str], set[str]],
) -> None:
    code = "from reka_cli.cli import main\nmain(['ask', 'hello', '--provider', 'sandbox', '-n'])"
    imported = modules_after(code)

    heavy = {
        "rich",
        "rich.console",
        "pydantic",
        "PIL.Image",
        "browser_cookie3",
        "sqlite3",
        "keyring",
        "click",
        "jsonschema_rs",
        "reka_cli.help",
        "reka_cli.images.pipeline",
    }
    assert imported & heavy == set()
    assert "requests" in imported


def test_a_schema_imports_what_validates_it(modules_after: Callable[[str], set[str]]) -> None:
    code = "from reka_cli.cli import main\nmain(['ask', 'hello', '--provider', 'sandbox', '-n', '--schema', '{}'])"

    assert modules_after(code) & {"jsonschema", "jsonschema_rs", "attrs"} == {"jsonschema_rs"}


def test_usage_errors_come_before_the_network_is_imported(
    modules_after: Callable[[str], set[str]],
) -> None:
    code = "from reka_cli.cli import main\nmain(['ask', '-n'])\nmain(['--version'])\nmain(['ask', '--help'])"

    assert (
        modules_after(code) & {"requests", "urllib3", "ssl", "rich.console", "PIL.Image"} == set()
    )


def test_the_example_runs_as_it_stands(clean_env: dict[str, str], web_env: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "docs/examples/image_chat.py"],
        env=clean_env | web_env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("This is the sandbox of reka-cli")
    assert ended.stdout.endswith("Your question was: What can you see in the image ?")
    assert "- size: 451 × 300 pixels, 30985 bytes\n" in ended.stdout


def test_the_question_is_out_before_what_draws_the_answer_is_imported() -> None:
    code = """
import sys
from reka_cli.answer import Answer
from reka_cli.messages import Done, Start, TextDelta
from reka_cli.render import render
from reka_cli.terminal import Terminal

def events():
    yield Start("m")
    print([name for name in ("rich", "markdown_it", "pygments") if name in sys.modules], file=sys.stderr)
    yield TextDelta("hello")
    yield Done("stop")

render("auto", Answer(events(), "web", "m"), Terminal())
print("rich" in sys.modules, file=sys.stderr)
"""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, env=os.environ | {"TERM": "xterm"}, stdout=theirs, stderr=-1, cwd=ROOT, check=True
    )
    os.close(theirs)
    os.close(ours)

    assert ended.stderr == b"[]\nTrue\n"


def test_the_child_of_a_local_model_is_started_without_what_it_does_not_need() -> None:
    code = "import sys, reka_cli.providers.local; print({'requests', 'PIL', 'rich'} & set(sys.modules))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_standard_input_may_be_closed(clean_env: dict[str, str]) -> None:
    with running(clean_env, "ask", "hello", stdin=None, preexec_fn=lambda: os.close(0)) as process:
        stdout, stderr = process.communicate(timeout=30)

    assert Result(process.returncode, stdout.decode(), stderr.decode()) == Result(
        0, told("hello"), ""
    )


def test_a_closed_stdout_is_an_error(clean_env: dict[str, str]) -> None:
    with running(clean_env, "ask", "hello", stdout=None, preexec_fn=lambda: os.close(1)) as process:
        _, stderr = process.communicate(timeout=20)

    told = b"error: standard output is closed: there is nowhere to put the answer\n"
    assert (process.returncode, stderr) == (2, told)


def test_a_closed_stderr_changes_nothing(clean_env: dict[str, str]) -> None:
    fault = ("-m", "sandbox-length")
    with running(
        clean_env, "ask", "hello", *fault, stderr=None, preexec_fn=lambda: os.close(2)
    ) as process:
        stdout, _ = process.communicate(timeout=20)

    half = b"This is the sandbox of reka-cli: a stand-in for Reka,\n"
    assert (process.returncode, stdout) == (10, half)


@pytest.mark.parametrize(
    "module", ["reka_cli.cli", "typer", "reka_cli.client", "requests", "reka_cli.transport.sse"]
)
def test_ctrl_c_leaves_no_traceback_while_the_program_starts(
    run_process: Run, tmp_path: Path, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
    )
    result = run_process("ask", "hello", "-n", env=SANDBOX | {"PYTHONPATH": str(tmp_path)})

    assert result == Result(-signal.SIGINT, "", "")


def test_a_closed_standard_input_is_no_image(clean_env: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "reka_cli", "ask", "-i", "-", QUESTION],
        env=clean_env | SANDBOX, preexec_fn=lambda: os.close(0), capture_output=True, check=False, cwd=ROOT,
    )  # fmt: skip

    told = "error: - is standard input, which is closed\n" + PIPED
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (2, b"", told)


def test_a_folder_ends_the_interpreter_before_we_are_asked(run_process: Run) -> None:
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        result = run_process("ask", "-n", "hello", env=SANDBOX, stdin=descriptor)
    finally:
        os.close(descriptor)

    assert (
        result.exit_code,
        result.stdout,
        "<stdin> is a directory, cannot continue" in result.stderr,
    ) == (
        1,
        "",
        True,
    )


@pytest.mark.parametrize(
    "left",
    [
        "iterator",
        "client",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("answer", "begun")),
    ],
)
@pytest.mark.parametrize("provider", ["sandbox"])
def test_a_program_that_leaves_an_answer_open_ends(
    clean_env: dict[str, str], provider: str, left: str
) -> None:
    code = f"""
from reka_cli import Client
client = Client({provider!r})
answer = client.ask("hello", model="sandbox-stall")
if {left!r} != "client":
    events = iter(answer)
    next(events), next(events)
if {left!r} in ("answer", "client"):
    del client
if {left!r} == "iterator":
    del answer
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean_env,
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, b"")
