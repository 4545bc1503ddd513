"""One file is enough: a provider, a command, a format, an image source or a cookie format of somebody else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result
from toys import with_file

PROVIDER = """\
from reka_cli.messages import Done, Start, TextDelta
from reka_cli.providers import About, Status


class Parrot:
    name = "parrot"
    about = About("repeats the question", "nothing", "`gray`")
    default_model = "gray"

    def __init__(self, config, pool, log):
        pass

    def events(self, request, call):
        yield Start(request.model)
        yield TextDelta(request.messages[-1].text)
        yield Done("stop")

    def check(self, call):
        yield from ()

    def models(self, call, *, refresh=False):
        yield from ()
        from reka_cli.providers._models import Model
        return (Model("gray"),)

    def close(self):
        pass

    @classmethod
    def status(cls, config):
        return Status("parrot", ready=True, source="crackers")


PROVIDER = Parrot
"""
COMMAND = '''\
from reka_cli.terminal import Terminal


def wave() -> None:
    """Wave."""
    Terminal().write("hello\\n")
'''
FORMAT = """\
FOR_PROGRAMS = True


def render(answer, terminal):
    terminal.write(answer.read().upper())


def end_with(error, terminal):
    terminal.write(f"FAILED {error.code}\\n")
"""
SOURCE = f"""\
from reka_cli.images.file_content import FoundImage, OnDisk
from pathlib import Path

USAGE = ("camera", "The camera.")


def recognizes(text):
    return text == "camera"


def find(text, context):
    return [FoundImage(OnDisk.at(Path({str(CAT)!r})), "camera")]
"""
COOKIES = """\
from reka_cli.cookies.session import Cookie


def read(document):
    if document.text.startswith("my cookie is "):
        return [Cookie(document.host, "appSession", document.text.split()[-1])]


READERS = (read,)
RANK = 50
NAMES = ("words",)
"""

With = Callable[..., Result]


@pytest.fixture
def run_with(clean_env: dict[str, str], tmp_path: Path) -> With:
    """Run `reka-cli` with one more file in one of its packages."""

    def run_with(package: str, name: str, code: str, *arguments: str, **env: str) -> Result:
        folder = tmp_path / package
        folder.mkdir(exist_ok=True)
        ended = zygote.run(
            [*with_file(folder, package, name, code), *arguments],
            env=clean_env | env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Result(ended.returncode, ended.stdout, ended.stderr)

    return run_with


class TestAProvider:
    @pytest.fixture
    def run(self, run_with: With) -> With:
        return lambda *arguments, **env: run_with(
            "providers", "parrot", PROVIDER, *arguments, **env
        )

    def test_it_answers(self, run: With) -> None:
        assert run("ask", "Polly?", "--provider", "parrot") == Result(0, "Polly?\n", "")
        assert run("ask", "Polly?", REKA_PROVIDER="parrot") == Result(0, "Polly?\n", "")

    def test_its_answer_is_json_too(self, run: With) -> None:
        found = json.loads(run("ask", "Polly?", "--provider", "parrot", "-f", "json").stdout)

        assert (found["provider"], found["model"], found["text"]) == ("parrot", "gray", "Polly?")

    def test_it_is_in_the_status(self, run: With) -> None:
        assert "parrot\tready\tcrackers\n" in run("status").stdout

    def test_its_models_are_listed(self, run: With) -> None:
        assert run("models", "--provider", "parrot").stdout == "gray\t-\t-\t-\t-\t-\n"

    @pytest.mark.parametrize("command", ["ask", "models", "status"])
    def test_it_is_in_the_help(self, run: With, command: str) -> None:
        assert "auto, api, local, parrot, sandbox, web" in " ".join(
            run(command, "--help").stdout.split()
        )

    def test_it_is_in_the_hint_of_an_unknown_one(self, run: With) -> None:
        hint = "hint: --provider auto|api|local|parrot|sandbox|web\n"

        assert run("ask", "x", "--provider", "crow") == Result(
            2, "", f"error: there is no provider 'crow'\n{hint}"
        )


class TestACommand:
    @pytest.fixture
    def run(self, run_with: With) -> With:
        return lambda *arguments: run_with("commands", "wave", COMMAND, *arguments)

    def test_it_runs(self, run: With) -> None:
        assert run("wave") == Result(0, "hello\n", "")

    def test_it_has_help(self, run: With) -> None:
        assert "\n  wave              Wave.\n" in run("--help").stdout
        assert run("wave", "--help").stdout.startswith("Wave.\n\nUsage: reka-cli wave [OPTIONS]\n")


class TestAFormat:
    @pytest.fixture
    def run(self, run_with: With) -> With:
        return lambda *arguments: run_with(
            "render", "loud", FORMAT, "ask", "--provider", "sandbox", *arguments
        )

    def test_it_prints(self, run: With) -> None:
        assert run("-f", "loud", "hello").stdout.endswith("YOUR QUESTION WAS: HELLO")

    def test_it_says_what_went_wrong(self, run: With) -> None:
        failed = run("-f", "loud", "hello", "-m", "sandbox-400")

        assert (failed.exit_code, failed.stdout) == (5, "FAILED bad_input\n")
        assert json.loads(failed.stderr)["error"]["code"] == "bad_input"

    def test_it_is_in_the_help_and_the_hint(self, run: With) -> None:
        assert "auto, json, jsonl, loud, markdown, text" in " ".join(run("--help").stdout.split())
        assert run("-f", "quiet", "x").stderr.endswith(
            "hint: -f auto|json|jsonl|loud|markdown|text\n"
        )


def test_an_image_source_is_found(run_with: With) -> None:
    arguments = ("ask", "--provider", "sandbox", "What?", "camera#xywh=0,0,40,30")
    result = run_with("images.sources", "camera", SOURCE, *arguments)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "- size: 40 × 30 pixels" in result.stdout


def test_an_image_source_is_in_the_help(run_with: With) -> None:
    result = run_with("images.sources", "camera", SOURCE, "help", "images")

    assert "\n  camera              The camera.\n" in result.stdout


def test_a_cookie_format_is_read(run_with: With, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies"
    cookies.write_text("my cookie is abcdef")
    login = ("login", "--no-verify", "--cookies", str(cookies))

    assert run_with("cookies.formats", "words", COOKIES, *login).exit_code == 0
    cookies.write_text("<>")
    assert "JSON (" in (hint := run_with("cookies.formats", "words", COOKIES, *login).stderr)
    assert (
        "HAR, Netscape cookies.txt, curl (bash, cmd), PowerShell, fetch (Node.js), words, request headers"
        in hint
    )
