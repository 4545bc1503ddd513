"""Where results go: JSONL and CSV as they finish, Parquet at the end, or standard output.

A result is a dictionary with the fields of docs/batch-row.schema.json. The writer thread of the
journal calls `write` after the result is on disk.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from reka_cli.errors import IncompleteAnswer, UsageError
from reka_cli.escapes import json_line
from reka_cli.files import output_file, show_path, write_error
from reka_cli.limits.deadline import Deadline

Result = dict[str, Any]
Write = Callable[[bytes], None]

SUFFIXES = (".jsonl", ".csv", ".parquet")

_OPEN_S = 60.0  # for a pipe that nobody reads
_FORMULA = tuple("=+-@\t\r")  # what spreadsheets run


class Output(Protocol):
    """One output of a batch."""

    def rebuild(self, lines: Iterable[Line]) -> None:
        """Replace the output by the results of earlier runs, which finished before this one."""
        ...

    def write(self, line: Line) -> None:
        """Add one result. Raises IncompleteAnswer if it cannot be written."""
        ...

    def finish(self, lines: Callable[[], Iterable[Line]]) -> None:
        """End the output; `lines` yields all results, for an output that needs them in the end."""
        ...

    def close(self) -> None: ...


class Line:
    """A result and its line of JSON; one of an earlier run is decoded only where that is needed."""

    def __init__(self, json_text: bytes, result: Result | None = None) -> None:
        self.json_text = json_text
        self._result = result

    @property
    def result(self) -> Result:
        return self._result or json.loads(self.json_text)


def encode(result: Result) -> bytes:
    """Return a result as one line of JSON."""
    return json_line(result).encode()


class StdoutJsonl:
    """Prints the results that no earlier run has printed."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def rebuild(self, lines: Iterable[Line]) -> None:
        for _ in lines:  # which also says what is done
            pass

    def write(self, line: Line) -> None:
        self._write(line.json_text.decode())

    def finish(self, lines: Callable[[], Iterable[Line]]) -> None: ...

    def close(self) -> None: ...


class JsonlFile:
    """Appends each result as a line of JSON."""

    def __init__(self, path: Path, *, in_order: bool) -> None:
        self._path = path
        self._in_order = in_order
        self._file: BinaryIO | None = None

    def rebuild(self, lines: Iterable[Line]) -> None:
        with _replacing(self._path) as file:
            for line in lines:
                file.write(line.json_text)
        self._file = _open_to_append(self._path)

    def write(self, line: Line) -> None:
        _append(self._path, self._file, line.json_text)

    def finish(self, lines: Callable[[], Iterable[Line]]) -> None:
        if self._in_order:
            self.close()
            with _replacing(self._path) as file:
                for line in lines():
                    file.write(line.json_text)

    def close(self) -> None:
        if self._file:
            self._file.close()


class CsvFile:
    """Appends each result as a row: the columns of the input, the answer, model, cost and error.

    `fields` are the properties of the schema, one column each; without a schema there is `answer`.
    A cell of the model's text that a spreadsheet would run as a formula gets a leading apostrophe,
    unless `raw`.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        fields: Sequence[str] | None,
        *,
        raw: bool,
        in_order: bool,
    ) -> None:
        self._path = path
        self._columns = columns
        self._fields = fields
        self._raw = raw
        self._in_order = in_order
        self._file: BinaryIO | None = None
        taken = set(columns)
        own = [*(fields if fields is not None else ("answer",)), "model", "cost_usd", "error"]
        self._header = [*columns, *(_free_name(name, taken) for name in own)]

    def rebuild(self, lines: Iterable[Line]) -> None:
        self._write_all(lines)
        self._file = _open_to_append(self._path)

    def write(self, line: Line) -> None:
        _append(self._path, self._file, _csv_line(self._cells(line.result)))

    def finish(self, lines: Callable[[], Iterable[Line]]) -> None:
        if self._in_order:
            self.close()
            self._write_all(lines())

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _write_all(self, lines: Iterable[Line]) -> None:
        with _replacing(self._path) as file:
            file.write(_csv_line(self._header))
            for line in lines:
                file.write(_csv_line(self._cells(line.result)))

    def _cells(self, result: Result) -> list[str]:
        row, usage, error = result["row"], result["usage"] or {}, result["error"] or {}
        cost = usage.get("cost_usd")
        return [
            *(row.get(name, "") for name in self._columns),
            *(self._guard(cell) for cell in self._answer_cells(result["answer"])),
            result["model"] or "",
            "" if cost is None else format_cost(cost),
            self._guard(error.get("message", "")),
        ]

    def _answer_cells(self, answer: Any) -> list[str]:
        if self._fields is None:
            return [_cell(answer)]
        values = answer if isinstance(answer, dict) else {}
        return [_cell(values.get(name)) for name in self._fields]

    def _guard(self, cell: str) -> str:
        return f"'{cell}" if not self._raw and cell.startswith(_FORMULA) else cell


class ParquetFile:
    """Writes all results into one Parquet file at the end of a run."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # noqa: F401 - before anything is asked
        except ImportError as error:
            message = "Parquet files need the extra reka-cli[parquet]"
            raise UsageError(message, hint="pip install 'reka-cli[parquet]'") from error
        self._path = path

    def rebuild(self, lines: Iterable[Line]) -> None:
        for _ in lines:
            pass

    def write(self, line: Line) -> None: ...

    def finish(self, lines: Callable[[], Iterable[Line]]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        with _replacing(self._path) as file:
            writer = None
            for results in _chunks((line.result for line in lines()), 10_000):
                table = pa.Table.from_pylist([_flat(one) for one in results], schema=_schema(pa))
                writer = writer or parquet.ParquetWriter(file, table.schema)
                writer.write_table(table)
            if writer is None:
                table = _schema(pa).empty_table()
                writer = parquet.ParquetWriter(file, table.schema)
            writer.close()

    def close(self) -> None: ...


def open_output(
    path: Path,
    columns: Sequence[str],
    fields: Sequence[str] | None,
    *,
    raw_csv: bool,
    in_order: bool,
) -> Output:
    """Return the output that the suffix of a path asks for. Raises UsageError for another one."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return JsonlFile(path, in_order=in_order)
    if suffix == ".csv":
        return CsvFile(path, columns, fields, raw=raw_csv, in_order=in_order)
    if suffix == ".parquet":
        return ParquetFile(path)
    raise UsageError(
        f"-o must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not {show_path(path)}",
        hint="-o results.jsonl",
    )


def format_cost(usd: float) -> str:
    """Return an amount without the noise of floating-point arithmetic."""
    return f"{usd:.8f}".rstrip("0").rstrip(".")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _free_name(name: str, taken: set[str]) -> str:
    """Return a column name that the input does not use."""
    free = name
    while free in taken:
        free += "_"
    taken.add(free)
    return free


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file anew; it keeps its content until the block ends well."""
    with (
        output_file(path, Deadline.after(_OPEN_S)) as descriptor,
        open(descriptor, "wb", closefd=False) as file,
    ):
        yield file


def _open_to_append(path: Path) -> BinaryIO:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise write_error(path, error, IncompleteAnswer) from error


def _append(path: Path, file: BinaryIO | None, data: bytes) -> None:
    assert file is not None  # rebuild() comes first
    try:
        file.write(data)
    except OSError as error:
        raise write_error(path, error, IncompleteAnswer) from error


def _chunks(results: Iterator[Result], size: int) -> Iterator[list[Result]]:
    chunk = []
    for result in results:
        chunk.append(result)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _schema(pa: Any) -> Any:
    text, number = pa.string(), pa.int64()
    fields = [("id", text), ("index", number), ("source", text), ("prompt", text)]
    fields += [("answer", text), ("error", text), ("complete", pa.bool_()), ("model", text)]
    fields += [("input_tokens", number), ("output_tokens", number), ("cost_usd", pa.float64())]
    fields += [("attempts", number), ("total_s", pa.float64()), ("time", text), ("row", text)]
    return pa.schema(fields)


def _flat(result: Result) -> dict[str, Any]:
    """Return a result with nested values as JSON texts."""
    usage = result["usage"] or {}
    error = result["error"]
    same = ("id", "index", "source", "prompt", "complete", "model", "attempts", "total_s", "time")
    return {
        **{name: result[name] for name in same},
        "answer": None if result["answer"] is None else _cell(result["answer"]),
        "error": error and error["message"],
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cost_usd": usage.get("cost_usd"),
        "row": json.dumps(result["row"], ensure_ascii=False),
    }
