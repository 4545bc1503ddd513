"""`-o FILE`: a file that appears whole, or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service

from reka_cli.terminal.output import output_path

SANDBOX = {"REKA_PROVIDER": "sandbox"}
TOLD = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see.\n\nYour question was: hello\n"


def test_the_answer_goes_into_the_file_and_nowhere_else(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    result = run("ask", "hello", "-o", str(path), env=SANDBOX)

    assert result == Result(0, "", "")
    assert path.read_text() == TOLD
    assert list(tmp_path.glob("[.a]*")) == [path]


def test_the_name_can_hold_date_time_and_the_name_of_the_image(run: Run, tmp_path: Path) -> None:
    result = run(
        "ask",
        "What?",
        str(CAT),
        "-v",
        "-o",
        str(tmp_path / "{name} {stem} {date} {time} {{x}}.txt"),
        env=SANDBOX,
    )
    (path,) = tmp_path.glob("*.txt")

    assert re.fullmatch(r"cat.jpeg cat \d{4}-\d\d-\d\d \d\d-\d\d-\d\d \{x\}\.txt", path.name)
    assert result.stderr.startswith(f"the answer is in {path}\n")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (None, "answer answer"),
        ("a/b.jpg", "b.jpg b"),
        ("..", "answer answer"),
        (".hidden.jpg", "hidden.jpg hidden"),
        ("{date}.jpg", "{date}.jpg {date}"),
    ],
)
def test_the_name_of_an_image_leads_to_no_other_folder(image: str | None, name: str) -> None:
    assert output_path("out/{name} {stem}", image) == Path(f"out/{name}")


def test_images_that_differ_in_suffix_or_page_get_different_files() -> None:
    images = ["a.jpg", "a.png", "a.pdf#page=1", "a.pdf#page=2"]

    assert [output_path("{name}", image).name for image in images] == images
    assert output_path("{stem}", images[3]).name == "a#page=2"


def test_an_unknown_field_is_reported_before_anything_is_read(
    run: Run, service: Service, web_env: dict[str, str]
) -> None:
    result = run("ask", "-o", "{nmae}.txt", "What?", "missing.jpg", env=web_env)

    assert result == Result(
        2,
        "",
        "error: -o has no field '{nmae}'\n"
        "hint: use {date}, {time}, {name}, {stem}; {{ and }} are literal braces\n",
    )
    assert service.received == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(
    clean_env: dict[str, str], run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = str(folder / "a.txt")
    command = [sys.executable, "-m", "reka_cli", "ask", "-n", "hello"]
    stall = [*command, "-m", "sandbox-stall", "-o", path]
    with zygote.Popen(stall, env=clean_env | SANDBOX, cwd=ROOT, stdout=-1, stderr=-1) as process:
        wait_for_content(process, folder)
        process.kill()
        process.communicate(timeout=30)
    left = [one.name for one in folder.iterdir()]
    result = run("ask", "hello", "-o", path, env=SANDBOX)

    assert (left, result) == ([".a.txt.reka-cli"], Result(0, "", ""))
    assert [one.name for one in folder.iterdir()] == ["a.txt"]


def test_a_file_that_another_process_is_writing_is_left_to_it(
    clean_env: dict[str, str], run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = str(folder / "a.txt")
    command = [sys.executable, "-m", "reka_cli", "ask", "-n", "hello"]
    stall = [*command, "-m", "sandbox-stall", "-o", path]
    with zygote.Popen(stall, env=clean_env | SANDBOX, cwd=ROOT, stdout=-1, stderr=-1) as process:
        wait_for_content(process, folder)
        result = run("ask", "hello", "-o", path, env=SANDBOX)
        names = sorted(one.name for one in folder.iterdir())
        process.terminate()
        process.communicate(timeout=30)

    assert (result, names) == (Result(0, "", ""), [".a.txt.reka-cli", "a.txt"])
    assert [one.name for one in folder.iterdir()] == ["a.txt"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


# mounts a file over itself, as containers do, then runs the command given after the two paths
MOUNTED = 'mount --bind "$0" "$0" && chmod "$1" "$(dirname "$0")" && shift && exec "$@"'


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs rights"
)
@pytest.mark.parametrize("name", ["a.txt", "a b\\.txt"])
@pytest.mark.parametrize(
    ("model", "code", "content"),
    [("sandbox", 0, TOLD), ("sandbox-cut", 10, "the old one" * 100)],
)
def test_a_mounted_file_is_written_in_place(
    clean_env: dict[str, str], tmp_path: Path, name: str, model: str, code: int, content: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / name
    path.write_text("the old one" * 100)
    command = [sys.executable, "-m", "reka_cli", "ask", "hello", "--retries", "0", "-m", model]
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting needs rights")
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNTED, path, "555", *command, "-o", path],
        env=clean_env | SANDBOX,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    folder.chmod(0o755)

    assert (ended.returncode, path.read_text()) == (code, content)
    assert [one.name for one in folder.iterdir()] == [name]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs another user")
def test_a_file_of_another_user_in_a_sticky_folder_is_written_in_place(
    clean_env: dict[str, str], open_folder: Path
) -> None:
    open_folder.chmod(0o1777)
    path = open_folder / "a.txt"
    path.write_text("the old one")
    path.chmod(0o666)
    command = [  # with the right to read Python, wherever it is
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
        *(sys.executable, "-m", "reka_cli", "ask", "hello", "-o", str(path)),
    ]
    ended = subprocess.run(
        command, env=clean_env | SANDBOX, cwd=ROOT, capture_output=True, check=False
    )

    assert (ended.returncode, path.read_text(), path.owner()) == (0, TOLD, "root")


@pytest.mark.parametrize("model", ["sandbox-length", "sandbox-cut", "sandbox-500", "sandbox-empty"])
def test_what_is_not_whole_leaves_the_old_file_as_it_was(
    run: Run, tmp_path: Path, model: str
) -> None:
    path = tmp_path / "answer.txt"
    path.write_text("the old one")
    result = run("ask", "hello", "-m", model, "--retries", "0", "-o", str(path), env=SANDBOX)

    assert result.exit_code in (7, 10)
    assert result.stdout == ""
    assert path.read_text() == "the old one"
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["answer.txt"]


def test_what_is_accepted_is_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    result = run(
        "ask",
        "hello",
        "-q",
        "-m",
        "sandbox-length",
        "--allow-partial",
        "-o",
        str(path),
        env=SANDBOX,
    )

    assert (result, path.read_text()) == (
        Result(0, "", ""),
        "This is the sandbox of reka-cli: a stand-in for Reka,\n",
    )


def wait_for_content(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until a running process has written to a file of the folder."""
    while not any(file.stat().st_size for file in folder.iterdir()):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.005)


@pytest.mark.parametrize("again", [False, True])  # a terminal that is closed sends SIGHUP twice
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    clean_env: dict[str, str], tmp_path: Path, number: signal.Signals, again: bool
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "reka_cli",
        "ask",
        "hello",
        "-m",
        "sandbox-stall",
        "-o",
        str(folder / "a.txt"),
    ]
    with zygote.Popen(command, env=clean_env | SANDBOX, cwd=ROOT, stdout=-1, stderr=-1) as process:
        wait_for_content(process, folder)
        process.send_signal(number)
        while again and process.poll() is None:
            process.send_signal(number)
        process.communicate(timeout=30)

    assert (process.returncode, list(folder.iterdir())) == (-number, [])


STUCK = """\
import time
from reka_cli.cli import entry
from reka_cli.render.text import _Text

_Text.end = lambda _: time.sleep(60)
entry()
"""


def test_what_takes_too_long_to_unwind_leaves_nothing_behind_either(
    clean_env: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    command = [
        sys.executable,
        "-c",
        STUCK,
        "ask",
        "hello",
        "-n",
        "-m",
        "sandbox-stall",
        "-o",
        str(folder / "a.txt"),
    ]
    with zygote.Popen(command, env=clean_env | SANDBOX, cwd=ROOT, stdout=-1, stderr=-1) as process:
        wait_for_content(process, folder)
        process.terminate()
        process.communicate(timeout=30)

    assert (process.returncode, list(folder.iterdir())) == (-signal.SIGTERM, [])


def test_permissions_and_links_stay(run: Run, tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    result = run("ask", "hello", "-o", str(link), env=SANDBOX)

    assert result == Result(0, "", "")
    assert (real.read_text(), stat.S_IMODE(real.stat().st_mode), link.is_symlink()) == (
        TOLD,
        0o640,
        True,
    )


def test_a_new_file_has_the_permissions_of_any_other(run: Run, tmp_path: Path) -> None:
    path, other = tmp_path / "answer.txt", tmp_path / "other.txt"
    other.touch()
    run("ask", "hello", "-o", str(path), env=SANDBOX)

    assert path.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize(
    ("where", "reason"),
    [("missing/a.txt", "no such folder"), ("file/a.txt", "no such folder"), ("", "is a directory")],
)
def test_a_place_that_cannot_be_written_is_told_before_the_question(
    run: Run, tmp_path: Path, where: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / where
    result = run("ask", "hello", "-m", "sandbox-500", "-o", str(path), env=SANDBOX)

    assert result == Result(5, "", f"error: cannot write {path}: {reason}\n")


def test_a_folder_is_not_taken_for_a_file(run: Run, tmp_path: Path) -> None:
    folder = f"{tmp_path}/answers/"
    result = run("ask", "hello", "-m", "sandbox-500", "-o", folder, env=SANDBOX)

    assert result == Result(5, "", f"error: cannot write {folder!r}: not the name of a file\n")
    assert not Path(folder).exists()


def test_an_empty_name_is_not_taken_for_the_folder(run: Run) -> None:
    result = run("ask", "hello", "-m", "sandbox-500", "-o", "", env=SANDBOX)

    assert result == Result(5, "", "error: cannot write '': not the name of a file\n")


def test_a_full_disk_is_told(run: Run) -> None:
    result = run("ask", "hello", "-o", "/dev/full", env=SANDBOX)

    assert result == Result(10, "", "error: cannot write the answer: no space left on device\n")


def test_a_device_is_written_as_it_is(run: Run) -> None:
    assert run("ask", "hello", "-o", "/dev/null", env=SANDBOX) == Result(0, "", "")
    assert run("ask", "hello", "-o", "/dev/stdout", env=SANDBOX) == Result(0, TOLD, "")


APPENDED = "yesterday's answer\n{}what the script says after it\n"


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/dev/stdout", "stdout"),
        ("/dev/fd/1", "stdout"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/thread-self/fd/1", "stdout"),
        ("LINK", "stdout"),
        ("FOLDER/1", "stdout"),
        ("/dev/fd/NUMBER", "another"),
        ("/proc/self/fd/NUMBER", "another"),
        ("/dev/stderr", "stderr"),
    ],
)
def test_what_is_open_already_is_written_to_as_it_is(
    clean_env: dict[str, str], tmp_path: Path, path: str, stream: str
) -> None:
    log, link, folder = tmp_path / "log", tmp_path / "link", tmp_path / "folder"
    link.symlink_to("second")
    (tmp_path / "second").symlink_to("/dev/stdout")
    folder.symlink_to("/dev/fd")
    log.write_text("yesterday's answer\n")
    with log.open("ab") as open_log:
        number = open_log.fileno()
        for word, value in {"LINK": link, "FOLDER": folder, "NUMBER": number}.items():
            path = path.replace(word, str(value))
        command = [sys.executable, "-m", "reka_cli", "ask", "-n", "hello", "-o", path]
        streams = {"stdout": -1, "stderr": -1} | {stream: number}
        more = {"pass_fds": [streams.pop("another")]} if stream == "another" else {}
        ended = zygote.run(command, env=clean_env | SANDBOX, cwd=ROOT, **streams, **more)
        os.write(number, b"what the script says after it\n")

    assert (ended.returncode, ended.stdout or b"", ended.stderr or b"") == (0, b"", b"")
    assert log.read_text() == APPENDED.format(TOLD)


def test_with_the_path_of_standard_output_all_is_as_without_one(run: Run) -> None:
    options = ("ask", "hello", "-v", "-f", "json", "-m", "sandbox-length")
    with_path, without = run(*options, "-o", "/dev/stdout", env=SANDBOX), run(*options, env=SANDBOX)

    assert (
        (with_path.exit_code, with_path.stdout) == (without.exit_code, without.stdout) == (10, "")
    )
    assert "the answer is in" not in with_path.stderr


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/fd/3", "bad file descriptor"),
        ("/dev/fd/9", "bad file descriptor"),
        ("/proc/self/fd/NUMBER", "not open for writing"),
        ("/dev/fd/999999999999", "no such folder"),
    ],
)
def test_a_descriptor_that_cannot_be_written_is_told_before_the_question(
    clean_env: dict[str, str], service: Service, web_env: dict[str, str], path: str, reason: str
) -> None:
    with CAT.open("rb") as for_reading:
        number = for_reading.fileno()
        path = path.replace("NUMBER", str(number))
        command = [sys.executable, "-m", "reka_cli", "ask", "-n", "hello", "-o", path]
        more = {"pass_fds": [number]} if path.endswith(f"/{number}") else {}
        ended = zygote.run(
            command, env=clean_env | web_env, cwd=ROOT, capture_output=True, text=True, **more
        )

    assert (ended.returncode, ended.stderr) == (5, f"error: cannot write {path}: {reason}\n")
    assert service.received == []


def test_standard_output_that_is_closed_is_told_before_the_question(
    clean_env: dict[str, str], service: Service, web_env: dict[str, str]
) -> None:
    command = f"exec {sys.executable} -m reka_cli ask hello -o /dev/stdout >&-"
    ended = subprocess.run(
        ["bash", "-c", command],
        env=clean_env | web_env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    told = "error: standard output is closed: there is nowhere to put the answer\n"
    assert (ended.returncode, ended.stderr, service.received) == (2, told, [])


def test_a_pipe_that_nobody_reads_is_given_up_at_the_deadline(
    run: Run, service: Service, web_env: dict[str, str], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = run("ask", "hello", "-o", str(pipe), "--timeout", "0.5", env=web_env)

    assert result == Result(8, "", f"error: no program read from {pipe} within 0.5 s\n")
    assert service.received == []


def test_a_pipe_that_is_read_gets_the_answer(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        result = run("ask", "hello", "-o", str(pipe), env=SANDBOX)
        told, _ = reader.communicate(timeout=30)

    assert (result, told.decode()) == (Result(0, "", ""), TOLD)


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everything"
)
@pytest.mark.parametrize(("what", "mode"), [("a.txt", 0o444), ("", 0o555)])
def test_what_is_write_protected_is_told_before_the_question_and_kept(
    clean_env: dict[str, str],
    service: Service,
    web_env: dict[str, str],
    tmp_path: Path,
    what: str,
    mode: int,
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "a.txt"
    path.write_text("the old one")
    (folder / what).chmod(mode)
    unprivileged = (
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    )
    command = [*unprivileged, sys.executable, "-m", "reka_cli", "ask", "hello", "-o", str(path)]
    ended = subprocess.run(
        command, env=clean_env | web_env, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (
        5,
        f"error: cannot write {path}: permission denied\n",
    )
    assert (service.received, path.read_text()) == ([], "the old one")
    assert [one.name for one in folder.iterdir()] == ["a.txt"]
    folder.chmod(0o755)


def test_the_name_may_be_as_long_as_a_name_can_be(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ("猫" * 85)

    assert run("ask", "hello", "-o", str(path), env=SANDBOX) == Result(0, "", "")
    assert path.read_text() == TOLD


def test_control_characters_of_a_name_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    result = run(
        "ask", "hello", "-f", "json", "-o", f"{tmp_path}/no\x1b[2J/a\u202e.txt", env=SANDBOX
    )

    message = json.loads(result.stderr)["error"]["message"]
    assert message == f"cannot write {tmp_path}/no/a<U+202E>.txt: no such folder"


def test_a_dash_is_standard_output(run: Run) -> None:
    assert run("ask", "hello", "-o", "-", env=SANDBOX) == Result(0, TOLD, "")


def test_events_go_into_the_file_too(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    result = run("ask", "hello", "-f", "jsonl", "-o", str(path), env=SANDBOX)

    assert result == Result(0, "", "")
    assert (
        path.read_text().splitlines()[0]
        == '{"type": "start", "provider": "sandbox", "model": "sandbox"}'
    )


def test_a_disk_that_is_full_in_the_middle_leaves_the_old_file_as_it_was(
    clean_env: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "answer.txt"
    path.write_text("the old one")
    command = f"ulimit -f 0; exec {sys.executable} -m reka_cli ask hello -o {path}"
    env = {
        name: value for name, value in clean_env.items() if not name.startswith("COVERAGE")
    }  # which writes too
    ended = subprocess.run(
        ["bash", "-c", command], env=env | SANDBOX, cwd=ROOT, capture_output=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (
        10,
        b"error: cannot write the answer: file too large\n",
    )
    assert path.read_text() == "the old one"
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["answer.txt"]
