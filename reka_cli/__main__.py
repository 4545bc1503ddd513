"""The way in: `reka-cli`, and `python -m reka_cli`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # while the command line is imported there is nothing to unwind: Ctrl-C just ends it, without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from reka_cli.cli import entry

    entry()


if __name__ == "__main__":
    main()
