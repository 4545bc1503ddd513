"""The way in: `reka-cli`, and `python -m reka_cli`."""

from __future__ import annotations

import gc
import os
import sys

_ALLOCATIONS = (
    100_000  # between two searches for garbage; all imports of a question together are fewer
)


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] in (["--version"], ["-V"]) and _tell_version():
        return
    _occupy_closed_streams()
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # while the command line is imported there is nothing to unwind: Ctrl-C just ends it, without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(
        _ALLOCATIONS
    )  # what is imported is no garbage, and would be searched again and again
    from reka_cli.cli import entry

    try:
        entry()
    finally:
        gc.freeze()  # nor is it searched on the way out


def _tell_version() -> bool:
    """Write the version without what a command needs; False if that fails, for the command line to say why."""
    from reka_cli import __version__

    try:
        os.write(1, f"reka-cli {__version__}\n".encode())
    except OSError:
        return False
    return True


def _occupy_closed_streams() -> None:
    """Put nothing where a standard stream is closed: the next socket would get its number, and what is said there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


if __name__ == "__main__":
    main()
