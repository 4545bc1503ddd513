"""`reka-cli batch`: one question for many images or rows."""

# no `from __future__ import annotations`: Typer would evaluate each of them four times
from typing import Annotated

from typer import Argument, Option

from reka_cli.asking import AskOptions
from reka_cli.commands._options import INPUT, LIMITS, MODEL, OUTPUT, with_ask_options
from reka_cli.terminal import Terminal


@with_ask_options
def batch(
    prompt: Annotated[
        str | None,
        Argument(
            metavar="PROMPT",
            help="Question about each row. {column} is filled in; {{ and }} are braces.",
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        Argument(
            metavar="[FILE]...",
            help="Images, one row each: files, folders, quoted globs and URLs.",
        ),
    ] = None,
    *,
    options: AskOptions,
    model: Annotated[
        list[str] | None,
        Option(
            "-m",
            "--model",
            metavar="NAME",
            help="Model to ask, such as reka-flash. If repeated, each row is asked of each model.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        Option(
            "--from",
            metavar="FILE",
            help="Read rows from a .csv, .tsv, .jsonl or .parquet file, or with - a list of files "
            "from standard input. Columns are filled in: {column}.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    null: Annotated[
        bool,
        Option(
            "-0",
            "--null",
            help="The names in the list of --from - end in NUL, as find -print0 writes them.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    encoding: Annotated[
        str | None,
        Option(
            "--encoding",
            metavar="NAME",
            help="Encoding of the .csv or .tsv file, if it is not UTF-8.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        Option(
            "--limit",
            metavar="N",
            min=1,
            help="Ask only the first N rows. A larger N continues the same run.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        Option(
            "--sample",
            metavar="N",
            min=1,
            help="Ask only N rows, chosen at random.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    sample_seed: Annotated[
        int,
        Option(
            "--sample-seed",
            metavar="N",
            help="Seed of --sample. With the same seed, the same rows are chosen.",
            rich_help_panel=INPUT,
        ),
    ] = 0,
    jobs: Annotated[
        int | None,
        Option(
            "-j",
            "--jobs",
            metavar="N",
            min=1,
            help="Maximum number of questions at once; fewer while the service limits the rate. "
            "By default 8 (api, sandbox) or 1 (local, web).",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_failures: Annotated[
        int | None,
        Option(
            "--max-failures",
            metavar="N",
            min=1,
            help="Stop after N failed rows. By default after 20 in a row if none has succeeded.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        Option(
            "--max-cost",
            metavar="USD",
            min=0.0,
            help="Stop before the answers of this run cost more than this, in USD.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    price: Annotated[
        str | None,
        Option(
            "--price",
            metavar="IN/OUT",
            help="Price in USD per million input and output tokens, if the model list has none.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        Option(
            "--deadline",
            metavar="TIME",
            help="Start no further question after this time: 90s, 30m, 6h, 2d or a clock time "
            "such as 06:00.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    output: Annotated[
        str | None,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the results to this file, whose suffix is .jsonl, .csv or .parquet; "
            "- prints JSON lines.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    sidecar: Annotated[
        str | None,
        Option(
            "--sidecar",
            metavar="SUFFIX",
            help="Write each answer to a file next to its image: .txt, .json or .xmp.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    sidecar_name: Annotated[
        str,
        Option(
            "--sidecar-name",
            metavar="full|stem",
            help="Name of the file next to a.jpg: a.jpg.txt (full) or a.txt (stem).",
            rich_help_panel=OUTPUT,
        ),
    ] = "full",
    overwrite: Annotated[
        bool,
        Option(
            "--overwrite",
            help="Let --sidecar replace files that are not from a batch.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    ordered: Annotated[
        bool,
        Option(
            "--ordered",
            help="Put the results in the order of the rows at the end of the run.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    raw_csv: Annotated[
        bool,
        Option(
            "--raw-csv",
            help="Write answers that begin with =, +, - or @ as they are. A spreadsheet would run "
            "them as formulas.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    again: Annotated[
        bool,
        Option(
            "--again",
            help="Start over: earlier results of the same output are moved aside.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        Option(
            "--retry-failed",
            help="Ask the rows again that failed in an earlier run.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        Option(
            "--dry-run",
            help="Print what would be asked and an estimate of its cost. Nothing is sent.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Ask one question about many images or rows, resumably.

    Examples:
        reka-cli batch "Describe this photo as alt text" 'photos/**/*.jpg' -o captions.jsonl
        reka-cli batch "Caption" photos --sidecar .txt
        reka-cli batch "Total of {shop}?" --from rows.csv -i '{file}' -o totals.csv

    Every finished row is kept in a journal (FILE.journal). The same command again asks only what
    is missing.

    The exit code is 0 if every row has an answer, 11 if some failed or were left.
    """
    from reka_cli.batch.command import BatchOptions, run_batch

    run_batch(
        prompt,
        tuple(files or ()),
        BatchOptions(
            models=tuple(model or ()),
            source=from_,
            null=null,
            encoding=encoding,
            limit=limit,
            sample=sample,
            sample_seed=sample_seed,
            jobs=jobs,
            max_failures=max_failures,
            max_cost=max_cost,
            price=price,
            deadline=deadline,
            output=output,
            sidecar=sidecar,
            sidecar_name=sidecar_name,
            overwrite=overwrite,
            ordered=ordered,
            raw_csv=raw_csv,
            again=again,
            retry_failed=retry_failed,
            dry_run=dry_run,
        ),
        options,
        Terminal(quiet=options.quiet, verbose=options.verbose),
    )
