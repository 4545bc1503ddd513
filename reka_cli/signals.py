"""What SIGINT, SIGTERM and SIGHUP do: clean up, then end the process by that same signal.

A shell ends a loop on Ctrl-C only if the command in it died of SIGINT. A command that exits with code 130 instead
looks as if it had handled the signal, and bash starts the next turn.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

_PATIENCE_S = 1.0  # from a signal to the end
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_NUMBERS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]  # Windows has no SIGHUP


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived: unwind, so that sockets and files are closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    """What the handlers know. There is one for the process, as there is one handler for each signal."""

    def __init__(self) -> None:
        self.discard_files: Callable[[], None] | None = None
        self.interrupt_action: Callable[[], None] | None = None
        self.error_for_main: BaseException | None = None


_state = _State()


def install(discard_files: Callable[[], None] | None = None) -> None:
    """Handle the signals that are not ignored: nohup and background jobs of a shell stay as they are.

    A signal unwinds the main thread with KeyboardInterrupt (SIGINT) or Terminated. After a second signal, or when
    unwinding takes longer than a second, the process ends on the spot. `discard_files` removes unfinished files; it
    is called in the handler, before anything is unwound.
    """
    _state.discard_files = discard_files
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def uninstall() -> None:
    """Restore the default action of each signal that `install` handles."""
    for number in _NUMBERS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def taking_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` at the first Ctrl-C inside the block, which goes on; the next Ctrl-C unwinds as usual.

    `action` runs in the signal handler, in the middle of whatever the main thread does. It must not wait for a lock
    that the main thread may hold: setting a flag and `queue.SimpleQueue.put` are safe, `queue.Queue.put` is not.
    What the main thread waits for goes on afterwards, so `action` has to end that wait if it is to end.

    Blocks can be nested: the innermost one counts. Without `install`, and where Ctrl-C is ignored, nothing changes.

        keys = queue.SimpleQueue()
        with taking_interrupt(lambda: keys.put("stop")):
            keys.get()  # returns "stop" at the first Ctrl-C
    """
    outer = _state.interrupt_action
    _state.interrupt_action = action
    try:
        yield
    finally:
        _state.interrupt_action = outer


def raise_in_main(error: BaseException) -> None:
    """Raise `error` in the main thread, even while it waits for a socket. Call it from any other thread.

    Where the handler of SIGINT is not the one of `install`, that handler runs instead; where SIGINT is ignored or a
    signal already ends the process, nothing happens.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is _handle:
        _state.error_for_main = error
    main = threading.main_thread().ident
    if not callable(handler) or main is None:
        return
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)  # unlike interrupt_main, it also ends system calls
    else:
        _thread.interrupt_main()


def die(number: int) -> NoReturn:
    """End the process by a signal, or with exit code 128 + `number` where a signal cannot end it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # None if it was closed at start
            stream.flush()
    _die(number)


def _die(number: int) -> NoReturn:
    if os.name == "posix":
        with contextlib.suppress(ValueError):  # not the main thread: then _handle restored the default action
            signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)  # Windows, and process 1 of a container, which signals of its own cannot end


def _handle(number: int, _frame: object) -> None:
    if number == signal.SIGINT:
        error, _state.error_for_main = _state.error_for_main, None
        if error is not None:
            raise error
        action, _state.interrupt_action = _state.interrupt_action, None
        if action is not None:
            action()
            return
    if _state.discard_files:
        _state.discard_files()  # a terminal that closes sends SIGHUP twice, and the second one does not wait
    uninstall()
    _thread.start_new_thread(_give_up, (number,))  # a threading.Thread takes locks that may be held here
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def _give_up(number: int) -> NoReturn:
    """End the process if unwinding takes too long: perhaps nobody reads what is still to be written."""
    time.sleep(_PATIENCE_S)
    _die(number)
