"""Run reka-cli with the arguments, as close to Windows as a process on Linux gets.

Before reka_cli is imported, what only POSIX has is taken away, a `msvcrt` that locks is put in its
place, and `sys.platform` becomes "win32". What stays because Python itself and the packages need it:

- `os.name`, which is "posix": pathlib makes no Windows paths on Linux;
- `posix` and `_posixsubprocess`, which `os` and `subprocess` are made of;
- `select.poll`, which `selectors` and urllib3 chose when they were imported.

The packages are imported first, since they choose by `sys.platform` when they are imported.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import socket
import sys
import types
from collections.abc import Callable
from typing import NoReturn

_MODULES = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
_ATTRIBUTES = {
    os: """
        O_NOCTTY O_NOFOLLOW O_NONBLOCK chown fchmod fchown fork forkpty getegid geteuid getgid getgroups
        getpgid getpgrp getpriority getsid getuid initgroups killpg lchown mkfifo nice openpty
        posix_spawn posix_spawnp pread pwrite register_at_fork set_blocking setegid seteuid setgid setpgid
        setsid setuid statvfs sysconf tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4
    """,
    signal: """
        ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1
        SIGUSR2 SIGWINCH alarm getitimer pause pthread_kill pthread_sigmask setitimer sigpending sigtimedwait
        sigwait
    """,
    socket: "AF_UNIX",
}
_PRELOADED = """
    concurrent.futures.thread getpass http.server jsonschema_rs logging markdown_it multiprocessing
    PIL.Image PIL.ImageFile pathlib platformdirs platformdirs.unix pygments.lexers random requests
    rich.console rich.syntax shutil socketserver subprocess tempfile typer urllib3 uuid zoneinfo
"""


def main() -> NoReturn:
    """Take away what only POSIX has and run the command."""
    flock, exclusive, unlock = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
    for name in _PRELOADED.split():
        importlib.import_module(name)
    sys.modules.update(dict.fromkeys(_MODULES))  # to import them raises ImportError
    for module, names in _ATTRIBUTES.items():
        for name in names.split():
            vars(module).pop(name, None)
    sys.modules["msvcrt"] = _msvcrt(flock, exclusive, unlock)
    sys.platform = "win32"

    from reka_cli.__main__ import main

    main()
    sys.exit()


def _msvcrt(flock: Callable[[int, int], None], exclusive: int, unlock: int) -> types.ModuleType:
    """Return what reka-cli uses of the module that locks files on Windows."""

    def locking(descriptor: int, mode: int, size: int) -> None:
        assert size == 1
        try:
            flock(descriptor, {module.LK_NBLCK: exclusive, module.LK_UNLCK: unlock}[mode])
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    module = types.ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_NBLCK, module.locking = 0, 2, locking
    return module


if __name__ == "__main__":
    main()
