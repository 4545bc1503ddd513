"""`--show`: the image in the terminal, above the answer."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service
from PIL import Image as Pillow

from reka_cli import images
from reka_cli.messages import Image
from reka_cli.render._show import Graphics, ScreenSize, draw, graphics

# textual-image 0.13 no longer calls it
pytestmark = pytest.mark.filterwarnings(
    "ignore:Image.Image.getdata is deprecated:DeprecationWarning"
)

OnTerminal = Callable[..., tuple[str, int, bytes]]

SCREEN = ScreenSize(columns=80, lines=24, cell=(8, 16))
BLOCKS = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀\x1b\[0m")


def plain(color: str, size: tuple[int, int], kind: str = "PNG") -> Image:
    encoded = io.BytesIO()
    Pillow.new("RGBA" if kind == "PNG" else "RGB", size, color).save(encoded, kind)
    return images.load(encoded.getvalue())


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "sixel"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "sixel"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "sixel"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230804"}, "sixel"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "210804"}, "blocks"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230804", "VTE_VERSION": "7600"}, "blocks"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "LC_TERMINAL": "iTerm2"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, "blocks"),
        ({"TERM": "linux"}, "blocks"),
        ({}, "blocks"),
    ],
)
def test_what_a_terminal_can_is_read_from_the_environment(
    environment: Mapping[str, str], wanted: Graphics
) -> None:
    assert graphics(environment) == wanted


class TestDrawing:
    @pytest.fixture(autouse=True)
    def true_color(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLORTERM", "truecolor")
        monkeypatch.setenv("TERM", "xterm-256color")

    def test_half_blocks_are_two_pixels_each(self) -> None:
        drawn = draw(plain("#102030", (4, 4)), "blocks", SCREEN)

        assert drawn == (4 * "\x1b[38;2;16;32;48;48;2;16;32;48m▀\x1b[0m" + "\n") * 2

    def test_what_can_be_seen_through_is_seen_on_white(self) -> None:
        drawn = draw(plain("#00000000", (2, 2)), "blocks", SCREEN)

        assert drawn == 2 * "\x1b[38;2;255;255;255;48;2;255;255;255m▀\x1b[0m" + "\n"

    @pytest.mark.parametrize(
        ("size", "cells"),
        [
            ((4000, 3000), (32, 12)),
            ((3000, 100), (80, 1)),
            ((10, 4000), (1, 12)),
            ((3, 1), (3, 1)),
            ((1, 1), (1, 1)),
        ],
    )
    def test_an_image_takes_half_of_the_height_at_most(
        self, size: tuple[int, int], cells: tuple[int, int]
    ) -> None:
        lines = draw(plain("red", size, "JPEG"), "blocks", SCREEN).splitlines()

        assert (len(BLOCKS.findall(lines[0])), len(lines)) == cells

    def test_without_true_color_the_nearest_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COLORTERM")

        assert draw(plain("red", (1, 2)), "blocks", SCREEN) == "\x1b[38;5;196;48;5;196m▀\x1b[0m\n"

    def test_the_protocol_of_kitty_is_told_to_answer_nothing(self) -> None:
        drawn = draw(images.load(CAT), "kitty", SCREEN)

        commands = re.findall(r"\x1b_G([^;\x1b]*)", drawn)
        assert len(commands) > 2
        assert [one for one in commands if ",q=2" not in one] == []
        assert re.fullmatch(r"a=p,i=\d+,c=36,r=12,U=1,q=2", commands[-1])
        assert drawn.count("\U0010eeee") == 36 * 12

    def test_sixel_fills_the_cells_it_is_given(self) -> None:
        drawn = draw(images.load(CAT), "sixel", SCREEN)

        assert drawn.startswith((" " * 36 + "\n") * 12 + "\x1b7\x1b[12A")
        assert re.search(r'\x1bP[0-9;]*q"1;1;288;192', drawn)
        assert drawn.endswith("\x1b\\\x1b8")

    def test_sixel_without_the_size_of_a_cell_is_half_blocks(self) -> None:
        drawn = draw(plain("red", (1, 2)), "sixel", ScreenSize(80, 24, None))

        assert drawn == "\x1b[38;2;255;0;0;48;2;255;0;0m▀\x1b[0m\n"

    def test_nothing_is_left_behind(self) -> None:
        before = sys.__stdout__, dict(os.environ)
        draw(images.load(CAT), "sixel", SCREEN)

        assert (sys.__stdout__, dict(os.environ)) == before


@pytest.fixture
def on_terminal(clean_env: dict[str, str]) -> OnTerminal:
    """Run `reka-cli` on a terminal of 80 × 24; give what it shows, its exit code, and what was typed meanwhile."""

    def on_terminal(*arguments: str, typed: bytes = b"", **env: str) -> tuple[str, int, bytes]:
        ours, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 640, 384))
        settings = termios.tcgetattr(its)
        settings[1] &= ~termios.OPOST
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(its, termios.TCSANOW, settings)
        os.write(ours, typed)
        shown = bytearray()

        def drain() -> None:
            while block := os.read(ours, 65_536):
                shown.extend(block)
                if b"\0" in block:
                    return

        reader = threading.Thread(target=drain)
        reader.start()
        ended = zygote.run(
            [sys.executable, "-m", "reka_cli", *arguments],
            env={k: v for k, v in clean_env.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | env,
            stdin=its, stdout=its, stderr=its, timeout=60, cwd=ROOT, check=False,
        )  # fmt: skip
        os.write(its, b"\0")
        reader.join()
        left = os.read(its, 100) if typed else b""
        os.close(ours)
        os.close(its)
        without_spinner = re.sub(
            r"(?:\r[⠀-⣿] [^\r]*\x1b\[K)+\r\x1b\[K", "", shown.rstrip(b"\0").decode()
        )
        return without_spinner, ended.returncode, left

    return on_terminal


ASK = ("ask", "hello", "--provider", "sandbox", "--show")


class TestAsking:
    def test_images_are_shown_in_order_above_the_answer(
        self, on_terminal: OnTerminal, tmp_path: Path, service: Service
    ) -> None:
        for color in ("red", "blue"):
            Pillow.new("RGB", (2, 2), color).save(tmp_path / f"{color}.png")
        both = (str(tmp_path / "red.png"), str(tmp_path / "blue.png"))
        shown, exit_code, left = on_terminal(
            "ask",
            "hello",
            *both,
            "-m",
            "sandbox",
            "--show",
            typed=b"the next command\n",
            REKA_API_BASE=f"{service.url}/v1",
        )

        red = 2 * "\x1b[38;2;255;0;0;48;2;255;0;0m▀\x1b[0m" + "\n"
        blue = 2 * "\x1b[38;2;0;0;255;48;2;0;0;255m▀\x1b[0m" + "\n"
        assert shown.startswith(red + blue + "This is the sandbox of reka-cli")
        assert (exit_code, left) == (0, b"the next command\n")

    @pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
    def test_a_terminal_without_colors_gets_a_notice(
        self, on_terminal: OnTerminal, env: dict[str, str]
    ) -> None:
        shown, exit_code, _ = on_terminal(*ASK, str(CAT), **env)

        notice = (
            "notice: the image is not shown: the terminal takes no colors, or NO_COLOR is set\n"
        )
        assert shown.startswith(notice + "This is the sandbox of reka-cli")
        assert exit_code == 0

    def test_the_missing_package_is_named(self, on_terminal: OnTerminal, tmp_path: Path) -> None:
        (tmp_path / "textual_image.py").write_text("raise ImportError")
        shown, exit_code, _ = on_terminal(*ASK, str(CAT), PYTHONPATH=str(tmp_path))

        assert shown == "error: --show needs a package more\nhint: pip install 'reka-cli[show]'\n"
        assert exit_code == 2

    def test_a_pipe_gets_the_answer_alone(self, run: Run) -> None:
        result = run(*ASK, str(CAT))

        assert result == run(*ASK[:-1], str(CAT))
        assert result == Result(0, result.stdout, "")
