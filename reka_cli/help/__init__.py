"""Help: pages about commands (`page.py`) and topics (`topics.py`), for a pipe or a terminal.

Nothing here is imported before somebody asks for help.
"""

from __future__ import annotations

from reka_cli.help.page import Page
from reka_cli.terminal import Terminal

_NARROWEST, _WIDEST = 20, 100  # columns: longer lines are hard to read


def text(page: Page, terminal: Terminal) -> str:
    """Return a page, with Rich's layout on a terminal, else plain. It ends with a newline."""
    columns, _ = terminal.size()
    width = min(max(columns, _NARROWEST), _WIDEST)
    if terminal.is_screen:
        from reka_cli.help import styled

        return styled.render(page, width)
    from reka_cli.help import plain

    return plain.render(page, width)
