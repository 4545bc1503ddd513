"""The image above the answer, in the graphics of the terminal or in half blocks.

What the terminal can is read from the environment. It is not asked: its answer would come on standard input, among
what the user types ahead, late or never.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reka_cli.errors import UsageError
from reka_cli.messages import Image
from reka_cli.terminal import Terminal

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Graphics = Literal["kitty", "sixel", "blocks"]

_MOST_COLUMNS = 200
_CELL = (10, 20)  # pixels, where the terminal does not say: those of the VT340
_THUMBNAIL = 1600  # pixels; the longer side of what is scaled further
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")  # pass on what they know themselves, which is neither
_SIXEL_PROGRAMS = ("iTerm.app", "WezTerm", "mintty", "contour", "mlterm")
_SIXEL_TERMS = ("foot", "mlterm", "contour", "yaft")
_KONSOLE_WITH_SIXEL = 220400
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, MemoryError)


@dataclass(frozen=True)
class ScreenSize:
    """The size of the screen in cells, and of a cell in pixels if the terminal tells it."""

    columns: int
    lines: int
    cell: tuple[int, int] | None


def show(images: Iterable[Image], terminal: Terminal) -> None:
    """Write each image to stdout if that is a terminal, up to half of its height.

    Raises UsageError if the package that does it is not installed.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        return terminal.detail("the image is not shown: standard output is no terminal")
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return terminal.notice(
            "the image is not shown: the terminal takes no colors, or NO_COLOR is set"
        )
    try:
        import textual_image  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--show needs a package more", hint="pip install 'reka-cli[show]'"
        ) from error
    screen = _screen_size()
    for image in images:
        try:
            drawn = draw(image, graphics(os.environ), screen)
        except _UNREADABLE as error:
            terminal.notice(f"{image.name} is not shown: {str(error) or type(error).__name__}")
        else:
            terminal.write(drawn)
    return None


def graphics(environment: Mapping[str, str]) -> Graphics:
    """Tell what the terminal of an environment can.

    Source: what each program sets, by its documentation; https://www.arewesixelyet.com for who has sixel.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term.startswith(("screen", "tmux")) or any(name in environment for name in _MULTIPLEXERS):
        return "blocks"
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if (
        program in _SIXEL_PROGRAMS
        or term.startswith(_SIXEL_TERMS)
        or environment.get("LC_TERMINAL") == "iTerm2"
    ):
        return "sixel"
    konsole = environment.get("KONSOLE_VERSION", "")  # inherited by what is started from there
    if (
        konsole.isdecimal()
        and int(konsole) >= _KONSOLE_WITH_SIXEL
        and not {"VTE_VERSION", "XTERM_VERSION"} & {*environment}
    ):
        return "sixel"
    return "blocks"


def draw(image: Image, wanted: Graphics, screen: ScreenSize) -> str:
    """Give what makes a terminal show an image; sixel needs the size of a cell, without it there are half blocks."""
    if wanted == "sixel" and screen.cell is None:
        wanted = "blocks"
    columns, lines = _fit_image(
        image, (1, 2) if wanted == "blocks" else screen.cell or _CELL, screen
    )
    with _fake_terminal(screen.cell or _CELL) as output:
        from rich.console import Console
        from textual_image.renderable import HalfcellImage, SixelImage, TGPImage

        kinds = {"kitty": TGPImage, "sixel": SixelImage, "blocks": HalfcellImage}
        # in the color of its text the protocol of kitty says which image it is
        colors: Literal["auto", "truecolor"] = "auto" if wanted == "blocks" else "truecolor"
        console = Console(
            file=output,
            force_terminal=True,
            color_system=colors,
            width=columns,
            legacy_windows=False,
        )
        console.print(kinds[wanted](_open_image(image), width=columns, height=lines), end="")
    return output.getvalue()


def _fit_image(image: Image, cell: tuple[int, int], screen: ScreenSize) -> tuple[int, int]:
    """Give columns and lines: those of the image as it is, or as many as there is room for."""
    columns, lines = image.width / cell[0], image.height / cell[1]
    scale = min(
        1.0, min(screen.columns, _MOST_COLUMNS) / columns, max(1, screen.lines // 2) / lines
    )
    return max(1, round(columns * scale)), max(1, round(lines * scale))


def _open_image(image: Image) -> PillowImage:
    from PIL import Image as Pillow
    from PIL import ImageOps

    with Pillow.open(io.BytesIO(image.data)) as opened:
        opened.thumbnail((_THUMBNAIL, _THUMBNAIL))
        upright = ImageOps.exif_transpose(opened)
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        on_white = Pillow.new("RGBA", upright.size, "white")
        return Pillow.alpha_composite(on_white, upright.convert("RGBA")).convert("RGB")


@contextmanager
def _fake_terminal(cell: tuple[int, int]) -> Iterator[io.StringIO]:
    """Put a text in the place of the terminal, which textual-image would ask what it can, and its size."""
    output = io.StringIO()
    sizes = {"TEXTUAL_CELL_WIDTH": str(cell[0]), "TEXTUAL_CELL_HEIGHT": str(cell[1])}
    stdout, before = sys.__stdout__, {name: os.environ.get(name) for name in sizes}
    sys.__stdout__ = output  # type: ignore[misc, assignment]
    os.environ.update(sizes)
    try:
        yield output
    finally:
        sys.__stdout__ = stdout  # type: ignore[misc]
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _screen_size() -> ScreenSize:
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    return ScreenSize(columns or 80, lines or 24, _cell(columns, lines))


def _cell(columns: int, lines: int) -> tuple[int, int] | None:
    width = height = 0
    if sys.platform != "win32":
        from fcntl import ioctl
        from termios import TIOCGWINSZ

        size = ioctl(sys.stdout.fileno(), TIOCGWINSZ, bytes(8))
        _, _, width, height = struct.unpack("HHHH", size)
    return (
        (width // columns, height // lines)
        if columns and lines and width >= columns and height >= lines
        else None
    )
