"""A clip from where the user has it: checked by its first bytes, not decoded."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from reka_cli.errors import BadInput
from reka_cli.files import read
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Video

MAX_VIDEO_BYTES = (
    50 << 20
)  # bytes; the service states no limit, only that a clip should be under half a minute


def load(source: str | os.PathLike[str], deadline: Deadline | None = None) -> Video:
    """Give a clip as the model will get it: an http(s) URL as it is, a file as a data URL.

    Raises BadInput for a file that is missing, unreadable, too large, or neither MP4, QuickTime nor WebM.
    """
    text = os.fspath(source)
    if text.startswith(("http://", "https://")):
        return Video(text, "video")
    path = Path(text)
    data = read(path, MAX_VIDEO_BYTES, deadline)
    if len(data) > MAX_VIDEO_BYTES:
        raise BadInput(f"{path.name} is larger than {MAX_VIDEO_BYTES >> 20} MB")
    media_type = _media_type(data)
    if media_type is None:
        raise BadInput(f"{path.name} is no MP4, QuickTime or WebM clip")
    return Video(f"data:{media_type};base64,{base64.b64encode(data).decode()}", path.name)


def _media_type(data: bytes) -> str | None:
    if data[4:8] == b"ftyp" and not data[8:12].startswith((b"hei", b"hev", b"mif", b"msf", b"avi")):
        return "video/quicktime" if data[8:12] == b"qt  " else "video/mp4"
    return "video/webm" if data.startswith(b"\x1aE\xdf\xa3") else None
