"""Processes of `reka-cli` that need not import it first: forked from one that has imported everything.

`Popen` takes the commands that `subprocess.Popen` takes if they run `reka-cli` or Python code with this interpreter, and
behaves like it. The child gets what a fresh process has: arguments, environment, working directory, umask, signal
handlers and mask, standard streams, time zone, garbage collector, seeds of `random`, and no thread but its main one. With
`-c` the modules of `reka_cli` are imported anew, so that the code can change what they import. At its end it waits for its
threads, calls what is registered with `atexit` and flushes its streams. The zygote ends with the process that uses it.

What only a start shows needs `subprocess.Popen`: closed streams, signals during the imports, what is in `sys.modules`,
memory, files that `PYTHONPATH` leads to. Variables that the interpreter reads at its start lead there by themselves, and
so does COVERAGE_…: a process that is to be measured is a real one.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import inspect
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

LONGEST_S = 120.0  # that a process may take to be made
MOST_DESCRIPTORS = 8  # that a process may get
ABOVE = 1000  # a descriptor that no process gets
_COVERAGE = "COVERAGE_"
IMPORTED_WHEN_NEEDED = (
    "encodings.utf_8_sig",
    "jsonschema_rs",
    "PIL.Image",
    "requests",
    "rich.console",
    "rich.markdown",
    "rich.table",
    "rich.text",
    "typer.core",
    "typer._click.decorators",
)
_signature = inspect.signature(subprocess.Popen._execute_child)


class _Forked(subprocess.Popen):
    """A process that the zygote has forked."""

    def _execute_child(self, *args: Any, **kwargs: Any) -> None:
        asked = _signature.bind(self, *args, **kwargs).arguments
        program, *rest = asked["args"][1:]
        head = {
            "program": program,
            "arguments": rest,
            "env": dict(os.environ if asked["env"] is None else asked["env"]),
            "cwd": os.fspath(asked["cwd"] or Path.cwd()),
            "umask": _umask(),
            "new_session": asked["start_new_session"],
        }
        given = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        streams = [default if one == -1 else one for default, one in enumerate(given)]
        more = sorted(asked["pass_fds"])
        head["numbers"] = [0, 1, 2, *more]
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(LONGEST_S)
        self._control.connect(_address())
        data = json.dumps(head).encode()
        socket.send_fds(self._control, [b"%8d" % len(data)], streams + more)
        self._control.sendall(data)
        self.pid = int(_received(self._control, 8))
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[pipe] for pipe in pipes))

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        return self._ended_within(0)

    def _wait(self, timeout: float | None) -> int:
        if self._ended_within(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _ended_within(self, timeout: float | None) -> int | None:
        with self._waitpid_lock:
            if self.returncode is None and select.select([self._control], [], [], timeout)[0]:
                self._control.settimeout(None)
                self.returncode = os.waitstatus_to_exitcode(int(_received(self._control, 8)))
                self._control.close()
            return self.returncode


def Popen(command: list[str], **options: Any) -> subprocess.Popen[Any]:  # noqa: N802 - as what it stands for
    """Start `sys.executable` with `-m reka_cli …` or `-c code …`."""
    assert command[0] == sys.executable
    assert command[1] == "-c" or command[1:3] == ["-m", "reka_cli"]
    env = options.get("env") or os.environ
    needs_a_start = (
        "preexec_fn" in options
        or any(name.startswith(_COVERAGE) for name in env)
        or _read_at_the_start(env) != _read_at_the_start(os.environ)
    )
    return (subprocess.Popen if needs_a_start else _Forked)(command, **options)


def run(
    command: list[str], *, timeout: float = 60, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Do what `subprocess.run` does."""
    given = options.pop("input", None)
    if given is not None:
        options["stdin"] = subprocess.PIPE
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(given, timeout)
        except BaseException:
            process.kill()
            raise
    ended = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        ended.check_returncode()
    return ended


def _read_at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    prefixes = ("PYTHON", "LC_", "LANG", "LD_")
    return {name: value for name, value in env.items() if name.startswith(prefixes)}


def _umask() -> int:
    before = os.umask(0o077)
    os.umask(before)
    return before


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = connection.recv(size - len(data))
        if not block:
            raise EOFError("no more comes")
        data += block
    return data


@functools.cache
def _address() -> str:
    """Start the zygote of this process, and return where it listens."""
    folder = tempfile.TemporaryDirectory()
    address = f"{folder.name}/socket"
    command = [sys.executable, __file__, address]
    env = {name: value for name, value in os.environ.items() if not name.startswith(_COVERAGE)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, cwd=folder.name)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return address


# What follows runs in the zygote.


def _serve(address: str) -> dict[str, Any]:
    """Fork when asked, and tell how the children end. Return only in a child, what it is to become."""
    controls: dict[int, socket.socket] = {}  # by process
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    assert threading.active_count() == 1
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([listener, woken, 0], [], [])
        if 0 in ready:  # the other end is closed
            os._exit(0)
        if woken in ready:
            woken.recv(4096)
            _tell_ends(controls)
        if listener not in ready:
            continue
        control, _ = listener.accept()
        size, descriptors, _, _ = socket.recv_fds(control, 8, MOST_DESCRIPTORS)
        asked = json.loads(_received(control, int(size)))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for one in (listener, woken, wake, control, *controls.values()):
                one.close()
            return asked | {"descriptors": descriptors}
        controls[pid] = control
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(b"%8d" % pid)


def _tell_ends(controls: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with controls.pop(ended[0]) as control, contextlib.suppress(OSError):
                control.sendall(b"%8d" % ended[1])


def _become(asked: dict[str, Any]) -> None:
    """Put this process into the state of a fresh one, and run the program."""
    if asked["new_session"]:
        os.setsid()
    # none may stand where another one is to be
    descriptors = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, ABOVE) for one in asked["descriptors"]]
    for descriptor in asked["descriptors"]:
        os.close(descriptor)
    for number, descriptor in zip(asked["numbers"], descriptors, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _renew_streams()
    gc.unfreeze()
    gc.enable()
    if asked["program"] == "-m":
        _, *arguments = asked["arguments"]
        sys.argv = ["-m", *arguments]
        sys.path[0] = asked["cwd"]
        runpy.run_module("reka_cli", run_name="__main__", alter_sys=True)
        return
    code, *arguments = asked["arguments"]
    sys.argv = ["-c", *arguments]
    sys.path[0] = ""
    for name in [name for name in sys.modules if name.partition(".")[0] == "reka_cli"]:
        del sys.modules[name]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), main.__dict__)


def _run(program: Callable[[], None]) -> int:
    """Return the exit code, negative for a signal, and report what the interpreter reports."""
    try:
        program()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return (ended.code or 0) & 0xFF
        sys.stderr.write(f"{ended.code}\n")
        return 1
    except BaseException as error:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _end(code: int) -> NoReturn:
    """End as the interpreter does, without taking every module to pieces: that costs ten times a fork."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            if not stream.closed:
                stream.flush()
        except OSError as error:
            code = 120
            if stream is sys.stdout:
                sys.stderr.write(
                    f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}\n"
                )
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        signal.raise_signal(-code)
    os._exit(code)


def _renew_streams() -> None:
    """Make the standard streams as the interpreter does: what it asks about the files, it asks anew."""
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        before = getattr(sys, f"__{name}__")
        is_unbuffered = mode == "w" and before.write_through  # PYTHONUNBUFFERED
        binary = open(number, mode + "b", 0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
        (binary if is_unbuffered else binary.raw).name = f"<{name}>"
        stream = io.TextIOWrapper(
            binary,
            before.encoding,
            before.errors,
            line_buffering=not is_unbuffered and (name == "stderr" or os.isatty(number)),
            write_through=is_unbuffered,
        )
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _prepare() -> None:
    """Import all that a child may need, which is what makes its start short."""
    sys.path[0] = os.fspath(Path(__file__).parent.parent)
    package = import_module("reka_cli")
    for module in pkgutil.walk_packages(package.__path__, "reka_cli."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in IMPORTED_WHEN_NEEDED:
        import_module(name)
    sys.modules["PIL.Image"].preinit()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _prepare()
    asked = _serve(sys.argv[1])
    _end(_run(lambda: _become(asked)))
