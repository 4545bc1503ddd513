"""Markdown that streams: what is left on the terminal is what the whole answer would have been."""

from __future__ import annotations

import re

import pytest
from benchmarks.markdown import answer
from hypothesis import given
from hypothesis import strategies as st
from screens import Emulator, at_once, palette, pieces, streamed

from reka_cli.render.markdown.page import Page, TerminalInfo

SIZES = [(80, 24), *(pytest.param(size, marks=pytest.mark.slow) for size in ((30, 8), (120, 40)))]
# fmt: off
HAZARDS = {
    'reference defined before use': '[1]: https://x.y/z\n\nSee [docs][1] now.\n',
    'loose list': '- a\n- b\n\n- c\n\npara\n',
    'list item with paragraphs': '- a\n\n  second\n\n- b\n\ntext\n',
    'ordered, blank between': '1. a\n\n2. b\n\n3. c\n\nend\n',
    'ordered 9 -> 12 items': '1. item 1\n2. item 2\n3. item 3\n4. item 4\n5. item 5\n6. item 6\n7. item 7\n8. item 8\n9. item 9\n10. item 10\n11. item 11\n12. item 12\n\nend\n',
    'ordered from 98': '98. item 98\n99. item 99\n100. item 100\n101. item 101\n102. item 102\n\nend\n',
    'nested list': '- a\n  - b\n    - c\n- d\n\n  1. x\n  2. y\n\nend\n',
    'setext headings': 'Title\n=====\n\nSub\n---\n\ntext\n\n---\n\nend\n',
    'paragraph then dash': 'foo\n- bar\n- baz\n',
    'table growing': '| a | b |\n|---|---|\n| 1 | 2 |\n| a much longer cell here | x |\n\nend\n',
    'table after paragraph': 'text\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend\n',
    'nested fences': '````md\n```py\nx = 1\n```\nstill code\n````\n\nend\n',
    'tilde fence': '~~~\na\n```\nb\n~~~\nend\n',
    'fence inside list': '- item\n\n  ```py\n  x = 1\n\n  y = 2\n  ```\n- next\n\nend\n',
    'fence between list items': '1. a\n```sh\nls -la\n```\n2. b\n\nend\n',
    'unclosed fence': "text\n\n```python\ndef f():\n    '''doc\n    more\n    '''\n    return 1\n",
    'fence with docstring': '```python\ndef f():\n    """doc\n\n    more text\n    """\n    return 1\n\nx = f()\n```\n\nend\n',
    'empty fence': '```\n```\n\nend\n',
    'html block': '<details>\n<summary>s</summary>\n\ninner\n\n</details>\n\nend\n',
    'lazy quote': '> a\nb\n\n> c\n>\n> d\n\nend\n',
    'emphasis closing later': 'some **bold that\nruns over\nlines** here\n\nend\n',
    'hard breaks': 'one  \ntwo\\\nthree\n\nend\n',
    'tabs': '- a\n\tcont\n\n\tcode\n\nend\n',
    'long url': 'https://example.com/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\nend\n',
    'indented code': 'para\n\n    code 1\n\n    code 2\n\nend\n',
    'stars': '* * *\n\n* a\n* b\n\n***\n\nend\n',
    'heading without blank': '# H\ntext\n## H2\n- a\n# H3\n',
    'html comment': '<!-- c -->\n\ntext\n\nend\n',
    'leading list': '- first\n- second\n\nend\n',
    'wide characters': '日本語テキスト、ｗｉｄｅ。 combining é end\n\n- 日本語\n- ok\n\nend\n',
    'a word longer than lines': 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx end\n\nend\n',
    'deep list': '- level 0\n  - level 1\n    - level 2\n      - level 3\n        - level 4\n          - level 5\n            - level 6\n              - level 7\n                - level 8\n                  - level 9\n                    - level 10\n                      - level 11\n\nend\n',
    'deep quote': '> level 0\n\n>> level 1\n\n>>> level 2\n\n>>>> level 3\n\n>>>>> level 4\n\n>>>>>> level 5\n\n>>>>>>> level 6\n\n>>>>>>>> level 7\n\nend\n',
    'quote with list and code': '> - a\n>   ```py\n>   x = 1\n>   ```\n> - b\n\nend\n',
    'html inline': 'one<br>two <b>bold</b> <span>x</span>\n\nend\n',
    'strikethrough': '~~gone~~ here\n\nend\n',
    'task list': '- [x] done\n- [ ] open\n\nend\n',
    'image': '![a cat](https://x.y/cat.jpg) end\n\nend\n',
    'link with another target': 'see [docs](https://x.y/z) and <https://a.b>\n\nend\n',
    'escapes and entities': '\\*no\\* &amp; &lt;b&gt; &copy; 1 \\< 2\n\nend\n',
    'table in a list': '- a\n\n  | x | y |\n  |---|---|\n  | 1 | 2 |\n\n- b\n\nend\n',
    'table with too many cells': '| a | b |\n|---|---|\n| 1 | 2 | 3 |\n\nend\n',
    'table of one column': '| a |\n|---|\n| 1 |\n| 22 |\n\nend\n',
    'headings': '# one\n\n## two\n\n### three\n\n#### four\n\nend\n',
    'no newline at the end': 'just one line',
    'blanks only at the end': 'text   \n\n\n\n',
    'a paragraph of many lines': 'word0 word1 word2 word3 word4 word5 word6 word7 word8 word9 word10 word11 word12 word13 word14 word15 word16 word17 word18 word19 word20 word21 word22 word23 word24 word25 word26 word27 word28 word29 word30 word31 word32 word33 word34 word35 word36 word37 word38 word39 word40 word41 word42 word43 word44 word45 word46 word47 word48 word49 word50 word51 word52 word53 word54 word55 word56 word57 word58 word59 word60 word61 word62 word63 word64 word65 word66 word67 word68 word69 word70 word71 word72 word73 word74 word75 word76 word77 word78 word79 word80 word81 word82 word83 word84 word85 word86 word87 word88 word89 word90 word91 word92 word93 word94 word95 word96 word97 word98 word99 word100 word101 word102 word103 word104 word105 word106 word107 word108 word109 word110 word111 word112 word113 word114 word115 word116 word117 word118 word119 word120 word121 word122 word123 word124 word125 word126 word127 word128 word129 word130 word131 word132 word133 word134 word135 word136 word137 word138 word139 word140 word141 word142 word143 word144 word145 word146 word147 word148 word149\n\nend\n',
    'code longer than the screen': '```py\nx0 = 0\nx1 = 1\nx2 = 2\nx3 = 3\nx4 = 4\nx5 = 5\nx6 = 6\nx7 = 7\nx8 = 8\nx9 = 9\nx10 = 10\nx11 = 11\nx12 = 12\nx13 = 13\nx14 = 14\nx15 = 15\nx16 = 16\nx17 = 17\nx18 = 18\nx19 = 19\nx20 = 20\nx21 = 21\nx22 = 22\nx23 = 23\nx24 = 24\nx25 = 25\nx26 = 26\nx27 = 27\nx28 = 28\nx29 = 29\nx30 = 30\nx31 = 31\nx32 = 32\nx33 = 33\nx34 = 34\nx35 = 35\nx36 = 36\nx37 = 37\nx38 = 38\nx39 = 39\nx40 = 40\nx41 = 41\nx42 = 42\nx43 = 43\nx44 = 44\nx45 = 45\nx46 = 46\nx47 = 47\nx48 = 48\nx49 = 49\nx50 = 50\nx51 = 51\nx52 = 52\nx53 = 53\nx54 = 54\nx55 = 55\nx56 = 56\nx57 = 57\nx58 = 58\nx59 = 59\n```\n\nend\n',
    'list longer than the screen': '- item 0\n- item 1\n- item 2\n- item 3\n- item 4\n- item 5\n- item 6\n- item 7\n- item 8\n- item 9\n- item 10\n- item 11\n- item 12\n- item 13\n- item 14\n- item 15\n- item 16\n- item 17\n- item 18\n- item 19\n- item 20\n- item 21\n- item 22\n- item 23\n- item 24\n- item 25\n- item 26\n- item 27\n- item 28\n- item 29\n- item 30\n- item 31\n- item 32\n- item 33\n- item 34\n- item 35\n- item 36\n- item 37\n- item 38\n- item 39\n- item 40\n- item 41\n- item 42\n- item 43\n- item 44\n- item 45\n- item 46\n- item 47\n- item 48\n- item 49\n- item 50\n- item 51\n- item 52\n- item 53\n- item 54\n- item 55\n- item 56\n- item 57\n- item 58\n- item 59\n\nend\n',
}
# fmt: on
CONTROL = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?2026[hl]|\x1b\[\d*[AJ]|\r\n|\r|\n")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("case", HAZARDS)
def test_a_character_at_a_time_leaves_what_the_whole_does(case: str, size: tuple[int, int]) -> None:
    assert streamed(HAZARDS[case], *size) == at_once(HAZARDS[case], size[0])


def test_a_link_whose_address_comes_later_stays_as_it_was_written() -> None:
    text = "See [docs][1] now.\n\nMore text.\n\n[1]: https://x.y/z\n"

    assert streamed(text, 80, 24) == [
        "See [docs][1] now.",
        "",
        "More text.",
        "",
        "[1]: https://x.y/z",
    ]


class TestLength:
    """Costs are counted, not timed: what is read, erased and written must grow as the answer does."""

    def counted(self, text: str) -> tuple[int, int, int]:
        """Characters read, lines erased, characters written."""
        page, written = Page(palette(), TerminalInfo(80, 24)), 0
        for piece in pieces(text, 28):  # some 15 frames a second of a fast model
            page.feed(piece)
            written += len(page.frame())
        return page.draft.characters, page.screen.erased, written + len(page.end())

    def test_cost_grows_as_the_answer_does(self) -> None:
        small, large = (self.counted(answer(size)) for size in (5_000, 25_000))

        assert [more <= 6 * less for less, more in zip(small, large, strict=True)] == [True] * 3

    @pytest.mark.parametrize(
        "block",
        [
            "word " * 2000,
            "```py\n" + "x = 1\n" * 1500,
            "- item\n" * 1250,
            "| a | b |\n|---|---|\n" + "| one | two |\n" * 750,
            "> quoted words\n" * 650,
        ],
        ids=["paragraph", "code", "list", "table", "quote"],
    )
    def test_so_it_does_for_a_single_block(self, block: str) -> None:
        short = self.counted(block[: len(block) // 4])
        whole = self.counted(block)

        assert [more <= 5 * less + 5000 for less, more in zip(short, whole, strict=True)] == [
            True
        ] * 3

    def test_few_bytes_are_written_and_few_lines_erased(self) -> None:
        text = answer(10_000)
        _, erased, written = self.counted(text)

        assert written <= 30 * len(text)
        assert erased < 1000

    def test_the_newest_word_is_always_in_sight(self) -> None:
        text = " ".join(
            f"q{number:04d}" + ("\n\n" if number % 40 == 0 else "") for number in range(800)
        )
        page, emulator = Page(palette(), TerminalInfo(80, 24)), Emulator(80, 24)
        came, missed = "", 0
        for piece in pieces(text, 12):
            came += piece
            page.feed(piece)
            emulator.feed(page.frame())
            newest = re.findall(r"q\d{4}(?=\s)", came)
            missed += bool(newest) and newest[-1] not in " ".join(emulator.screen)

        assert missed == 0


class TestScreen:
    @pytest.mark.parametrize(
        "columns",
        [
            20,
            *(pytest.param(columns, marks=pytest.mark.slow) for columns in (40, 79, 81, 200)),
            400,
        ],
    )
    def test_any_width_leaves_what_the_whole_does(self, columns: int) -> None:
        text = answer(4000)

        assert streamed(text, columns, 12, size=9) == at_once(text, columns)

    def test_a_resize_while_it_streams_loses_and_repeats_nothing(self) -> None:
        words = [f"w{number:03d}" for number in range(300)]
        text = "\n\n".join(" ".join(words[at : at + 30]) for at in range(0, 300, 30))
        page, emulator = Page(palette(), TerminalInfo(80, 24)), Emulator(80, 24)
        for number, piece in enumerate(pieces(text, 15)):
            # only larger: the emulator forgets what it has no room for, as no terminal does
            look = TerminalInfo(
                100 if number > 50 else 80, 30 if number > 80 else 24, reflows=False
            )
            if number in (51, 81):
                emulator.resize(look.columns, look.rows)
            page.feed(piece)
            emulator.feed(page.frame(look))
        emulator.feed(page.end())

        assert re.findall(r"w\d{3}", " ".join(emulator.everything)) == words

    def test_a_row_for_which_the_columns_are_too_narrow_is_text(self) -> None:
        rows = "".join(f"| r{number:02d} | |\n" for number in range(30))
        shown = streamed(f"| a | b |\n|---|---|\n{rows}| last | a cat on a wall |\n", 40, 10)

        assert shown[-2:] == ["r29", "last | a cat on a wall"]

    @pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 4])
    @pytest.mark.parametrize("case", HAZARDS)
    def test_a_screen_of_two_lines_shows_every_word(self, case: str, size: int) -> None:
        shown = "".join(streamed(HAZARDS[case], 30, 2, size))
        words = re.findall(r"\w+", " ".join(at_once(HAZARDS[case], 30)))

        assert [word for word in words if word not in shown] == []

    def test_a_table_taller_than_the_screen_loses_no_row(self) -> None:
        text = "| a | b |\n|---|---|\n" + "".join(
            f"| r{number:02d} | {'x' * (number % 30)} |\n" for number in range(50)
        )
        shown = " ".join(streamed(text, 40, 10, size=5))

        assert re.findall(r"\br\d+\b", shown) == [f"r{number:02d}" for number in range(50)]

    def test_nothing_is_addressed_where_nothing_can_be_repainted(self) -> None:
        page = Page(palette(None), TerminalInfo(80, 24, repaints=False))
        written = ""
        for piece in pieces(answer(3000), 7):
            page.feed(piece)
            written += page.frame()
        written += page.end()

        assert "\x1b" not in written
        assert written.replace("\r\n", "\n").split("\n")[:-1] == at_once(answer(3000), 80)


MARKDOWN = st.lists(
    st.sampled_from(
        ["# ", "- ", "1. ", "> ", "```", "~~~\n", "    ", "| a | b |\n|---|---|\n", "| ", " | ", "\n", "\n\n", "**", "*", "_", "`", "[x]", "(y)", "![", "](", "<b>", "<!--", "-->", "\\", "&amp;", "---\n", "===\n", "[a]: b\n", "word", "two words ", "日本", "\t", "  ", ":", "1", "2) ", "+ ", "~~"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@given(MARKDOWN, st.integers(1, 7))
def test_whatever_it_is_no_control_comes_from_it(text: str, size: int) -> None:
    page, written = Page(palette(), TerminalInfo(30, 8)), ""
    for piece in pieces(text, size):
        page.feed(piece)
        written += page.frame()
    written += page.end()

    assert re.sub(r"[\x00-\x1f\x7f-\x9f]", "!", CONTROL.sub("", written)) == CONTROL.sub(
        "", written
    )


@given(MARKDOWN, st.integers(1, 7))
def test_whatever_it_is_every_word_is_shown_once(text: str, size: int) -> None:
    shown = "".join("".join(streamed(text, 400, 30, size)).split())

    assert [shown.count(word) for word in ("word", "twowords")] == [
        text.count("word"),
        text.count("two words"),
    ]


class TestForeignText:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a&#27;]0;x&#7;b", "a\ufffd]0;x\ufffdb"),
            ("&#x9b;31mred", "\ufffd31mred"),
            ("[docs](https://evil.example)", "docs (https://evil.example)"),
            ("[https://good.example](https://evil.example)", "https://good.example (https://evil.example)"),
            ("<https://good.example>", "https://good.example"),
            ("![cat](https://x.y/cat.jpg)", "cat (https://x.y/cat.jpg)"),
            ("abc\u202etxt.exe", "abc<U+202E>txt.exe"),
            ("<details><summary>s</summary>hidden</details>", "<details><summary>s</summary>hidden</details>"),
        ],
    )  # fmt: skip
    def test_it_is_shown_as_what_it_is(self, text: str, shown: str) -> None:
        assert at_once(text, 80) == [shown]

    def test_the_info_of_a_code_block_controls_nothing(self) -> None:
        assert "\x1b[31m" not in "".join(streamed("```py&#27;[31m\nx\n```\n", 80, 24))


@pytest.mark.parametrize(
    "text", ["x" * 200_000, "word " * 40_000, "`" + "x " * 100_000], ids=["word", "words", "code"]
)
def test_a_block_without_end_is_not_kept_back_where_nothing_is_repainted(text: str) -> None:
    page, written = Page(palette(None), TerminalInfo(80, 24, repaints=False)), ""
    for piece in pieces(text, 500):
        page.feed(piece)
        written += page.frame()
    before_the_end = len(written)
    written += page.end()

    assert "".join(written.split()) == "".join(text.split())
    assert before_the_end > len(text) // 2
    assert page.draft.characters < 12 * len(text)


@pytest.mark.parametrize("line", ["** a", "[", "***", "<br>", "`a", "_ b *", "- a", "> a"])
def test_lines_of_punctuation_in_a_pipe_cost_the_same_however_many_they_are(line: str) -> None:
    costs = []
    for count in (500, 2_000):
        text = f"{line}\n" * count
        page = Page(palette(None), TerminalInfo(80, 24, repaints=False))
        for piece in pieces(text, 8):
            page.feed(piece)
            page.frame()
        page.end()
        costs.append(page.draft.characters / len(text))

    assert costs[1] < 1.5 * costs[0] + 10


@pytest.mark.parametrize(
    ("columns", "rows", "text"),
    [
        (30, 8, "| a | b |\n|---|---|\n| " + "x" * 300 + " | beside |\n\nend\n"),
        (
            80,
            24,
            "|"
            + "h|" * 30
            + "\n|"
            + "-|" * 30
            + "\n|"
            + "".join(f"cell{n:02d}|" for n in range(30))
            + "\n\nend\n",
        ),
    ],
    ids=["a tall cell", "thirty columns"],
)
def test_a_row_taller_than_the_screen_loses_no_cell(columns: int, rows: int, text: str) -> None:
    shown = "".join("".join(streamed(text, columns, rows)).split())

    assert [word for word in re.findall(r"beside|cell\d\d|end", text) if word not in shown] == []
