"""`reka-cli batch`: rows in, results out, and nothing lost in between."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import zygote
from conftest import CAT, ROOT, Result, Run, Service

from reka_cli import Client, IncompleteAnswer, NotLoggedIn
from reka_cli.config import Config

SANDBOX = {"REKA_PROVIDER": "sandbox", "REKA_MODEL": "sandbox-text"}
JPEG = CAT.read_bytes()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images that differ."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.jpg").write_bytes(JPEG + name.encode())
    return folder


@pytest.fixture
def api_env(service: Service) -> dict[str, str]:
    return {"REKA_PROVIDER": "api", "REKA_API_BASE": f"{service.url}/v1", "REKA_MODEL": "sandbox"}


def _results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _by_source(path: Path) -> dict[str, dict[str, Any]]:
    return {Path(one["source"]).name: one for one in _results(path)}


def _prompts(service: Service) -> list[str]:
    """Return the texts of the questions that a service got."""
    found = []
    for request in service.received:
        if request.path.endswith("/chat/completions"):
            content = json.loads(request.body)["messages"][-1]["content"]
            found.append(content if isinstance(content, str) else content[-1]["text"])
    return found


def _without_seconds(text: str) -> str:
    return re.sub(r"in [0-9.]+ s(, [0-9.]+ USD)?", "in N s", text)


def _write_rows(path: Path, count: int) -> Path:
    path.write_text("n\n" + "".join(f"{number}\n" for number in range(count)))
    return path


class TestFiles:
    def test_each_file_gets_a_result(self, run: Run, photos: Path, tmp_path: Path) -> None:
        output = tmp_path / "out.jsonl"
        result = run(
            "batch", "Describe {name} of {stem}", str(photos), "-o", str(output), env=SANDBOX
        )

        assert (result.exit_code, result.stdout) == (0, "")
        assert _without_seconds(result.stderr) == "3 answered in N s\n"
        answers = {name: one["answer"] for name, one in _by_source(output).items()}
        said = "This is the sandbox of reka-cli: a stand-in for Reka, not a model. It cannot see."
        assert answers.keys() == {"a.jpg", "b.jpg", "c.jpg"}
        assert all(answer.startswith(said) for answer in answers.values())
        assert answers["b.jpg"].endswith("Your question was: Describe b.jpg of b")

    def test_a_result_has_these_fields(self, run: Run, photos: Path, tmp_path: Path) -> None:
        output = tmp_path / "out.jsonl"
        path = str(photos / "a.jpg")
        run("batch", "Hi", path, "-o", str(output), env=SANDBOX | {"REKA_MODEL": "sandbox"})
        (result,) = _results(output)

        assert re.fullmatch("[0-9a-f]{16}", result.pop("id"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", result.pop("time"))
        assert result.pop("total_s") >= 0
        assert "Your question was: Hi" in result.pop("answer")
        assert re.fullmatch("[0-9a-f]{64}", result["images"][0].pop("sha256"))
        assert result == {
            "schema": "reka-cli/batch/1",
            "index": 0,
            "source": path,
            "row": {"path": path, "name": "a.jpg", "stem": "a", "folder": str(photos)},
            "prompt": "Hi",
            "error": None,
            "complete": True,
            "provider": "sandbox",
            "model": "sandbox",
            "model_served": None,
            "finish_reason": "stop",
            "usage": {"input_tokens": 50, "output_tokens": 50, "cost_usd": None},
            "images": [{"source": path}],
            "attempts": 1,
        }

    def test_results_follow_the_published_schema(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        (photos / "b.jpg").write_text("no image")
        run("batch", "Hi", str(photos), "-o", str(tmp_path / "out.jsonl"), env=SANDBOX)
        schema = json.loads((ROOT / "docs/batch-row.schema.json").read_text())
        validator = jsonschema_rs.validator_for(schema)

        results = _results(tmp_path / "out.jsonl")
        assert [list(validator.iter_errors(one)) for one in results] == [[], [], []]

    def test_a_bad_image_is_a_failed_row_and_not_the_end(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        (photos / "b.jpg").write_text("no image")
        output = tmp_path / "out.jsonl"
        result = run("batch", "Hi", str(photos), "-o", str(output), env=SANDBOX)
        errors = {name: one["error"] for name, one in _by_source(output).items()}

        assert result.exit_code == 11
        assert errors["a.jpg"] is errors["c.jpg"] is None
        assert errors["b.jpg"]["exit_code"] == 5
        assert "\nerror: 1 of 3 rows failed\nhint: " in result.stderr
        assert "failed with bad_input: 1\n" in result.stderr

    def test_equal_images_are_asked_once_and_written_twice(
        self, run: Run, photos: Path, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        shutil.copy(photos / "a.jpg", photos / "z.jpg")
        output = tmp_path / "out.jsonl"
        result = run("batch", "Hi", str(photos), "-o", str(output), env=api_env)
        found = _by_source(output)

        assert _without_seconds(result.stderr) == "3 answered, 1 reused in N s\n"
        assert len(_prompts(service)) == 3
        assert found["a.jpg"]["answer"] == found["z.jpg"]["answer"]
        assert found["a.jpg"]["id"] == found["z.jpg"]["id"]

    @pytest.mark.parametrize(("end", "flag"), [("\n", []), ("\r\n", []), ("\0", ["-0"])])
    def test_a_list_on_standard_input(
        self, run: Run, photos: Path, end: str, flag: list[str]
    ) -> None:
        names = "".join(f"{one}{end}" for one in sorted(photos.iterdir()))
        result = run(
            "batch", "Hi", "--from", "-", "-o", "-", *flag, stdin=names.encode(), env=SANDBOX
        )

        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) == 3

    def test_a_row_is_never_a_folder_or_standard_input(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        names = f"{photos}\n-\nclipboard\n{photos}/*.jpg\n"
        output = tmp_path / "out.jsonl"
        result = run(
            "batch", "Hi", "--from", "-", "-o", str(output), stdin=names.encode(), env=SANDBOX
        )
        messages = [one["error"]["message"] for one in _results(output)]

        assert result.exit_code == 11
        assert sorted(messages) == [
            "cannot read -: no such file",
            f"cannot read {photos}/*.jpg: no such file",
            f"cannot read {photos}: is a directory",
            "cannot read clipboard: no such file",
        ]


class TestTables:
    @pytest.mark.parametrize(
        "text",
        [
            "file,shop\na.jpg,Spar\n",
            "\ufefffile;shop\r\na.jpg;Spar\r\n",
            pytest.param("file\tshop\na.jpg\tSpar\n", marks=pytest.mark.slow),
            pytest.param('"file","shop"\n"a.jpg","Spar"\n', marks=pytest.mark.slow),
        ],
    )
    def test_csv(self, run: Run, photos: Path, text: str) -> None:
        (photos / "rows.csv").write_bytes(text.encode())
        result = run(
            "batch",
            "What did {shop} cost?",
            "--from",
            "rows.csv",
            "-i",
            "{file}",
            "-o",
            "-",
            cwd=photos,
            env=SANDBOX,
        )
        (found,) = [json.loads(line) for line in result.stdout.splitlines()]

        assert (found["row"], found["source"]) == ({"file": "a.jpg", "shop": "Spar"}, "a.jpg")
        assert found["prompt"] == "What did Spar cost?"

    def test_jsonl(self, run: Run, tmp_path: Path) -> None:
        rows = ['{"a": {"b": [1]}, "c": "x"}', "{broken", '["list"]', '{"a": null, "c": "{a}"}']
        (tmp_path / "rows.jsonl").write_text("\n".join(rows))
        result = run(
            "batch",
            "A {a} C {c} {{}}",
            "--from",
            "rows.jsonl",
            "-o",
            "-",
            cwd=tmp_path,
            env=SANDBOX,
        )
        found = sorted(map(json.loads, result.stdout.splitlines()), key=lambda one: one["index"])

        assert [one["prompt"] for one in found] == ['A {"b": [1]} C x {}', "", "", "A  C {a} {}"]
        assert [one["error"] and one["error"]["message"] for one in found] == [
            None,
            "line 2 is not JSON",
            "line 3 is not a JSON object",
            None,
        ]
        assert result.exit_code == 11

    def test_an_empty_cell_is_no_image(
        self, run: Run, photos: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        (photos / "rows.csv").write_text("file,n\na.jpg,1\n,2\n")
        result = run(
            "batch",
            "Row {n}",
            "--from",
            "rows.csv",
            "-i",
            "{file}",
            "-o",
            "-",
            cwd=photos,
            env=api_env,
        )

        assert result.exit_code == 0
        images = [len(json.loads(line)["images"]) for line in result.stdout.splitlines()]
        assert sorted(images) == [0, 1]

    @pytest.mark.slow
    def test_csv_output_has_the_columns_of_the_input_and_of_the_schema(
        self, run: Run, tmp_path: Path
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 1)
        schema = {
            "type": "object",
            "properties": {"stand_in": {"type": "boolean"}, "n": {"type": "string"}},
            "required": ["stand_in"],
        }
        result = run(
            "batch",
            "Row {n}",
            "--from",
            "rows.csv",
            "-o",
            "out.csv",
            "--schema",
            json.dumps(schema),
            cwd=tmp_path,
            env=SANDBOX | {"REKA_MODEL": "sandbox"},
        )
        header, row = csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))

        assert result.exit_code == 0
        assert header == ["n", "stand_in", "n_", "model", "cost_usd", "error"]
        assert (row[0], row[3]) == ("0", "sandbox")
        assert row[1] in ("true", "false")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "rows.csv has no header"),
            ("a,a\n1,2\n", "rows.csv has the column 'a' twice"),
            ('a\n"1\n', "rows.csv is not CSV: a quote is not closed"),
            ("a\n\xff\n", "rows.csv is not utf-8-sig"),
        ],
    )
    def test_what_is_not_a_table_is_rejected(
        self, run: Run, tmp_path: Path, text: str, message: str
    ) -> None:
        (tmp_path / "rows.csv").write_bytes(text.encode("latin-1"))
        result = run("batch", "x", "--from", "rows.csv", "-o", "o.jsonl", cwd=tmp_path, env=SANDBOX)

        assert result.exit_code == 5
        assert result.stderr.startswith(f"error: {message}\n")
        assert not (tmp_path / "o.jsonl").exists()

    @pytest.mark.slow
    def test_another_encoding(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_bytes("name\nMüller\n".encode("latin-1"))
        result = run(
            "batch",
            "{name}",
            "--from",
            "rows.csv",
            "--encoding",
            "latin-1",
            "-o",
            "-",
            cwd=tmp_path,
            env=SANDBOX,
        )

        assert json.loads(result.stdout)["prompt"] == "Müller"

    @pytest.mark.slow
    def test_parquet_in_and_out(self, run: Run, tmp_path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"n": [1, 2], "s": ["x", None]}), tmp_path / "rows.parquet")
        command = ("batch", "Row {n}{s}", "--from", "rows.parquet", "-o", "out.parquet")
        results = [run(*command, cwd=tmp_path, env=SANDBOX) for _ in range(2)]
        table = parquet.read_table(tmp_path / "out.parquet").to_pylist()

        assert [one.exit_code for one in results] == [0, 0]
        assert [one["prompt"] for one in table] == ["Row 1x", "Row 2"]
        assert [one["complete"] for one in table] == [True, True]

    @pytest.mark.slow
    def test_a_broken_parquet_file_is_rejected(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "rows.parquet").write_text("no")
        command = ("batch", "Row", "--from", "rows.parquet", "-o", "out.jsonl")
        result = run(*command, cwd=tmp_path, env=SANDBOX)

        assert (result.exit_code, result.stderr.splitlines()[0]) == (
            5,
            "error: rows.parquet is not a Parquet file",
        )


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["x", "-o", "o.jsonl"], "there are no rows"),
            (["x", "."], "there is nowhere to put the results"),
            (["x {nope}", ".", "-o", "o.jsonl"], "there is no column 'nope' for the prompt"),
            (["x { y", ".", "-o", "o.jsonl"], "there is a single '{' in the prompt"),
            pytest.param(
                ["x", ".", "-o", "o.txt"],
                "-o must end in .jsonl, .csv or .parquet, not o.txt",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                ["x", ".", "-o", "o.jsonl", "--price", "1"],
                "--price must be IN/OUT in USD per",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                ["x", ".", "-o", "o.jsonl", "--deadline", "soon"],
                "--deadline must be a duration",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                ["x", ".", "--sidecar", ".doc"],
                "--sidecar must be .txt, .json, .xmp, not '.doc'",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                ["x", ".", "-o", "o.jsonl", "--limit", "1", "--sample", "1"],
                "--limit and --sample",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                ["x", ".", "--from", "r.csv", "-o", "o.jsonl"],
                "rows come from --from or from files",
                marks=pytest.mark.slow,
            ),
            pytest.param(
                ["x", "-", "-o", "o.jsonl"], "- is not an image of a batch", marks=pytest.mark.slow
            ),
        ],
    )
    def test_is_checked_before_anything_is_asked(
        self, run: Run, photos: Path, arguments: list[str], message: str
    ) -> None:
        result = run("batch", *arguments, cwd=photos, env=SANDBOX)

        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {message}")
        assert sorted(one.name for one in photos.iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]

    @pytest.mark.slow
    def test_web_takes_two_questions_at_once_at_most(
        self, run: Run, photos: Path, web_env: dict[str, str]
    ) -> None:
        result = run("batch", "x", ".", "-o", "o.jsonl", "-j", "3", cwd=photos, env=web_env)

        assert (result.exit_code, result.stderr.splitlines()[0]) == (
            2,
            "error: -j is at most 2 with the provider web, not 3",
        )

    def test_an_output_of_another_program_is_not_touched(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "o.jsonl"
        output.write_text("mine")
        result = run("batch", "x", str(photos), "-o", str(output), env=SANDBOX)

        assert result.exit_code == 2
        assert "there is no journal of a batch for it" in result.stderr
        assert output.read_text() == "mine"

    def test_dry_run_sends_nothing(
        self, run: Run, photos: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        result = run("batch", "See {name}", str(photos), "--dry-run", "--price", "1/2", env=api_env)

        assert _prompts(service) == []
        assert result == Result(
            0,
            "rows: 3\nquestions: 3\nrows that cannot be asked: 0\n"
            f"images: 3, {3 * len(JPEG) + 3} bytes\n"
            "tokens (estimate): 3006 in, 1500 out\ncost (estimate): 0.006 USD\n"
            "first prompt: See a.jpg\n",
            "",
        )


class TestResume:
    def test_the_same_command_asks_only_what_is_missing(
        self, run: Run, photos: Path, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        command = ("batch", "Hi {stem}", str(photos), "-o", str(tmp_path / "out.jsonl"))
        run(*command, env=api_env)
        first = _by_source(tmp_path / "out.jsonl")
        (photos / "b.jpg").write_bytes(JPEG + b"edited")
        (photos / "a.jpg").rename(photos / "d.jpg")
        shutil.copy(photos / "c.jpg", photos / "c2.jpg")
        result = run(*command, env=api_env)
        found = _by_source(tmp_path / "out.jsonl")

        assert result.exit_code == 0
        assert sorted(_prompts(service)) == ["Hi a", "Hi b", "Hi b", "Hi c", "Hi c2", "Hi d"]
        assert sorted(found) == ["b.jpg", "c.jpg", "c2.jpg", "d.jpg"]
        assert found["c.jpg"] == {**first["c.jpg"], "index": found["c.jpg"]["index"]}
        assert found["b.jpg"]["images"] != first["b.jpg"]["images"]

    def test_a_renamed_image_costs_nothing(
        self, run: Run, photos: Path, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        command = ("batch", "Hi", str(photos), "-o", str(tmp_path / "out.jsonl"))
        run(*command, env=api_env)
        (photos / "a.jpg").rename(photos / "z.jpg")
        result = run(*command, env=api_env)

        assert _without_seconds(result.stderr) == "0 answered, 3 reused in N s\n"
        assert len(_prompts(service)) == 3
        assert sorted(_by_source(tmp_path / "out.jsonl")) == ["b.jpg", "c.jpg", "z.jpg"]

    @pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
    def test_a_lost_output_is_made_again_from_the_journal(
        self, run: Run, photos: Path, tmp_path: Path, suffix: str
    ) -> None:
        output = tmp_path / f"out{suffix}"
        command = ("batch", "Hi", str(photos), "-o", str(output), "--ordered")
        run(*command, env=SANDBOX)
        before = output.read_bytes()
        output.unlink()
        result = run(*command, env=SANDBOX)

        assert result.exit_code == 0
        assert output.read_bytes() == before

    @pytest.mark.parametrize(
        "changed",
        [
            ["-s", "Be brief"],
            pytest.param(["-m", "sandbox-xml"], marks=pytest.mark.slow),
            pytest.param(["--seed", "1"], marks=pytest.mark.slow),
            pytest.param(["--max-side", "9"], marks=pytest.mark.slow),
        ],
    )
    def test_other_settings_are_rejected(
        self, run: Run, photos: Path, tmp_path: Path, changed: list[str]
    ) -> None:
        output = tmp_path / "out.jsonl"
        command = ("batch", "Hi", str(photos), "-o", str(output))
        run(*command, env=SANDBOX)
        before = output.read_bytes()
        result = run(*command, *changed, env=SANDBOX)

        assert result.exit_code == 2
        assert result.stderr.startswith("error: the earlier run had another ")
        assert output.read_bytes() == before

    @pytest.mark.slow
    def test_again_moves_the_old_results_aside(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "out.jsonl"
        run("batch", "Hi", str(photos), "-o", str(output), env=SANDBOX)
        before = output.read_bytes()
        result = run("batch", "Ho", str(photos), "-o", str(output), "--again", env=SANDBOX)

        assert result.exit_code == 0
        assert (tmp_path / "out.jsonl.old-1").read_bytes() == before
        assert (tmp_path / "out.jsonl.journal.old-1").exists()
        assert {one["prompt"] for one in _results(output)} == {"Ho"}

    def test_failed_rows_are_asked_again_only_on_request(
        self, run: Run, photos: Path, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        command = ("batch", "Hi", str(photos), "-o", str(tmp_path / "out.jsonl"), "--retries", "0")
        env = api_env | {"REKA_MODEL": "sandbox-500"}
        codes = [run(*command, *more, env=env).exit_code for more in ([], [], ["--retry-failed"])]

        assert codes == [11, 11, 11]
        assert len(_prompts(service)) == 6
        assert len(_results(tmp_path / "out.jsonl")) == 3

    @pytest.mark.slow
    def test_a_larger_limit_continues_the_run(
        self, run: Run, photos: Path, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        command = ("batch", "Hi {stem}", str(photos), "-o", str(tmp_path / "out.jsonl"))
        run(*command, "--limit", "1", env=api_env)
        run(*command, "--limit", "2", env=api_env)

        assert sorted(_prompts(service)) == ["Hi a", "Hi b"]

    def test_half_a_line_at_the_end_of_the_journal_is_cut_off(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        command = ("batch", "Hi", str(photos), "-o", str(tmp_path / "out.jsonl"))
        run(*command, env=SANDBOX)
        with (tmp_path / "out.jsonl.journal").open("ab") as journal:
            journal.write(b'{"key": "half')
        result = run(*command, env=SANDBOX)

        assert _without_seconds(result.stderr) == "0 answered, 3 reused in N s\n"

    @pytest.mark.slow
    def test_standard_output_gets_only_what_no_earlier_run_printed(
        self, run: Run, photos: Path
    ) -> None:
        command = ("batch", "Hi {stem}", ".", "-o", "-")
        first = run(*command, cwd=photos, env=SANDBOX)
        (photos / "d.jpg").write_bytes(JPEG)
        second = run(*command, cwd=photos, env=SANDBOX)

        assert len(first.stdout.splitlines()) == 3
        assert [json.loads(line)["source"] for line in second.stdout.splitlines()] == ["d.jpg"]


class TestSidecars:
    def test_each_image_gets_its_answer(self, run: Run, photos: Path) -> None:
        result = run("batch", "Hi {stem}", ".", "--sidecar", ".txt", cwd=photos, env=SANDBOX)

        assert result.exit_code == 0
        assert (photos / "a.jpg.txt").read_text().endswith("Your question was: Hi a\n")

    def test_a_file_of_somebody_else_is_not_replaced(self, run: Run, photos: Path) -> None:
        (photos / "a.jpg.txt").write_text("by hand")
        command = ("batch", "Hi", ".", "--sidecar", ".txt")
        result = run(*command, cwd=photos, env=SANDBOX)

        assert result.exit_code == 0
        assert _without_seconds(result.stderr) == (
            "2 answered, 1 skipped (their sidecar is not from a batch) in N s\n"
        )
        assert (photos / "a.jpg.txt").read_text() == "by hand"
        run(*command, "--overwrite", cwd=photos, env=SANDBOX)
        assert (photos / "a.jpg.txt").read_text().startswith("This is the sandbox")

    @pytest.mark.slow
    def test_a_sidecar_that_was_edited_is_not_replaced(self, run: Run, photos: Path) -> None:
        run("batch", "Hi", ".", "--sidecar", ".txt", cwd=photos, env=SANDBOX)
        (photos / "a.jpg.txt").write_text("edited")
        result = run("batch", "Hi", ".", "--sidecar", ".txt", "--again", cwd=photos, env=SANDBOX)

        assert _without_seconds(result.stderr).startswith("2 answered, 1 skipped")
        assert (photos / "a.jpg.txt").read_text() == "edited"

    @pytest.mark.slow
    def test_two_rows_with_one_sidecar_are_rejected(self, run: Run, photos: Path) -> None:
        (photos / "a.png").write_bytes(JPEG)
        command = ("batch", "Hi", ".", "--sidecar", ".txt", "--sidecar-name", "stem")
        result = run(*command, cwd=photos, env=SANDBOX)

        assert result.exit_code == 2
        assert result.stderr.startswith("error: two rows have the sidecar a.txt\n")
        assert not list(photos.glob("*.txt"))

    @pytest.mark.slow
    def test_xmp_is_xml_with_the_answer(self, run: Run, photos: Path) -> None:
        from xml.etree import ElementTree as Xml

        run("batch", "a < b & c", ".", "--sidecar", ".xmp", cwd=photos, env=SANDBOX)
        text = Xml.fromstring((photos / "a.jpg.xmp").read_text()).itertext()

        assert "Your question was: a < b & c" in "".join(text)


class TestModelsAndLimits:
    def test_each_row_is_asked_of_each_model(self, run: Run, photos: Path, tmp_path: Path) -> None:
        output = tmp_path / "out.jsonl"
        run(
            "batch",
            "Hi",
            str(photos),
            "-o",
            str(output),
            "-m",
            "sandbox",
            "-m",
            "sandbox-text",
            "--ordered",
            env=SANDBOX,
        )
        found = [(Path(one["source"]).name, one["model"]) for one in _results(output)]

        models = ("sandbox", "sandbox-text")
        assert found == [(f"{name}.jpg", model) for name in "abc" for model in models]

    @pytest.mark.slow
    def test_max_cost_stops_before_it_is_passed(
        self, run: Run, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 200)
        result = run(
            "batch",
            "Row {n}",
            "--from",
            "rows.csv",
            "-o",
            "out.jsonl",
            "--price",
            "100/100",
            "--max-cost",
            "0.2",
            cwd=tmp_path,
            env=api_env,
        )
        costs = [one["usage"]["cost_usd"] for one in _results(tmp_path / "out.jsonl")]

        assert result.exit_code == 11
        assert 0.15 < sum(costs) <= 0.2
        assert "rows were left" in result.stderr

    @pytest.mark.slow
    def test_a_run_that_only_fails_stops(
        self, run: Run, tmp_path: Path, api_env: dict[str, str]
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 200)
        result = run(
            "batch",
            "Row {n}",
            "--from",
            "rows.csv",
            "-o",
            "out.jsonl",
            "--retries",
            "0",
            "-j",
            "2",
            cwd=tmp_path,
            env=api_env | {"REKA_MODEL": "sandbox-500"},
        )
        failed = len(_results(tmp_path / "out.jsonl"))

        assert result.exit_code == 11
        assert 20 <= failed <= 22

    def test_credentials_that_are_rejected_end_the_run(
        self, run: Run, tmp_path: Path, api_env: dict[str, str]
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 200)
        command = ("batch", "Row {n}", "--from", "rows.csv", "-o", "out.jsonl")
        result = run(*command, cwd=tmp_path, env=api_env | {"REKA_MODEL": "sandbox-401"})

        assert result.exit_code == 3
        assert _results(tmp_path / "out.jsonl") == []

    def test_a_rate_limit_fails_no_row(
        self, run: Run, tmp_path: Path, service: Service, api_env: dict[str, str]
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 4)
        result = run(
            "batch",
            "Row {n}",
            "--from",
            "rows.csv",
            "-o",
            "out.jsonl",
            "--retries",
            "0",
            cwd=tmp_path,
            env=api_env | {"REKA_MODEL": "sandbox-429-once"},
        )

        assert result.exit_code == 0
        assert len(_results(tmp_path / "out.jsonl")) == 4

    @pytest.mark.slow
    def test_every_misbehavior_is_one_row_among_good_ones(
        self, run: Run, tmp_path: Path, api_env: dict[str, str]
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 2)
        models = ["length", "cut", "500", "empty", "error-event", "garbage", "html", "text"]
        options = [word for name in models for word in ("-m", f"sandbox-{name}")]
        result = run(
            "batch",
            "Row {n}",
            "--from",
            "rows.csv",
            "-o",
            "out.jsonl",
            "--retries",
            "0",
            *options,
            cwd=tmp_path,
            env=api_env,
        )
        good = {one["model"] for one in _results(tmp_path / "out.jsonl") if one["complete"]}

        assert result.exit_code == 11
        assert good == {"sandbox-text"}
        assert len(_results(tmp_path / "out.jsonl")) == 16


class TestEnds:
    def test_a_second_run_on_the_same_output_is_rejected(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        import fcntl

        command = ("batch", "Hi", str(photos), "-o", str(tmp_path / "out.jsonl"))
        run(*command, env=SANDBOX)
        with (tmp_path / "out.jsonl.journal").open("rb") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX)
            result = run(*command, env=SANDBOX)

        assert result.exit_code == 75
        assert result.stderr.startswith("error: another batch is writing ")

    def test_an_output_that_cannot_be_written_is_told_before(
        self, run: Run, photos: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "none" / "out.jsonl"
        result = run("batch", "Hi", str(photos), "-o", str(output), env=SANDBOX)

        assert result.exit_code == 5
        assert result.stderr.startswith("error: cannot write ")

    @pytest.mark.slow
    def test_ctrl_c_lets_questions_end_and_says_how_to_go_on(
        self, tmp_path: Path, clean_env: dict[str, str], service: Service, api_env: dict[str, str]
    ) -> None:
        _write_rows(tmp_path / "rows.csv", 500)
        process = _start(tmp_path, clean_env | api_env | {"REKA_MODEL": "sandbox-slow"})
        assert service.arrived.wait(20)
        _wait_for_results(tmp_path / "out.jsonl", 1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=50)
        results = _results(tmp_path / "out.jsonl")

        assert process.returncode == -signal.SIGINT
        assert all(one["complete"] for one in results)
        assert b" left in " in stderr
        assert b"hint: reka-cli batch" in stderr

    @pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
    def test_kill_9_loses_no_answer_and_doubles_none(
        self,
        tmp_path: Path,
        clean_env: dict[str, str],
        service: Service,
        api_env: dict[str, str],
        kills: int,
    ) -> None:
        rows = 60 * kills
        _write_rows(tmp_path / "rows.csv", rows)
        output, chance = tmp_path / "out.jsonl", random.Random(1)
        env = clean_env | api_env
        for _ in range(kills):
            before = len(_lines(output))
            process = _start(tmp_path, env)
            _wait_for_results(output, before + chance.randrange(50), process)
            process.kill()
            process.communicate(timeout=20)
        process = _start(tmp_path, env)
        process.communicate(timeout=50)
        asked = Counter(_prompts(service))
        results = _results(output)

        assert process.returncode == 0
        assert sorted(one["index"] for one in results) == list(range(rows))
        assert all(one["complete"] for one in results)
        assert set(asked) == {f"Row {number}" for number in range(rows)}
        assert sum(asked.values()) - rows <= 8 * kills


def _start(folder: Path, env: dict[str, str]) -> Any:
    words = ["batch", "Row {n}", "--from", "rows.csv", "-o", "out.jsonl"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return zygote.Popen([sys.executable, "-m", "reka_cli", *words], env=env, cwd=folder, **pipes)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _wait_for_results(path: Path, count: int, process: Any = None) -> None:
    """Wait until so many results are there, or the process has ended."""
    ends_at = time.monotonic() + 30
    while len(_lines(path)) < count and time.monotonic() < ends_at:
        if process is not None and process.poll() is not None:
            return
        time.sleep(0.002)


class TestLibrary:
    def test_results_come_as_they_finish(self, service: Service) -> None:
        with _client(service, "sandbox") as client:
            questions = ["one", ("two", [CAT]), ("three", iter([JPEG]))]
            results = sorted(client.batch(questions), key=lambda one: one.index)

        texts = [one.answer.text.rpartition(": ")[2] for one in results if one.answer]
        assert texts == ["one", "two", "three"]
        assert [one.error for one in results] == [None, None, None]

    def test_a_question_that_fails_is_a_result(self, service: Service) -> None:
        with _client(service, "sandbox-cut") as client:
            (result,) = client.batch(["one"])

        assert result.answer is None
        assert isinstance(result.error, IncompleteAnswer)

    def test_questions_are_taken_when_there_is_a_thread_for_them(self, service: Service) -> None:
        taken = []

        def questions() -> Iterator[str]:
            for number in range(1_000):
                taken.append(number)
                yield "x"

        with _client(service, "sandbox-text") as client:
            with closing(client.batch(questions(), concurrency=2)) as results:
                next(results)
            assert len(taken) < 100

    def test_credentials_that_are_rejected_are_raised(self, service: Service) -> None:
        with _client(service, "sandbox-401") as client, pytest.raises(NotLoggedIn):
            list(client.batch(["one", "two"]))


def _client(service: Service, model: str) -> Client:
    config = Config(Path("/nonexistent"), api_base=f"{service.url}/v1")
    return Client("api", model=model, config=config, retries=0)
