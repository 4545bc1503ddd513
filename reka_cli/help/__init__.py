"""Help: pages made from the commands (`page.py`) and topics (`topics.py`), as text for a pipe or a terminal.

Nothing here is imported before somebody asks for help.
"""

from __future__ import annotations

from reka_cli.help.page import Page
from reka_cli.terminal import Terminal

_WIDEST = 100  # columns: longer lines are hard to read


def text(page: Page, terminal: Terminal) -> str:
    """Return a page as text: with Rich's layout on a terminal, else plain. It ends with a newline."""
    columns, _ = terminal.size()
    width = min(columns, _WIDEST)
    if terminal.is_screen:
        from reka_cli.help import styled

        return styled.render(page, width)
    from reka_cli.help import plain

    return plain.render(page, width)
