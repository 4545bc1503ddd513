"""From the options of `reka-cli batch` to a run: input, plan, journal, outputs, exit code."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from reka_cli import images
from reka_cli.asking import AskOptions, open_client
from reka_cli.batch.budget import Budget, Price, estimate_tokens
from reka_cli.batch.journal import Journal, check_settings, journal_of
from reka_cli.batch.outputs import Output, StdoutJsonl, format_cost, open_output
from reka_cli.batch.progress import Progress
from reka_cli.batch.rows import FILE_COLUMNS, FileRows, RowSource, expand, names_in_list
from reka_cli.batch.run import Batch, Limits, Outcome, Questions
from reka_cli.batch.sidecars import Sidecars
from reka_cli.batch.tables import read_table
from reka_cli.batch.templates import Template
from reka_cli.client import Client
from reka_cli.config import Config
from reka_cli.errors import DeadlineExceeded, SomeFailed, UsageError
from reka_cli.escapes import one_line
from reka_cli.files import show_path, translate_read_errors, translate_write_errors
from reka_cli.limits.deadline import Deadline
from reka_cli.terminal import Terminal, print_to_stderr, signals

_CEILINGS = {"local": 1, "web": 2}  # questions at once; web is the user's own account
_DEFAULT_JOBS = {"local": 1, "web": 1}
_JOBS = 8
_MOST_JOBS = 256
_LARGEST_LIST = 64 << 20  # bytes of standard input
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class BatchOptions(NamedTuple):
    """The options of `batch` beside those of every command that asks."""

    models: tuple[str, ...]
    source: str | None
    null: bool
    encoding: str | None
    limit: int | None
    sample: int | None
    sample_seed: int
    jobs: int | None
    max_failures: int | None
    max_cost: float | None
    price: str | None
    deadline: str | None
    output: str | None
    sidecar: str | None
    sidecar_name: str
    overwrite: bool
    ordered: bool
    raw_csv: bool
    again: bool
    retry_failed: bool
    dry_run: bool


def run_batch(
    prompt: str | None,
    files: Sequence[str],
    options: BatchOptions,
    asking: AskOptions,
    terminal: Terminal,
) -> None:
    """Run a batch. Raises RekaError for the exit code, after a summary on stderr."""
    _check_options(prompt, files, options, asking)
    ends_at_s = None if options.deadline is None else time.monotonic() + _seconds(options.deadline)
    source = _read_source(files, options)
    schema = _read_schema(asking)
    with ExitStack() as stack:
        client = stack.enter_context(open_client(asking, terminal, shows_uploads=False))
        questions = _questions(prompt or "", source, schema, options, asking)
        target = client.target(questions.models[0] or None)
        jobs = _jobs(options.jobs, target[0])
        price = Price.parse(options.price) if options.price else None
        limits = Limits(options.max_failures, ends_at_s, _picks(source, options), options.limit)
        if options.dry_run:
            _print_plan(questions, limits, client, price, terminal)
            return
        budget = _budget(questions, client, options, price)
        settings = _settings(prompt or "", questions, asking, target)
        sidecars = _sidecars(options)
        outputs = _open_outputs(source, schema, options, terminal)
        path = _journal_path(options, settings)
        journal = stack.enter_context(_closing_journal(path, options, sidecars))
        for output in outputs:
            stack.callback(output.close)
        progress = Progress(quiet=asking.quiet)
        batch = Batch(
            client,
            questions,
            journal,
            outputs,
            concurrency=jobs,
            sidecars=sidecars,
            budget=budget,
            price=price,
            limits=limits,
            progress=progress,
            retries_failed=options.retry_failed,
        )
        before = batch.load()
        if before is not None:
            check_settings(before, settings, "another -o, or --again to start over")
        batch.plan()
        batch.resume()
        if target[0] == "web":
            progress.note(f"asking with your own account at the web session, {jobs} at a time")
        with signals.taking_interrupt(batch.stop):
            outcome = batch.run(settings)
        progress.summarize(outcome.counts, outcome.cost_usd)
        _end(outcome)


def _check_options(
    prompt: str | None, files: Sequence[str], options: BatchOptions, asking: AskOptions
) -> None:
    if prompt and not files and not options.source and images.is_image_file(prompt):
        hint = f'reka-cli batch "Describe this photo" {shlex.quote(prompt)}'
        raise UsageError(f"{one_line(prompt)} is an image, not a question", hint=hint)
    if options.source and files:
        message = "rows come from --from or from files, not from both"
        raise UsageError(message, hint="-i '{column}' names the image of a row")
    if not options.source and not files:
        raise UsageError("there are no rows", hint="reka-cli batch PROMPT photos/ -o results.jsonl")
    if not options.output and not options.sidecar and not options.dry_run:
        raise UsageError("there is nowhere to put the results", hint="-o results.jsonl")
    if asking.videos:
        raise UsageError("batch does not take --video", hint="reka-cli ask --video FILE")
    for name, is_given in (("--null", options.null), ("--encoding", options.encoding is not None)):
        if is_given and (options.source == "-") != (name == "--null"):
            which = "--from -" if name == "--null" else "a .csv or .tsv file"
            raise UsageError(f"{name} is for {which}")
    if options.limit and options.sample:
        raise UsageError("--limit and --sample are mutually exclusive")


def _read_source(files: Sequence[str], options: BatchOptions) -> RowSource:
    if options.source is None:
        return FileRows(expand(files))
    if options.source == "-":
        return FileRows(_read_list(b"\0" if options.null else b"\n"))
    return read_table(Path(options.source), options.encoding)


def _read_list(separator: bytes) -> list[str]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("--from - reads standard input, which is a terminal")
    with translate_read_errors("standard input"):
        data = sys.stdin.buffer.read(_LARGEST_LIST + 1)
    if len(data) > _LARGEST_LIST:
        raise UsageError(f"the list of files is larger than {_LARGEST_LIST >> 20} MB")
    return names_in_list(data, separator=separator)


def _read_schema(asking: AskOptions) -> dict[str, Any] | None:
    if asking.schema is None:
        return None
    from reka_cli.schema import read as read_schema

    return read_schema(asking.schema, Deadline.after(asking.timeout_s))


def _questions(
    prompt: str,
    source: RowSource,
    schema: dict[str, Any] | None,
    options: BatchOptions,
    asking: AskOptions,
) -> Questions:
    template = Template(prompt, "the prompt")
    image_templates = [Template(one, "--image") for one in asking.images]
    for one in (template, *image_templates):
        one.check(source.columns)
    return Questions(
        source,
        template,
        image_templates,
        options.models or ("",),
        system=asking.system,
        options=asking.sampling,
        schema=schema,
        timeout_s=asking.timeout_s,
        allow_partial=asking.allow_partial,
    )


def _jobs(wanted: int | None, provider: str) -> int:
    ceiling = _CEILINGS.get(provider, _MOST_JOBS)
    jobs = _DEFAULT_JOBS.get(provider, _JOBS) if wanted is None else wanted
    if jobs > ceiling:
        raise UsageError(f"-j is at most {ceiling} with the provider {provider}, not {jobs}")
    return jobs


def _picks(source: RowSource, options: BatchOptions) -> frozenset[int] | None:
    if options.sample is None:
        return None
    count = min(options.sample, len(source))
    return frozenset(random.Random(options.sample_seed).sample(range(len(source)), count))


def _settings(
    prompt: str, questions: Questions, asking: AskOptions, target: tuple[str, str]
) -> dict[str, Any]:
    """Return everything that changes an answer: a resumed run must have the same."""
    config = Config.read(insecure_http=asking.allows_http)
    base = {"api": config.api_base, "web": config.web_base}.get(target[0])
    sampling = asking.sampling
    return {
        "prompt": prompt,
        "image": list(asking.images),
        "system": asking.system,
        "provider": target[0],
        "base_url": base and re.sub(r"//[^/@]*@", "//", base),
        "model": [one or target[1] for one in questions.models],
        "schema": questions.schema,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        "max_side": asking.preparation.max_side,
        "keep_metadata": asking.preparation.keep_metadata,
        "allow_partial": asking.allow_partial,
    }


def _journal_path(options: BatchOptions, settings: dict[str, Any]) -> Path:
    if options.output and options.output != "-":
        return journal_of(Path(options.output))
    # without an output file, the same settings in the same folder are the same batch
    text = json.dumps([str(Path.cwd()), options.source, options.sidecar, settings], sort_keys=True)
    name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    folder = Config.read().state_dir / "batches"
    with translate_write_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}.journal"


class _closing_journal:  # noqa: N801 - used like a function
    """Opens the journal that belongs to the output, and closes it."""

    def __init__(self, path: Path, options: BatchOptions, sidecars: Sidecars | None) -> None:
        self._path = path
        self._options = options
        self._sidecars = sidecars

    def __enter__(self) -> Journal:
        name = self._options.output
        output = Path(name) if name and name != "-" else None
        if self._options.again:
            if self._sidecars:
                self._sidecars.note_all(self._path)
            _move_aside([self._path, *([output] if output else [])])
        elif output and output.exists() and not self._path.exists():
            raise UsageError(
                f"{show_path(output)} exists, and there is no journal of a batch for it",
                hint="another -o, or --again to move it aside",
            )
        self._journal = Journal(self._path)
        return self._journal

    def __exit__(self, *_: object) -> None:
        self._journal.close()


def _move_aside(paths: Sequence[Path]) -> None:
    """Rename files of an earlier run, so that nothing is lost. A run that is going on is left alone."""
    for path in paths:
        if path.exists():
            if path.suffix == ".journal":
                Journal(path).close()  # raises Locked while another process writes it
            number = 1
            while path.with_name(f"{path.name}.old-{number}").exists():
                number += 1
            with translate_write_errors(path):
                path.rename(path.with_name(f"{path.name}.old-{number}"))


def _open_outputs(
    source: RowSource,
    schema: dict[str, Any] | None,
    options: BatchOptions,
    terminal: Terminal,
) -> list[Output]:
    if options.output is None:
        return []
    if options.output == "-":
        terminal.check_output()
        return [StdoutJsonl(terminal.write)]
    columns = ["path"] if tuple(source.columns) == FILE_COLUMNS else list(source.columns)
    properties = (schema or {}).get("properties")
    fields = list(properties) if isinstance(properties, dict) and properties else None
    path = Path(options.output)
    return [open_output(path, columns, fields, raw_csv=options.raw_csv, in_order=options.ordered)]


def _sidecars(options: BatchOptions) -> Sidecars | None:
    if options.sidecar is None:
        return None
    return Sidecars(options.sidecar, options.sidecar_name, overwrites=options.overwrite)


def _listed_price(client: Client, model: str) -> Price | None:
    """Return the price in the list of models; None if it has none."""
    listing = client.models()
    name = model or listing.default
    for one in listing.models:
        if one.id == name and one.input_usd is not None and one.output_usd is not None:
            return Price(one.input_usd, one.output_usd)
    return None


def _budget(
    questions: Questions, client: Client, options: BatchOptions, price: Price | None
) -> Budget:
    if options.max_cost is None:
        return Budget()
    estimate = 0.0
    for model in questions.models:
        known = price or _listed_price(client, client.target(model or None)[1])
        if known is None:
            message = "--max-cost needs the price of the model, which is not known"
            raise UsageError(message, hint="--price IN/OUT in USD per million tokens")
        images_of_row = len(questions.images) + 1
        tokens = estimate_tokens("", images_of_row, questions.options.max_tokens)
        estimate = max(estimate, known.cost_usd(*tokens) or 0.0)
    return Budget(options.max_cost, estimate)


def _print_plan(
    questions: Questions,
    limits: Limits,
    client: Client,
    price: Price | None,
    terminal: Terminal,
) -> None:
    """Print what a run would ask. Nothing is sent but the request for the list of models."""
    batch = Batch(client, questions, _NoJournal(), [], concurrency=1, limits=limits)  # type: ignore[arg-type]
    plan = batch.describe()
    lines = [
        f"rows: {plan.rows}",
        f"questions: {plan.questions}",
        f"rows that cannot be asked: {plan.problems}",
        f"images: {plan.images}, {plan.image_bytes} bytes",
        f"tokens (estimate): {plan.input_tokens} in, {plan.output_tokens} out",
    ]
    known = price or _listed_price(client, client.target(questions.models[0] or None)[1])
    if known:
        cost = known.cost_usd(plan.input_tokens, plan.output_tokens) or 0.0
        lines.append(f"cost (estimate): {format_cost(round(cost, 4))} USD")
    else:
        lines.append("cost (estimate): the price is not known; --price IN/OUT states it")
    lines.append(f"first prompt: {one_line(plan.first_prompt, 1_000)}")
    terminal.write("\n".join(lines) + "\n")


class _NoJournal:
    """What a plan has instead of a journal."""

    settings = None


def _end(outcome: Outcome) -> None:
    """Raise what the exit code of a run follows from."""
    counts = outcome.counts
    again = f"reka-cli {shlex.join(sys.argv[1:])}"
    left = counts.planned - counts.done
    if outcome.fatal is not None:
        raise outcome.fatal
    if outcome.interrupted:
        if left:
            print_to_stderr(f"hint: {again}")
        raise KeyboardInterrupt
    if outcome.reached_deadline and left:
        raise DeadlineExceeded(f"{left} rows were left at the deadline", hint=again)
    if counts.failed or left:
        retry = "" if " --retry-failed" in again or not counts.failed else " --retry-failed"
        raise SomeFailed(_what_is_missing(counts.failed, left, counts.planned), again + retry)


def _what_is_missing(failed: int, left: int, planned: int) -> str:
    if not left:
        return f"{failed} of {planned} rows failed"
    if not failed:
        return f"{left} of {planned} rows were left"
    return f"{failed} of {planned} rows failed, and {left} were left"


def _seconds(text: str) -> float:
    """Return the seconds until a deadline: a duration or the next time that a clock shows."""
    duration = _DURATION.fullmatch(text)
    if duration and float(duration[1]) > 0:
        return float(duration[1]) * _UNITS[duration[2]]
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        message = f"--deadline must be a duration or a clock time, not {one_line(text, 40)!r}"
        raise UsageError(message, hint="--deadline 6h, or --deadline 06:00")
    now = datetime.now()  # noqa: DTZ005 - the clock on the user's wall
    at = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
    if at <= now:
        at += timedelta(days=1)
    return (at - now).total_seconds()
