"""Runs a batch: threads ask, the journal keeps each result, the outputs get what is on disk.

A row becomes one item for each model. Items come from one iterator, so that memory does not grow
with the number of rows. An item that runs into a rate limit goes back to the queue and uses up none
of its retries.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reka_cli.answer import Answer
from reka_cli.batch import keys
from reka_cli.batch.budget import Budget, Price, estimate_tokens
from reka_cli.batch.journal import LINE_BEGIN, Journal
from reka_cli.batch.outputs import Line, Output, Result, encode
from reka_cli.batch.progress import FRAME_S, Counts, Progress
from reka_cli.batch.rows import Row, RowSource
from reka_cli.batch.sidecars import Sidecars
from reka_cli.batch.templates import Template
from reka_cli.client import Client
from reka_cli.errors import (
    BadInput,
    NotLoggedIn,
    RateLimited,
    RekaError,
    UsageError,
    release_frames,
)
from reka_cli.limits.concurrency import MOST_PAUSES, AdaptiveLimit
from reka_cli.limits.deadline import Deadline
from reka_cli.messages import Options

SCHEMA = "reka-cli/batch/1"

_RESULT = b'"result": '
_NO_ERROR = b'"error": null, '
_NAMES = re.compile(rb'\{"key": "([0-9a-f]+)", "stamp": "([0-9a-f]+)", "sidecar": null, ')
_FAILURES_IN_A_ROW = 20  # while nothing has succeeded, unless --max-failures says otherwise


@dataclass(frozen=True)
class Questions:
    """What is asked about each row."""

    source: RowSource
    prompt: Template
    images: Sequence[Template]  # beside the file that the row stands for
    models: Sequence[str]  # names to ask, and "" for the one that the provider chooses
    system: str | None = None
    options: Options = Options()  # noqa: RUF009 - it is frozen
    schema: dict[str, Any] | None = None
    timeout_s: float = 600.0
    allow_partial: bool = False


@dataclass(slots=True)
class Item:
    """One question of the run. `key` and `contents` are known once its images are read."""

    index: int  # of the result: rows in order, and for each its models in order
    row: Row
    model: str
    prompt: str
    sources: tuple[keys.ImageSource, ...]
    stamp: bytes
    problem: str | None
    key: bytes | None = None
    contents: tuple[keys.ImageContent, ...] = ()

    @property
    def source(self) -> str:
        """What the row is called in messages and results."""
        return self.sources[0].shown if self.sources else f"row {self.row.index + 1}"


@dataclass
class Limits:
    """When a run ends early."""

    max_failures: int | None = None
    ends_at_s: float | None = None  # of the monotonic clock
    picks: frozenset[int] | None = None  # indexes of the rows that are asked, None for all
    first: int | None = None  # the number of rows that are asked


@dataclass
class Outcome:
    """How a run ended."""

    counts: Counts = field(default_factory=Counts)
    cost_usd: float = 0.0
    interrupted: bool = False
    reached_deadline: bool = False
    fatal: BaseException | None = None


@dataclass
class Plan:
    """What a run would ask, with assumed numbers of tokens."""

    rows: int = 0
    questions: int = 0
    problems: int = 0
    images: int = 0
    image_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first_prompt: str = ""


class _Record:
    """A result on its way to the journal, and through it to the outputs."""

    def __init__(self, item: Item, result: Result, json_text: bytes, *, is_copy: bool) -> None:
        self.item = item
        self.key = item.key or item.stamp
        self.result = result
        self.json_text = json_text
        self.is_copy = is_copy
        self.sidecar: Path | None = None
        self.sidecar_digest = ""

    def line(self) -> bytes:
        """Return the line of the journal: the key first and the result last, see _finished_line."""
        sidecar = [str(self.sidecar), self.sidecar_digest] if self.sidecar else None
        names = {"key": self.key.hex(), "stamp": self.item.stamp.hex(), "sidecar": sidecar}
        return encode(names)[:-2] + b", " + _RESULT + self.json_text[:-1] + b"}\n"


class Batch:
    """One run of a batch."""

    def __init__(
        self,
        client: Client,
        questions: Questions,
        journal: Journal,
        outputs: Sequence[Output],
        *,
        concurrency: int,
        sidecars: Sidecars | None = None,
        budget: Budget | None = None,
        price: Price | None = None,
        limits: Limits | None = None,
        progress: Progress | None = None,
        retries_failed: bool = False,
    ) -> None:
        self._client = client
        self._questions = questions
        self._journal = journal
        self._outputs = outputs
        self._sidecars = sidecars
        self._budget = budget or Budget()
        self._price = price
        self._limits = limits or Limits()
        self._progress = progress or Progress(quiet=True)
        self._retries_failed = retries_failed
        self._slots = AdaptiveLimit(concurrency)
        self.outcome = Outcome()
        self._counts = self.outcome.counts
        # offset in the journal by key; failed rows have negative ones
        self._offsets: dict[bytes, int] = {}
        self._is_done = bytearray()  # by index
        self._waiting: dict[bytes, list[Item]] = {}  # for the answer to the same question
        self._sent_back: deque[Item] = deque()
        self._lock = threading.Lock()
        self._items: Iterator[Item] = iter(())
        self._should_stop = False
        self._failures_in_a_row = 0
        self._has_succeeded = False

    # Before the first question

    def load(self) -> dict[str, Any] | None:
        """Read the journal. Returns the settings of the earlier run, None if there was none."""
        for line, offset in self._journal.load():
            key, stamp, sidecar = _read_names(line)
            # only a row with an answer has no error; in strings, quotes are escaped
            signed = offset if _NO_ERROR in line else -offset
            self._offsets[key] = self._offsets[stamp] = signed
            if self._sidecars and sidecar:
                self._sidecars.note(*sidecar)
        return self._journal.settings

    def plan(self) -> int:
        """Check every row and count the items. Raises UsageError for what cannot work."""
        if self._sidecars is None:
            return self._count_items()
        planned = 0
        taken: set[str] = set()
        for item in self._all_items():
            planned += self._check_sidecar(item, taken)
        self._counts.planned = planned
        self._counts.skipped = len(self._is_done) - planned
        return planned

    def _count_items(self) -> int:
        models = len(self._questions.models)
        rows = len(self._questions.source)
        self._is_done = bytearray(rows * models)
        if self._limits.picks is not None:
            rows = len(self._limits.picks)
        if self._limits.first is not None:
            rows = min(rows, self._limits.first)
        self._counts.planned = rows * models
        return self._counts.planned

    def describe(self) -> Plan:
        """Return what a run would ask. Looks at the files but does not read them."""
        plan = Plan()
        seen = -1
        for item in self._all_items():
            plan.rows += item.row.index != seen
            seen = item.row.index
            if item.problem:
                plan.problems += 1
                continue
            plan.first_prompt = plan.first_prompt or item.prompt
            plan.questions += 1
            plan.images += len(item.sources)
            plan.image_bytes += sum(one.size_bytes or 0 for one in item.sources)
            most = self._questions.options.max_tokens
            put_in, put_out = estimate_tokens(item.prompt, len(item.sources), most)
            plan.input_tokens += put_in
            plan.output_tokens += put_out
        return plan

    def _check_sidecar(self, item: Item, taken: set[str]) -> bool:
        """Return whether an item is part of the plan, and mark it as done if it is not."""
        while len(self._is_done) <= item.index:
            self._is_done.append(0)
        path = self._sidecar_of(item)
        if path is None:
            return True
        if str(path) in taken:
            raise UsageError(
                f"two rows have the sidecar {path}",
                hint="--sidecar-name full, or ask each image once",
            )
        taken.add(str(path))
        if self._sidecars and not self._sidecars.may_write(path):
            self._is_done[item.index] = 1
            return False
        return True

    def _sidecar_of(self, item: Item) -> Path | None:
        """Return the path of the sidecar of an item; None if there are none."""
        if self._sidecars is None or item.problem:
            return None
        file = item.sources[0].path if item.sources else None
        if file is None:
            message = f"{item.source} has no local image to put a sidecar beside"
            raise UsageError(message, hint="-o results.jsonl instead of --sidecar")
        return self._sidecars.path_of(Path(file))

    def resume(self) -> None:
        """Bring the outputs to what the journal holds of the rows of this run."""
        for output in self._outputs:
            output.rebuild(self._finished() if self._offsets else ())

    def _finished(self) -> Iterator[Line]:
        """Yield the results of the rows that earlier runs finished, and mark the rows as done."""
        for item in self._all_items():
            if self._is_done[item.index] == 1:  # skipped
                continue
            line = self._finished_line(item)
            if line is not None:
                yield line

    def _finished_line(self, item: Item) -> Line | None:
        """Return the result of an item that an earlier run finished, as that run wrote it if possible."""
        offset = self._offset_of(item)
        if offset is None or (offset < 0 and self._retries_failed):
            return None
        line = self._journal.read_line(abs(offset))
        item.key = bytes.fromhex(line[len(LINE_BEGIN) :][: 2 * keys.KEY_BYTES].decode())
        text = line[line.index(_RESULT) + len(_RESULT) : -2] + b"\n"
        begin = self._begin(item)
        if not text.startswith(encode(begin)[:-2]):  # of a row that was renamed or moved
            text = encode({**json.loads(text), **begin})
        if not self._is_done[item.index]:
            self._note_reused(item, text, offset)
        return Line(text)

    def _note_reused(self, item: Item, text: bytes, offset: int) -> None:
        if offset < 0:
            self._counts.add_failure(json.loads(text)["error"], item.source)
        else:
            path = self._sidecar_of(item)
            if path is not None and not path.exists():
                return  # asked for once more, from the journal
            self._counts.reused += 1
            self._has_succeeded = True
        self._is_done[item.index] = 2

    def _offset_of(self, item: Item) -> int | None:
        """Return where the journal has the answer to an item, None if it has none."""
        offset = self._offsets.get(item.stamp)
        if offset is None and not item.problem and self._offsets:
            try:
                offset = self._offsets.get(self._read_key(item))
            except RekaError:
                return None
        return offset

    def _read_key(self, item: Item) -> bytes:
        """Read the images of an item and return its key. Raises BadInput."""
        item.contents = tuple(source.read() for source in item.sources)
        item.key = keys.content_key(item.prompt, item.model, item.contents)
        return item.key

    # Items

    def _all_items(self, *, without_done: bool = False) -> Iterator[Item]:
        models = self._questions.models
        limits = self._limits
        for count, row in enumerate(self._picked_rows()):
            if limits.first is not None and count >= limits.first:
                return
            for at, model in enumerate(models):
                index = row.index * len(models) + at
                if not (without_done and self._is_done[index]):
                    yield self._item(index, row, model)

    def _picked_rows(self) -> Iterator[Row]:
        picks = self._limits.picks
        for row in self._questions.source:
            if picks is None or row.index in picks:
                yield row

    def _item(self, index: int, row: Row, model: str) -> Item:
        prompt, sources, problem = "", [], row.problem
        if problem is None:
            try:
                prompt = self._questions.prompt.fill(row.values)
                sources = [row.image] if row.image is not None else []
                filled = [one.fill(row.values) for one in self._questions.images]
                sources += [one for one in filled if one]  # an empty cell means no image
            except KeyError as error:
                problem = f"the row has no column {error.args[0]!r}"
            if problem is None and not sources and not prompt.strip():
                problem = "the prompt is empty"
        found = tuple(keys.ImageSource.at(one) for one in sources)
        stamp = keys.stamp_key(f"{index} {problem}" if problem else prompt, model, found)
        return Item(index, row, model, prompt, found, stamp, problem)

    # The run

    def run(self, settings: dict[str, Any]) -> Outcome:
        """Ask what is missing, and return how the run ended.

        `stop` ends it from another thread or a signal handler: what was asked is answered.
        """
        self._journal.start(settings, self._deliver)
        self._items = self._all_items(without_done=True)
        self._progress.start(self._counts.planned, self._counts.done)
        threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(min(self._slots.ceiling, max(self._counts.planned, 1)))
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads)
        finally:
            self._progress.stop()
            self.outcome.cost_usd = self._budget.spent_usd
        if self.outcome.fatal is None:
            self._finish()
        return self.outcome

    def stop(self) -> None:
        """Ask no further question. Safe in a signal handler."""
        self.outcome.interrupted = True
        self._should_stop = True

    def _watch(self, threads: Sequence[threading.Thread]) -> None:
        """Show the progress until all threads have ended."""
        alive = list(threads)
        while alive:
            alive[0].join(FRAME_S)
            alive = [thread for thread in alive if thread.is_alive()]
            ends_at = self._limits.ends_at_s
            if ends_at is not None and time.monotonic() >= ends_at and not self._should_stop:
                self.outcome.reached_deadline = True
                self._should_stop = True
            if self._should_stop:
                self._slots.wake()
            self._progress.update(self._counts, self._slots.in_use, self._budget.spent_usd)

    def _finish(self) -> None:
        """Let the outputs that need all results in the end have them."""
        if not self.outcome.interrupted:
            for output in self._outputs:
                output.finish(self._all_results)

    def _all_results(self) -> Iterator[Line]:
        """Yield all results in the order of the rows."""
        for item in self._all_items():
            if self._is_done[item.index] != 1:
                line = self._finished_line(item)
                if line is not None:
                    yield line

    def _work(self) -> None:
        """Ask one item after the other, until there are none or the run stops."""
        try:
            while not self._should_stop:
                item = self._next()
                if item is None:
                    return
                self._process(item)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        with self._lock:
            self.outcome.fatal = self.outcome.fatal or error
        self._should_stop = True
        self._slots.wake()

    def _next(self) -> Item | None:
        with self._lock:
            if self._sent_back:
                return self._sent_back.popleft()
            return next(self._items, None)

    def _process(self, item: Item) -> None:
        if item.problem:
            self._record(item, self._failed(item, BadInput(item.problem)))
            return
        if item.key is None:
            try:
                key = self._read_key(item)
            except RekaError as error:
                self._record(item, self._failed(item, error))
                return
            if self._is_known(item, key):
                return
        self._ask(item)

    def _is_known(self, item: Item, key: bytes) -> bool:
        """Return whether the same question is answered already or on its way to an answer."""
        with self._lock:
            offset = self._offsets.get(key)
            is_new = offset is None or (offset < 0 and self._retries_failed)
            if is_new:
                if key in self._waiting:
                    self._waiting[key].append(item)
                    return True
                self._waiting[key] = []
                return False
        assert offset is not None
        self._copy(item, self._journal.read(abs(offset))["result"])
        return True

    def _ask(self, item: Item) -> None:
        """Ask, and record the answer or the failure; after a rate limit the item is sent back."""
        slot = self._slots.take(lambda: self._should_stop)
        if slot is None:
            return
        reserved = self._reserve()
        if reserved is None:
            return
        cost, attempts = None, 0
        try:
            result = self._answer(item)
            cost = (result["usage"] or {}).get("cost_usd")
            attempts = result["attempts"]
            self._slots.succeed(slot)
        except RateLimited as error:
            self._slots.back_off(slot, error.retry_after_s)
            if error.status == 402 or self._slots.pauses_in_a_row > MOST_PAUSES:
                raise
            with self._lock:
                self._sent_back.append(item)
            release_frames(error)
            return
        except (NotLoggedIn, UsageError):
            self._slots.fail()
            raise
        except RekaError as error:
            self._slots.fail()
            attempts = 1
            result = self._failed(item, error)
            release_frames(error)
        finally:
            self._budget.settle(reserved, cost, attempts)
        self._record(item, result)
        self._copy_to_waiting(item, result)

    def _reserve(self) -> float | None:
        """Set the estimated cost of a question aside; None if the run stops before there is money."""
        while not self._should_stop:
            reserved = self._budget.reserve()
            if reserved is not None:
                return reserved
            if self._budget.is_exhausted:
                self._should_stop = True
                break
            time.sleep(0.02)  # for what is on its way, which may cost less than its estimate
        self._slots.fail()
        return None

    def _answer(self, item: Item) -> Result:
        """Ask one question and return its result. Raises RekaError."""
        asked = self._questions
        deadline = Deadline.after(asked.timeout_s)
        with self._client.ask(
            item.prompt,
            [source.to_load(one) for source, one in zip(item.sources, item.contents, strict=True)],
            system=asked.system,
            model=item.model or None,
            options=asked.options,
            deadline=deadline,
            schema=asked.schema,
            is_scheduled=True,
        ) as answer:
            text = answer.read()
            return self._result(item, answer, text)

    def _result(self, item: Item, answer: Answer, text: str) -> Result:
        usage = answer.usage
        cost = usage and usage.cost_usd
        if usage and self._price:
            cost = self._price.cost_usd(usage.input_tokens, usage.output_tokens)
        # allow_partial accepts what has no normal end
        is_whole = not self._questions.allow_partial or answer.finish_reason == "stop"
        return {
            **self._begin(item),
            "prompt": item.prompt,
            "answer": text if self._questions.schema is None else json.loads(text),
            "error": None,
            "complete": is_whole,
            "provider": answer.provider,
            "model": answer.model,
            "model_served": answer.model_served,
            "finish_reason": answer.finish_reason,
            "usage": usage
            and {
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "cost_usd": cost,
            },
            "images": _images(item),
            "attempts": answer.attempts,
            "total_s": round(answer.total_s, 3),
            "time": _now(),
        }

    def _failed(self, item: Item, error: RekaError) -> Result:
        return {
            **self._begin(item),
            "prompt": item.prompt,
            "answer": None,
            "error": error.as_dict(),
            "complete": False,
            "provider": None,
            "model": item.model or None,
            "model_served": None,
            "finish_reason": None,
            "usage": None,
            "images": _images(item),
            "attempts": 0,
            "total_s": None,
            "time": _now(),
        }

    def _begin(self, item: Item) -> Result:
        """Return the fields of a result that follow from the row."""
        return {
            "schema": SCHEMA,
            "id": (item.key or item.stamp).hex()[:16],
            "index": item.index,
            "source": item.source,
            "row": item.row.values,
        }

    def _copy_to_waiting(self, asked: Item, result: Result) -> None:
        with self._lock:
            waiting = self._waiting.pop(asked.key or b"", [])
        for item in waiting:
            self._copy(item, result)

    def _copy(self, item: Item, result: Result) -> None:
        """Record the result of the same question for another row."""
        self._record(item, {**result, **self._begin(item)}, is_copy=True)

    def _record(self, item: Item, result: Result, *, is_copy: bool = False) -> None:
        """Write a result to the journal, and with it to the outputs. Returns when it is on disk."""
        record = _Record(item, result, encode(result), is_copy=is_copy)
        path = self._sidecar_of(item)
        if path is not None and self._sidecars and result["complete"]:
            record.sidecar = path
            record.sidecar_digest = self._sidecars.digest(result)
        self._journal.append(record.line(), record)

    def _deliver(self, record: _Record, offset: int) -> None:
        """Hand a result that is on disk to the outputs; in the writer thread of the journal."""
        result = record.result
        self._offsets[record.key] = -offset if result["error"] else offset
        for output in self._outputs:
            output.write(Line(record.json_text, result))
        if record.sidecar and self._sidecars:
            self._sidecars.write(record.sidecar, result)
        self._is_done[record.item.index] = 2
        self._count(record)

    def _count(self, record: _Record) -> None:
        error = record.result["error"]
        if error:
            self._counts.add_failure(error, record.item.source)
            self._failures_in_a_row += 1
        else:
            self._has_succeeded = True
            self._failures_in_a_row = 0
            self._counts.reused += record.is_copy
            self._counts.answered += not record.is_copy
        if self._fails_too_often():
            self._should_stop = True
            self._progress.note("too many rows failed: the run stops")

    def _fails_too_often(self) -> bool:
        most = self._limits.max_failures
        if most is not None:
            return self._counts.failed >= most
        return not self._has_succeeded and self._failures_in_a_row >= _FAILURES_IN_A_ROW


def _read_names(line: bytes) -> tuple[bytes, bytes, list[str] | None]:
    """Return key, stamp and sidecar of a line of the journal, without decoding its result."""
    names = line[: line.index(_RESULT)]
    found = _NAMES.fullmatch(names)
    if found:  # nearly always
        return bytes.fromhex(found[1].decode()), bytes.fromhex(found[2].decode()), None
    record = json.loads(line)
    return bytes.fromhex(record["key"]), bytes.fromhex(record["stamp"]), record["sidecar"]


def _images(item: Item) -> list[dict[str, Any]]:
    """Return what a result says of its images; a URL has no hash, for it is not read again."""
    hashes = [one.identity[:64] for one in item.contents] or [""] * len(item.sources)
    return [
        {"source": source.shown, "sha256": (source.path and hashed) or None}
        for source, hashed in zip(item.sources, hashes, strict=True)
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
