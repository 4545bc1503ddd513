"""Reasoning and wrappers in the text, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reka_cli.errors import ServiceError
from reka_cli.messages import ReasoningDelta, TextDelta
from reka_cli.providers._reasoning import Splitter, TextWasReasoning

TABLE = [
    ("hello", "", "hello"),
    ("<think>why</think>hello", "why", "hello"),
    ("<reasoning>why</reasoning>\n\nhello", "why", "hello"),
    ("\n <think>\nwhy\n</think>\n<answer>\nhello\n</answer>\n<sep>", "\nwhy\n", "hello"),
    ("<think>a</think><think>b</think>hello", "ab", "hello"),
    ("<answer>hello</answer>", "", "hello"),
    ("<result>hello</result><sep>", "", "hello"),
    ("hello<sep>", "", "hello"),
    ("hello\n <sep>\n", "", "hello"),
    (" hello  ", "", "hello"),
    ("    return x\n    y = 1\n", "", "    return x\n    y = 1"),
    ("\n\n  indented", "", "  indented"),
    ("<think>why</think>\n\n    code", "why", "    code"),
    ("hello <sep> world", "", "hello <sep> world"),
    ("hello </answer>", "", "hello </answer>"),
    ("say <think> to think</think>", "", "say <think> to think</think>"),
    ("a < b <s", "", "a < b <s"),
    ("<", "", "<"),
    ("<thin", "", "<thin"),
    ("<thing>", "", "<thing>"),
    ("<think>no end", "no end", ""),
    ("<think>almost</thin", "almost</thin", ""),
    ("<think>a < b</think>c", "a < b", "c"),
    ("<think></think>", "", ""),
    ("", "", ""),
    (" \n", "", ""),
    ("line\n\nline\n", "", "line\n\nline"),
    ("why\n</think>\n\nhello", "why", "hello"),
    ("why</think>hello", "why", "hello"),
    ("why </think>\nhello", "why", "hello"),
    ("why\n</reasoning>\n<answer>hello</answer>", "why", "hello"),
    ("</think>\n\nhello", "", "hello"),
    ("why</think>", "why", ""),
    ("why\n</think>\n", "why", ""),
    ("why</think>a</think>b", "why", "a</think>b"),
    ("<think>a</think>b</think>c", "a", "b</think>c"),
    ("`</think>` ends it\n</think>\nhello", "`</think>` ends it", "hello"),
    ("the tag </think> ends it", "", "the tag </think> ends it"),
    ("it ends with </think>.", "", "it ends with </think>."),
    ("it is (</think>)", "", "it is (</think>)"),
    ("write <think>a</think>", "", "write <think>a</think>"),
    ("```\na\n</think>\n```\nb", "", "```\na\n</think>\n```\nb"),
    ("```\na\n```\nb\n</think>\nc", "```\na\n```\nb", "c"),
    ("a</thin", "", "a</thin"),
]


def split(pieces: list[str]) -> tuple[str, str]:
    splitter = Splitter()
    deltas = [delta for piece in pieces for delta in splitter.feed(piece)] + list(splitter.flush())
    reasoning = text = ""
    for delta in deltas:
        if isinstance(delta, TextWasReasoning):
            reasoning, text = reasoning + text, ""
            continue
        assert delta.text
        if isinstance(delta, ReasoningDelta):
            reasoning += delta.text
        else:
            text += delta.text
    return reasoning, text


@pytest.mark.parametrize(("text", "reasoning", "answer"), TABLE)
def test_a_text_is_split_however_it_is_cut(text: str, reasoning: str, answer: str) -> None:
    assert split([text]) == (reasoning, answer)
    assert split(list(text)) == (reasoning, answer)
    assert {split([text[:cut], text[cut:]]) for cut in range(len(text))} <= {(reasoning, answer)}


def test_what_is_sure_is_given_at_once() -> None:
    splitter = Splitter()

    assert [
        list(splitter.feed(piece))
        for piece in ("<think>why", " not</thi", "nk>", "he", "llo ", "you")
    ] == [
        [ReasoningDelta("why")],
        [ReasoningDelta(" not")],
        [],
        [TextDelta("he")],
        [TextDelta("llo")],
        [TextDelta(" you")],
    ]


words = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<sep>",
        "<reasoning>",
        "<",
        ">",
        "a",
        " ",
        "\n",
        "</",
    ]
)


@given(st.lists(words, max_size=12).map("".join), st.data())
def test_cuts_change_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert split(pieces) == split([text])


@pytest.mark.parametrize("piece", [" " * 100_000, "<sep> " * 50_000, "\n<" * 50_000])
def test_blanks_and_separators_are_gone_over_once(piece: str) -> None:
    assert split(["a", piece, "x"]) == ("", f"a{piece}x")


@pytest.mark.parametrize("begin", ["", "a", "<answer>a", "<think>a</think>"])
@pytest.mark.parametrize("piece", [" ", "\n<sep>", " <sep>"])
def test_blanks_without_end_are_given_up(begin: str, piece: str) -> None:
    with pytest.raises(ServiceError, match=r"^the service sent more than 1 MB of blanks in a row$"):
        split([begin, *[piece * 500] * 3000])


@pytest.mark.parametrize("tag", ["<answer>", "<think></think>", "<think>a</think>\n"])
def test_tags_without_end_are_text(tag: str) -> None:
    begin, rest = split([tag * 100]), split([tag * 100_000])

    assert rest == (begin[0], (tag * 99_900).strip())
    assert split([tag * 50_000] * 2) == rest


def test_a_long_answer_is_not_gone_over_again() -> None:
    splitter = Splitter()
    for _ in range(20_000):
        list(splitter.feed("word "))

    assert len(splitter._held) <= len("word ")
