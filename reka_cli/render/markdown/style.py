"""How things look: Rich's own styles for Markdown, as this terminal can show them."""

from __future__ import annotations

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style

RESET = "\x1b[0m"
PLAIN = Style()
_OWN = {
    "code": Style.parse(
        "bold cyan"
    ),  # Rich paints it on black, which is not the background of every terminal
    "fence": Style.parse("dim"),
    "plain": PLAIN,
}


class Palette:
    """Styles by their name in Markdown, and the control sequences that begin them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._system: ColorSystem | None = COLOR_SYSTEMS.get(console.color_system or "")
        self._sequences: dict[Style, str] = {}
        self._styles = dict(_OWN)

    def style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self._console.get_style(f"markdown.{name}", default=PLAIN)
        return style

    def sequence(self, style: Style) -> str:
        """Give what begins a style, "" for none; `RESET` ends it."""
        sequence = self._sequences.get(style)
        if sequence is None:
            shown = style.without_color if self._console.no_color else style
            sequence = shown.render("x", color_system=self._system).partition("x")[0]
            self._sequences[style] = sequence
        return sequence
