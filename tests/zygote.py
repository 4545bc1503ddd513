"""Processes of `reka-cli` that need not import it first: forked from one that has, for tables with many rows.

What they are asked, write and end with is as in a process of their own; only what happens while it starts is not seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import NoReturn

LONGEST_S = 120.0  # that a process may take before it counts as one that hangs


class Zygote:
    """A process that waits at a socket to be forked."""

    def __init__(self, address: str) -> None:
        self._address = address

    def run(self, arguments: list[str], env: Mapping[str, str], cwd: Path) -> tuple[int, str, str]:
        """Give exit code, stdout and stderr; the code of a signal is negative, as with subprocess."""
        with contextlib.ExitStack() as stack:
            out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            null = stack.enter_context(Path(os.devnull).open("rb"))
            control = stack.enter_context(socket.socket(socket.AF_UNIX))
            control.settimeout(LONGEST_S)
            control.connect(self._address)
            asked = json.dumps({"arguments": arguments, "env": dict(env), "cwd": str(cwd)}).encode()
            socket.send_fds(control, [b"%8d" % len(asked)], [null.fileno(), out.fileno(), err.fileno()])
            control.sendall(asked)
            pid = int(control.recv(8))
            try:
                status = int(control.recv(8))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
            for file in (out, err):
                file.seek(0)
            return os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode()


@contextlib.contextmanager
def started() -> Iterator[Zygote]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        with subprocess.Popen([sys.executable, __file__, address], env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            try:
                yield Zygote(address)
            finally:
                process.kill()


def _serve(address: str) -> NoReturn:
    package = import_module("reka_cli")
    for module in pkgutil.walk_packages(package.__path__, "reka_cli."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        os.write(1, b"ready\n")
        while True:
            control, _ = listener.accept()
            with control:
                if os.fork() == 0:
                    listener.close()
                    _attend(control)


def _attend(control: socket.socket) -> NoReturn:
    """Fork once more, and tell how that process ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, descriptors, _, _ = socket.recv_fds(control, 8, 3)
    data = b""
    while len(data) < int(size):
        data += control.recv(65_536)
    pid = os.fork()
    if pid == 0:
        control.close()
        _become(json.loads(data), descriptors)
    control.sendall(b"%8d" % pid)
    control.sendall(b"%8d" % os.waitpid(pid, 0)[1])
    os._exit(0)


def _become(asked: dict[str, object], descriptors: list[int]) -> NoReturn:
    from reka_cli.cli import entry

    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["reka-cli", *asked["arguments"]]
    code = 70
    try:
        entry()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
