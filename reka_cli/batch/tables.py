"""Rows from CSV, JSONL and Parquet files."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reka_cli.batch.rows import Row, RowSource
from reka_cli.errors import BadInput, UsageError
from reka_cli.escapes import one_line
from reka_cli.files import show_path, translate_read_errors

_DELIMITERS = ",;\t"
_LONGEST_CELL = 64 << 20  # characters; the module's own limit is 128 KB


def read_table(path: Path, encoding: str | None) -> RowSource:
    """Return the rows of a file, whose format follows from its suffix.

    Reads the file once to count the rows. Raises BadInput if it cannot be read or is not of its
    format, UsageError for another suffix.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return CsvRows(path, encoding or "utf-8-sig")
    if suffix in (".jsonl", ".ndjson"):
        return JsonlRows(path)
    if suffix == ".parquet":
        return ParquetRows(path)
    raise UsageError(
        f"--from reads .csv, .tsv, .jsonl and .parquet, not {show_path(path)}",
        hint="--from - reads a list of files from standard input",
    )


class CsvRows:
    """The rows of a CSV file. The delimiter is found in the header: a comma, semicolon or tab."""

    label = "line"

    def __init__(self, path: Path, encoding: str) -> None:
        self._path = path
        self._encoding = encoding
        csv.field_size_limit(_LONGEST_CELL)
        with self._reading(), self._open() as file:
            first = file.readline()
            delimiter = max(_DELIMITERS, key=_unquoted(first).count)
            self._delimiter = delimiter
            file.seek(0)
            lines = csv.reader(file, delimiter=delimiter, strict=True)
            self.columns: Sequence[str] = next(lines, [])
            self._count = sum(1 for cells in lines if cells)
        _check_columns(self.columns, path)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        width = len(self.columns)
        with self._reading(), self._open() as file:
            lines = csv.reader(file, delimiter=self._delimiter, strict=True)
            next(lines, None)
            for index, cells in enumerate(one for one in lines if one):
                problem = None
                if len(cells) != width:
                    problem = f"the row has {len(cells)} cells, the header has {width}"
                yield Row(index, dict(zip(self.columns, cells, strict=False)), problem=problem)

    def _open(self) -> io.TextIOWrapper:
        return self._path.open(encoding=self._encoding, newline="")

    def _reading(self) -> _Reading:
        return _Reading(self._path, self._encoding)


class _Reading:
    """Turns what reading a table raises into BadInput."""

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self._path = path
        self._encoding = encoding

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        shown = show_path(self._path)
        if isinstance(error, UnicodeError):
            raise BadInput(f"{shown} is not {self._encoding}", hint="--encoding NAME") from error
        if isinstance(error, LookupError):
            message = f"there is no encoding {one_line(self._encoding, 40)!r}"
            raise UsageError(message, hint="--encoding latin-1") from error
        if isinstance(error, csv.Error):
            raise BadInput(f"{shown} is not CSV: {_csv_problem(error)}") from error
        if isinstance(error, OSError):
            with translate_read_errors(self._path):
                raise error


def _csv_problem(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote is not closed"
    return one_line(str(error), 100)


def _unquoted(line: str) -> str:
    """Return a line without what stands in quotes."""
    return "".join(line.split('"')[::2])


def _check_columns(columns: Sequence[str], path: Path) -> None:
    if not columns:
        raise BadInput(f"{show_path(path)} has no header")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise BadInput(f"{show_path(path)} has the column {one_line(twice[0], 40)!r} twice")


class JsonlRows:
    """The rows of a file with one JSON object on each line. Blank lines are skipped."""

    label = "line"

    def __init__(self, path: Path) -> None:
        self._path = path
        columns: dict[str, None] = {}  # a set that keeps the order
        self._count = 0
        for row in self:
            columns.update(dict.fromkeys(row.values))
            self._count += 1
        self.columns: Sequence[str] = list(columns)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        with translate_read_errors(self._path), self._path.open("rb") as file:
            index = 0
            for number, line in enumerate(file, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield _json_row(index, number, text)
                    index += 1


def _json_row(index: int, number: int, line: bytes) -> Row:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return Row(index, {}, problem=f"line {number} is not JSON")
    if not isinstance(found, dict):
        return Row(index, {}, problem=f"line {number} is not a JSON object")
    return Row(index, {name: _as_text(value) for name, value in found.items()})


def _as_text(value: Any) -> str:
    """Return a value as it is filled in: a string as it is, null as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


class ParquetRows:
    """The rows of a Parquet file, which needs pyarrow."""

    label = "row"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            from pyarrow import parquet
        except ImportError as error:
            message = "Parquet files need the extra reka-cli[parquet]"
            raise UsageError(message, hint="pip install 'reka-cli[parquet]'") from error
        with translate_read_errors(path):
            try:
                with path.open("rb") as file:
                    found = parquet.ParquetFile(file)
                    self.columns: Sequence[str] = list(found.schema_arrow.names)
                    self._count = int(found.metadata.num_rows)
            except OSError:
                raise
            except Exception as error:  # pyarrow has classes of its own
                raise BadInput(f"{show_path(path)} is not a Parquet file") from error

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        from pyarrow import parquet

        index = 0
        with self._path.open("rb") as file:
            for batch in parquet.ParquetFile(file).iter_batches(batch_size=1_000):
                for values in batch.to_pylist():
                    yield Row(index, {name: _as_text(value) for name, value in values.items()})
                    index += 1
