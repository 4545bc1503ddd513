"""Lists of models in every shape, and kept for a day."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from reka_cli.errors import BadInput, ServiceError
from reka_cli.providers._models import Model, ModelCache, ModelList, parse_models

ROW = {
    "id": "reka-edge-2603",
    "input_modalities": ["text", "image", "video"],
    "context_length": 16384,
    "max_output_length": 14745,
    "pricing": {"prompt": "0.0000001", "completion": "0.0000002"},
}
EDGE = Model("reka-edge-2603", ("text", "image", "video"), 16384, 14745, 1e-7, 2e-7)


@pytest.mark.parametrize(
    "payload", [[ROW], {"object": "list", "data": [ROW]}], ids=["bare list", "envelope"]
)
def test_both_shapes_are_read(payload: Any) -> None:
    assert parse_models(payload) == (EDGE,)


def test_the_modalities_of_llama_cpp_are_read() -> None:
    row = {
        "id": "/models/x.gguf",
        "architecture": {"input_modalities": ["text"]},
        "meta": {"n_ctx": 4096},
    }

    assert parse_models({"models": [], "object": "list", "data": [row]}) == (
        Model("/models/x.gguf", ("text",), 4096),
    )


@pytest.mark.parametrize(
    "row",
    [
        {"id": "x"},
        {
            "id": "x",
            "input_modalities": "text",
            "context_length": "many",
            "max_output_length": -1,
            "pricing": "free",
        },
        {"id": "x", "pricing": {"prompt": "nothing", "completion": None}, "architecture": "llama"},
        {"id": "x", "pricing": {"prompt": "-1", "completion": "5"}},
        {"id": "x", "pricing": {"prompt": 10**400, "completion": 10**400}, "context_length": True},
    ],
)
def test_what_is_not_told_is_not_known(row: dict[str, Any]) -> None:
    assert parse_models([row]) == (Model("x"),)


def test_rows_that_are_none_are_left_out() -> None:
    assert parse_models([1, None, {}, {"id": 5}, {"id": ""}, {"id": "x"}]) == (Model("x"),)


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "\x1b]0;title\x07x", "\x9b2J", "\u202egpj"])
def test_names_that_could_control_a_terminal_are_left_out(name: str) -> None:
    assert parse_models([{"id": name}, {"id": "x", "input_modalities": ["TEXT", name]}]) == (
        Model("x", ("text",)),
    )


def test_ollama_names_a_model_without_its_tag() -> None:
    assert ModelList((Model("llava:latest"),), 0).find("llava") == Model("llava:latest")


@pytest.mark.parametrize("payload", [None, "x", {}, {"data": {}}, 5])
def test_what_is_no_list_is_a_service_error(payload: Any) -> None:
    with pytest.raises(ServiceError, match="the response is not a list of models"):
        parse_models(payload)


def test_a_cost_needs_both_prices_and_both_counts() -> None:
    assert EDGE.cost_usd(1_000_000, 500_000) == pytest.approx(0.2)
    assert EDGE.cost_usd(None, 5) is None
    assert Model("x").cost_usd(5, 5) is None
    assert Model("x", input_usd=0.0, output_usd=0.0).cost_usd(5, 5) == 0


def test_a_model_that_is_not_there_names_the_nearest() -> None:
    catalogue = ModelList((EDGE, Model("reka-flash-3"), Model("glm5.3")), 0)

    assert catalogue.find("reka-flash-3") == Model("reka-flash-3")
    with pytest.raises(BadInput) as caught:
        catalogue.find("reka-flash")
    assert (caught.value.message, caught.value.hint) == (
        "there is no model 'reka-flash' here",
        "-m reka-flash-3 | reka-edge-2603",
    )


def test_a_list_is_kept_for_each_service_and_account(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    ModelCache(folder, "https://one/v1", "key").put([ROW])

    kept = ModelCache(folder, "https://one/v1", "key").get()
    assert kept is not None
    assert (kept.models, kept.is_fresh) == ((EDGE,), True)
    assert ModelCache(folder, "https://one/v1", "other").get() is None
    assert ModelCache(folder, "https://two/v1", "key").get() is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "key" not in "".join(path.name for path in folder.iterdir())


def test_a_list_of_yesterday_is_stale(tmp_path: Path) -> None:
    ModelCache(tmp_path, "https://one/v1", None).put([ROW])
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps({"got_at_s": time.time() - 86_401, "models": [ROW]}))

    kept = ModelCache(tmp_path, "https://one/v1", None).get()
    assert kept is not None
    assert not kept.is_fresh


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"got_at_s": "x", "models": []}', '{"got_at_s": 1, "models": 5}'],
)
def test_a_damaged_file_is_none(tmp_path: Path, content: str) -> None:
    ModelCache(tmp_path, "https://one/v1", None).put([ROW])
    (path,) = tmp_path.glob("*.json")
    path.write_text(content)

    assert ModelCache(tmp_path, "https://one/v1", None).get() is None


def test_a_pipe_is_none(tmp_path: Path) -> None:
    shelf = ModelCache(tmp_path, "https://one/v1", None)
    shelf.put([ROW])
    (path,) = tmp_path.glob("*.json")
    path.unlink()
    os.mkfifo(path)

    assert shelf.get() is None


def test_a_list_that_cannot_be_kept_is_nobodys_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ModelCache(tmp_path / "file", "https://one/v1", None).put([ROW])
