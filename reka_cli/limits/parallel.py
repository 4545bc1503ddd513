"""Work on many items in a few threads, and yield what comes of them as it comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_in_threads(
    items: Iterable[Item],
    work: Callable[[Item, Callable[[], bool]], Result | None],
    threads: int,
) -> Generator[Result, None, None]:
    """Yield `work(item, should_stop)` for each item as soon as it is there, in any order.

    Items are taken from their iterator when a thread is free, so there may be any number. Closing
    the generator lets no further item begin; `should_stop()` is true then, and `work` may return
    None. Raises what `work` or the iterator raises.
    """
    todo = iter(items)
    lock = threading.Lock()
    done: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
    has_stopped = threading.Event()

    def run() -> None:
        try:
            while not has_stopped.is_set():
                with lock:
                    item = next(todo, done)
                if item is done:
                    break
                done.put(work(item, has_stopped.is_set))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - raised again where the result is due
            done.put(error)
        done.put(None)

    for _ in range(threads):
        threading.Thread(target=run, daemon=True).start()
    try:
        running = threads
        while running:
            result = done.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        has_stopped.set()
