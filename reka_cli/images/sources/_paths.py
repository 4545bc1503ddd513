"""Files, folders, pipes and devices as sources, and what finding any source has to work with."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from reka_cli.escapes import one_line
from reka_cli.files import read, show_path, translate_read_errors, wait_for
from reka_cli.images.file_content import MAX_IMAGE_BYTES, FoundImage, InMemory, OnDisk
from reka_cli.limits.deadline import Deadline

if TYPE_CHECKING:
    from reka_cli.transport import ConnectionPool

T = TypeVar("T")


@dataclass(frozen=True)
class FindContext:
    """What finding has beside the name: a deadline, standard input if it may be read, a log, connections."""

    deadline: Deadline | None = None
    stdin: Callable[[], bytes] | None = None
    log: Callable[[str], None] | None = None
    pool: Callable[[], ConnectionPool] | None = None

    def run_in_thread(self, work: Callable[[], T], name: str) -> T:
        return wait_for(work, name, self.deadline)


def find_at(path: Path, context: FindContext) -> list[FoundImage]:
    """Return the image at a path, or those in a folder; raise BadInput if it cannot be read."""
    with translate_read_errors(path):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return [find_file(path)]
        if not stat.S_ISDIR(mode):  # a pipe, a device
            return [
                FoundImage(
                    InMemory(read(path, MAX_IMAGE_BYTES, context.deadline)), display_name(path)
                )
            ]
        from reka_cli.images.sources._folders import images_in

        return [
            find_file(one)
            for one in context.run_in_thread(lambda: images_in(path), show_path(path))
        ]


def find_file(path: Path) -> FoundImage:
    return FoundImage(OnDisk.at(path), display_name(path))


def display_name(path: Path) -> str:
    return one_line(path.name) or "image"
