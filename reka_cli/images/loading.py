"""Images found and made ready, several at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from reka_cli.images.file_content import FoundImage, InMemory, OnDisk
from reka_cli.images.pipeline import prepare
from reka_cli.images.preparation import DEFAULT_PREPARATION, Preparation
from reka_cli.images.sources import Source, find
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Image

if TYPE_CHECKING:
    from reka_cli.transport import ConnectionPool

_MOST_AT_ONCE = 4  # a large image takes some 100 MB while it is made ready


def load(
    source: Source,
    name: str | None = None,
    deadline: Deadline | None = None,
    wanted: Preparation = DEFAULT_PREPARATION,
) -> Image:
    """Give one image made ready, the first if there are several; see load_all."""
    found = next(find(source, deadline))
    return prepare(replace(found, name=name) if name else found, wanted, deadline)


def load_all(
    sources: Iterable[Source | Image] | Source,
    deadline: Deadline | None = None,
    wanted: Preparation = DEFAULT_PREPARATION,
    *,
    stdin: Callable[[], bytes] | None = None,
    log: Callable[[str], None] | None = None,
    pool: Callable[[], ConnectionPool] | None = None,
) -> tuple[Image, ...]:
    """Give the images of all sources made ready, in order; what is an Image already stays as it is.

    `stdin` is called for the source "-", `log` gets lines about the HTTP of downloads, which use the
    connections of `pool`. Raises BadInput for what is
    missing, unreadable, too large, no image or not whole; DeadlineExceeded; and what a download raises.
    """
    is_one = isinstance(sources, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(
        sources, "read"
    )
    given = cast(
        "Iterable[Source | Image]", [sources] if is_one else sources
    )  # not the letters of a name
    found: list[FoundImage | Image] = []
    for one in given:
        found += (
            [one]
            if isinstance(one, Image)
            else find(one, deadline, stdin=stdin, log=log, pool=pool)
        )
    raw = [one for one in found if isinstance(one, FoundImage)]
    ready = _prepare_all(raw, wanted, deadline) if raw else iter(())
    return tuple(one if isinstance(one, Image) else next(ready) for one in found)


def convert_format(image: Image, media_types: frozenset[str]) -> Image:
    """Give an image as one of these media types, itself if it is one."""
    if image.media_type in media_types:
        return image
    found = FoundImage(InMemory(image.data), image.name, image.label)
    made = prepare(found, Preparation(max_side=0, keep_metadata=True, media_types=media_types))
    return replace(made, original=image.original or made.original, notice=image.notice)


def _prepare_all(
    found: Sequence[FoundImage], wanted: Preparation, deadline: Deadline | None
) -> Iterator[Image]:
    """Make each image ready once, however often it is given, and several at a time."""
    distinct: dict[Hashable, FoundImage] = {}
    for one in found:
        distinct.setdefault(_cache_key(one), one)
    if len(distinct) == 1:
        made = {key: prepare(one, wanted, deadline) for key, one in distinct.items()}
    else:
        made = _run_in_threads(distinct, lambda one: prepare(one, wanted, deadline), deadline)
    return (replace(made[_cache_key(one)], name=one.name, label=one.label) for one in found)


def _run_in_threads(
    distinct: dict[Hashable, FoundImage],
    work: Callable[[FoundImage], Image],
    deadline: Deadline | None,
) -> dict[Hashable, Image]:
    """Work in a few threads, which helps because decoders let others run meanwhile; raise the first error."""
    from concurrent.futures import Future

    todo = deque((one, Future[Image]()) for one in distinct.values())
    futures = dict(zip(distinct, (future for _, future in todo), strict=True))

    def run() -> None:
        with suppress(IndexError):
            while True:
                one, future = todo.popleft()
                try:
                    future.set_result(work(one))
                except BaseException as error:  # noqa: BLE001 - it is raised again where the result is due
                    future.set_exception(error)

    for _ in range(min(_MOST_AT_ONCE, os.cpu_count() or 1, len(todo))):
        # no ThreadPoolExecutor: the end of the process would wait for it, after Ctrl-C and the deadline too
        threading.Thread(target=run, daemon=True).start()
    try:
        return {
            key: future.result(deadline.remaining_s() if deadline else None)
            for key, future in futures.items()
        }
    except TimeoutError as error:
        raise (deadline.error() if deadline else error) from error
    finally:
        todo.clear()


def _cache_key(found: FoundImage) -> Hashable:
    content = found.content
    return content.stamp if isinstance(content, OnDisk) else content.data, found.fragment
