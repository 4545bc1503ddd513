"""The clipboard: the image in it, or the files that were copied.

Linux has no clipboard of its own: under Wayland `wl-paste` reads it, under X11 `xclip`. The rest is Pillow's.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reka_cli.errors import BadInput, DeadlineExceeded
from reka_cli.escapes import one_line
from reka_cli.files import reason
from reka_cli.images.file_content import FoundImage, InMemory
from reka_cli.images.sources._paths import FindContext, find_at
from reka_cli.limits.deadline import Deadline
from reka_cli.limits.worker_thread import run_in_thread

USAGE = (
    "clipboard",
    "The image or the files on the clipboard. On Linux this needs wl-clipboard (Wayland) or xclip (X11).",
)

_NAME = "clipboard"
_PLATFORM: str = sys.platform  # which mypy takes for one value, and what follows for unreachable
_WAIT_S = 10.0  # the program that something was copied in has to answer
_IMAGE = re.compile(r"image/[a-z0-9.+-]+")
_PREFERRED = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/tiff", "image/bmp")
_FILES = "text/uri-list"
_NOTHING = re.compile(
    "not available|nothing is copied|no selection|no suitable", re.IGNORECASE
)  # 0.13; 2.1 to 2.2
_EMPTY = "there is no image in the clipboard"


@dataclass(frozen=True)
class _Tool:
    """A program that reads the clipboard of a display: `types` lists what there is, `paste` gives one of them."""

    display: str
    package: str
    types: tuple[str, ...]
    paste: tuple[str, ...]


_TOOLS = (
    _Tool(
        "WAYLAND_DISPLAY",
        "wl-clipboard",
        ("wl-paste", "--list-types"),
        ("wl-paste", "--no-newline", "--type"),
    ),
    _Tool(
        "DISPLAY",
        "xclip",
        ("xclip", "-selection", "clipboard", "-out", "-target", "TARGETS"),
        ("xclip", "-selection", "clipboard", "-out", "-target"),
    ),
)


def recognizes(text: str) -> bool:
    return text == _NAME


def find(_: str, context: FindContext) -> list[FoundImage]:
    """Return the image in the clipboard, or the files that were copied."""
    found = _read_clipboard(context.deadline)
    if isinstance(found, bytes):
        return [FoundImage(InMemory(found), _NAME)]
    return [one for path in found for one in find_at(path, context)]


def _read_clipboard(deadline: Deadline | None) -> bytes | list[Path]:
    """Return the image in the clipboard, encoded, or the files that were copied.

    Raises BadInput if there is neither or no way to it, DeadlineExceeded if it does not come.
    """
    limit = deadline.sooner(_WAIT_S) if deadline else Deadline.after(_WAIT_S)
    within_s = limit.remaining_s()
    try:
        if _PLATFORM in ("darwin", "win32"):
            return run_in_thread(_grab_clipboard, within_s)
        return _run_tool(_tool(), within_s)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise DeadlineExceeded(
            f"nothing came from the clipboard within {limit.total_s:g} s"
        ) from error


def _tool() -> _Tool:
    displays = [tool for tool in _TOOLS if os.environ.get(tool.display)]
    for tool in displays:
        if shutil.which(tool.types[0]):
            return tool
    if not displays:
        raise BadInput("there is no clipboard: neither WAYLAND_DISPLAY nor DISPLAY is set")
    tool = displays[0]
    raise BadInput(
        f"{tool.types[0]} is needed to read the clipboard", hint=f"sudo apt install {tool.package}"
    )


def _run_tool(tool: _Tool, within_s: float) -> bytes | list[Path]:
    output = _output(tool.types, within_s).decode("ascii", "replace")
    types = [one.strip() for one in output.splitlines()]
    images = [one for one in types if _IMAGE.fullmatch(one)]
    if images:
        best = next((one for one in _PREFERRED if one in images), images[0])
        return _output((*tool.paste, best), within_s)
    files = _files(_output((*tool.paste, _FILES), within_s)) if _FILES in types else []
    if not files:
        raise BadInput(_EMPTY)
    return files


def _output(command: tuple[str, ...], within_s: float) -> bytes:
    try:
        ended = subprocess.run(  # noqa: S603 - a command of ours
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within_s,
            check=False,
            env=_environment(),
        )
    except OSError as error:
        raise BadInput(f"cannot run {command[0]}: {reason(error)}") from error
    if ended.returncode == 0:
        return ended.stdout
    said = one_line(ended.stderr.decode("utf-8", "replace"), 200)
    raise BadInput(
        _EMPTY if not said or _NOTHING.search(said) else f"cannot read the clipboard: {said}"
    )


def _environment() -> dict[str, str]:
    """Return our environment without our secrets: the program needs none."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REKA_")}


def _files(uris: bytes) -> list[Path]:
    """Give the files of a `text/uri-list` (RFC 2483)."""
    lines = uris.decode("utf-8", "surrogateescape").split()
    parts = [urlsplit(line) for line in lines if line.lower().startswith("file:")]
    return [Path(unquote(one.path, errors="surrogateescape")) for one in parts]


def _grab_clipboard() -> bytes | list[Path]:
    from PIL import ImageGrab

    found = ImageGrab.grabclipboard()
    if isinstance(found, list):
        return [Path(one) for one in found]
    if found is None:
        raise BadInput(_EMPTY)
    encoded = io.BytesIO()
    found.save(encoded, "PNG")
    return encoded.getvalue()
