"""`reka-cli ask` with images from everywhere, and what the model is told of them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import CAT, Result, Run, Service
from sites import PASSWORD, Site, locked, moved
from test_ask import MEASURED, SANDBOX

from reka_cli import Client
from reka_cli.messages import Image, Message

QUESTION = "What can you see?"
PIPED = 'hint: reka-cli ask -i - "What can you see?" < image.jpg\n'


class TestStandardInput:
    @pytest.mark.parametrize("arguments", [["-i", "-", QUESTION], [QUESTION, "-"]])
    def test_it_may_be_the_image(self, run: Run, arguments: list[str]) -> None:
        assert run("ask", *arguments, env=SANDBOX, stdin=CAT.read_bytes()) == Result(
            0, MEASURED, ""
        )

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (
                ["-i", "-"],
                "standard input is the image: the question must be an argument\n" + PIPED,
            ),
            (
                ["-i", "-", "-"],
                "standard input is the image: the question must be an argument\n" + PIPED,
            ),
            (
                ["-i", "-", QUESTION, "x=-"],
                "standard input is one image: - can be given once\n" + PIPED,
            ),
            (["-n", "-i", "-", QUESTION], "- reads standard input, which --no-stdin forbids\n"),
        ],
    )
    def test_it_is_one_thing_once(self, run: Run, arguments: list[str], told: str) -> None:
        result = run("ask", *arguments, env=SANDBOX, stdin=CAT.read_bytes())

        assert result == Result(2, "", "error: " + told)

    def test_an_empty_one_is_no_image(self, run: Run) -> None:
        told = "error: there is no image on standard input\n"
        assert run("ask", "-i", "-", QUESTION, env=SANDBOX) == Result(5, "", told + PIPED)

    def test_a_terminal_is_no_picture(self, run: Run) -> None:
        ours, its = os.openpty()
        result = run("ask", "-i", "-", QUESTION, env=SANDBOX, stdin=its)
        os.close(ours)
        os.close(its)

        assert result == Result(2, "", "error: - is standard input, which is a terminal\n" + PIPED)

    def test_a_pipe_that_never_ends_is_given_up_at_the_deadline(self, run: Run) -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, CAT.read_bytes()[:1000])
        result = run("ask", "-i", "-", QUESTION, "--timeout", "0.5", env=SANDBOX, stdin=read_end)
        os.close(write_end)
        os.close(read_end)

        told = "error: standard input did not end within 0.5 s\nhint: --timeout SECONDS allows more time\n"
        assert result == Result(8, "", told)

    @pytest.mark.slow
    def test_a_pipe_that_is_silent_for_two_seconds_is_told(self, run: Run) -> None:
        read_end, write_end = os.pipe()
        result = run("ask", "-i", "-", QUESTION, "--timeout", "2.5", env=SANDBOX, stdin=read_end)
        os.close(write_end)
        os.close(read_end)

        assert result == Result(
            8,
            "",
            "notice: waiting for standard input, which is to be an image\n"
            "error: standard input did not end within 2.5 s\nhint: --timeout SECONDS allows more time\n",
        )

    def test_bytes_without_end_are_cut_off(self, run: Run) -> None:
        with Path("/dev/zero").open("rb") as endless:
            result = run("ask", "-i", "-", QUESTION, env=SANDBOX, stdin=endless.fileno())

        assert result == Result(5, "", "error: standard input is larger than 50 MB\n")


def test_an_image_may_be_at_a_url(run: Run, site: Site) -> None:
    site.pages["/cat"] = lambda handler: handler.answer(
        200, CAT.read_bytes(), Content_Type="text/html"
    )

    assert run("ask", QUESTION, f"{site.url}/cat", env=SANDBOX) == Result(0, MEASURED, "")


def test_debug_shows_no_password_of_a_url(run: Run, site: Site) -> None:
    site.pages["/cat"] = locked('Basic realm="camera"')
    site.pages["/x?signature=canary-4"] = moved("/cat")
    result = run(
        "ask", QUESTION, site.with_password("/x?signature=canary-4"), "--debug", env=SANDBOX
    )

    assert result.exit_code == 0
    assert f"> GET {site.url}/cat\n" in result.stderr
    encoded = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert [
        secret
        for secret in (PASSWORD, encoded, "canary-4")
        if secret in result.stderr + result.stdout
    ] == []


@pytest.mark.parametrize(
    ("pages", "exit_code", "told"),
    [
        ({}, 5, "error: URL/cat answered 404 (Not Found)\n"),
        ({"/cat": 503}, 7, "error: URL/cat answered 503 (Service Unavailable)\n"),
    ],
)
def test_a_url_without_an_image_has_an_exit_code(
    run: Run,
    site: Site,
    pages: dict[str, int],
    exit_code: int,
    told: str,
) -> None:
    site.pages["/cat"] = lambda handler: handler.answer(pages.get("/cat", 404))
    result = run("ask", QUESTION, f"{site.url}/cat", env=SANDBOX)

    assert result == Result(exit_code, "", told.replace("URL", site.url))


def named(*labels: str | None) -> tuple[Image, ...]:
    return tuple(
        Image(CAT.read_bytes(), "image/jpeg", 451, 300, "cat.jpeg", label) for label in labels
    )


class TestNames:
    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            (["before", "after"], 'Image 1 is "before", image 2 is "after".\n\nWhich?'),
            ([None, "after"], 'Image 2 is "after".\n\nWhich?'),
            (["a", "b", "b"], 'Image 1 is "a", images 2 to 3 are "b".\n\nWhich?'),
            (["b", None, "b"], 'Image 1 is "b", image 3 is "b".\n\nWhich?'),
            ([None, None], "Which?"),
        ],
    )
    def test_the_model_is_told_them_before_the_question(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, labels: list[str | None], told: str
    ) -> None:
        monkeypatch.setenv("REKA_API_BASE", f"{service.url}/v1")
        client = Client("api", model="sandbox")
        client.send([Message("user", "Which?", named(*labels))]).read()

        content = json.loads(service.received[-1].body)["messages"][0]["content"]
        assert [part["type"] for part in content] == ["image_url"] * len(labels) + ["text"]
        assert content[-1]["text"] == told

    def test_they_are_told_on_the_web_session_too(
        self, run: Run, service: Service, web_env: dict[str, str]
    ) -> None:
        result = run("ask", QUESTION, "-s", "Be brief.", f"the-cat={CAT}", env=web_env)

        turns: list[dict[str, Any]] = json.loads(service.received[-1].body)["conversation_history"]
        assert [turn["text"] for turn in turns] == [
            f'Be brief.\n\nImage 1 is "the-cat".\n\n{QUESTION}'
        ]
        assert result.exit_code == 0

    def test_a_question_may_be_an_image_alone(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REKA_API_BASE", f"{service.url}/v1")
        Client("api", model="sandbox").send([Message("user", "", named("x"))]).read()

        assert (
            json.loads(service.received[-1].body)["messages"][0]["content"][-1]["text"]
            == 'Image 1 is "x".'
        )
