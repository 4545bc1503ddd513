import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tricks import TRICKS, forbidden

from reka_cli.escapes import LONGEST_STRING, Cleaner, clean

LONG = "x" * LONGEST_STRING

TEXTS = {
    "nothing": ("", ""),
    "plain_text": ("Grüße 🐈 [0m ]52;c", "Grüße 🐈 [0m ]52;c"),
    "tab_and_newline": ("a\tb\nc\n\n", "a\tb\nc\n\n"),
    "crlf": ("a\r\nb\r\n", "a\nb\n"),
    "lone_cr": ("safe\rfake", "safefake"),
    "vertical_tab_and_form_feed": ("a\x0bb\x0cc", "abc"),
    "nul": ("a\x00b", "ab"),
    "bel": ("a\x07b", "ab"),
    "backspace": ("a\x08b", "ab"),
    "del": ("a\x7fb", "ab"),
    "next_line": ("a\x85b", "ab"),
    "beyond_c1_stays": ("a\xa0b\u2028c\u200ed\ufeff", "a\xa0b\u2028c\u200ed\ufeff"),
    "override": ("a\u202eb\u202cc", "a<U+202E>b<U+202C>c"),
    "embeddings": ("\u202aa\u202bb\u202d", "<U+202A>a<U+202B>b<U+202D>"),
    "isolates": ("\u2066a\u2067b\u2068c\u2069", "<U+2066>a<U+2067>b<U+2068>c<U+2069>"),
    "right_to_left_letters_and_marks_stay": (
        "שלום\u200f! مرحبا\u061c\u200e",
        "שלום\u200f! مرحبا\u061c\u200e",
    ),
    "override_within_a_sequence": ("a\x1b[3\u202e1mb", "a3<U+202E>1mb"),
    "half_a_character": ("a\ud83db\udc08", "a\ufffdb\ufffd"),
    "clipboard_ended_by_bel": ("a\x1b]52;c;aGk=\x07b", "ab"),
    "clipboard_ended_by_st": ("a\x1b]52;c;aGk=\x1b\\b", "ab"),
    "clipboard_ended_by_c1_st": ("a\x1b]52;c;aGk=\x9cb", "ab"),
    "clipboard_by_c1_osc": ("a\x9d52;c;aGk=\x07b", "ab"),
    "title": ("\x1b]0;fake title\x07a", "a"),
    "hyperlink": ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
    "two_strings": ("\x1b]0;a\x07b\x1b]0;c\x07d", "bd"),
    "a_string_with_other_letters": ("a\x1b]0;Grüße\t🐈\r\x9b1m\x07b", "ab"),
    "device_control": ("a\x1bP+q544e\x1b\\b", "ab"),
    "c1_device_control": ("a\x90+q544e\x9cb", "ab"),
    "start_of_string": ("a\x1bXhidden\x1b\\b\x98hidden\x9cc", "abc"),
    "privacy_message": ("a\x1b^hidden\x1b\\b\x9ehidden\x9cc", "abc"),
    "application_command": ("a\x1b_Gf=100;AAAA\x1b\\b\x9fhidden\x9cc", "abc"),
    "colors": ("\x1b[1;31mred\x1b[0m", "red"),
    "true_color": ("\x1b[38:2::255:0:0mred\x1b[m", "red"),
    "cursor_and_screen": ("a\x1b[2J\x1b[1;1H\x1b[?25lb", "ab"),
    "intermediate_bytes": ("a\x1b[2 qb\x1b[!pc", "abc"),
    "c1_colors": ("\x9b31mred\x9b0m", "red"),
    "a_csi_cut_off_by_a_letter": ("a\x1b[31éb", "a31éb"),
    "a_csi_cut_off_by_a_newline": ("a\x1b[31\nb", "a31\nb"),
    "a_csi_at_the_end": ("a\x1b[31", "a31"),
    "a_csi_with_the_most_parameters": ("a\x1b[" + "1" * 64 + "mb", "ab"),
    "a_csi_with_too_many_parameters": ("a\x1b[" + "1" * 65 + "mb", "a" + "1" * 65 + "mb"),
    "reset": ("a\x1bcb", "ab"),
    "save_and_restore_cursor": ("a\x1b7b\x1b8c", "abc"),
    "character_set": ("a\x1b(0b\x1b%Gc", "abc"),
    "line_size": ("a\x1b#8b", "ab"),
    "two_escapes": ("a\x1b\x1bcb", "ab"),
    "escape_before_newline": ("a\x1b\nb", "a\nb"),
    "escape_before_letter_of_no_sequence": ("a\x1bé", "aé"),
    "lone_escape_at_the_end": ("a\x1b", "a"),
    "escape_and_intermediate_at_the_end": ("a\x1b(", "a("),
    "what_is_left_makes_no_new_sequence": ("\x1b\x07[31mred\x1b\x1b\x00[0m", "[31mred[0m"),
    "a_string_cut_off_by_another": ("a\x1b]0;b\x1b]0;c\x07d", "a0;bd"),
    "a_string_cut_off_by_a_color": ("a\x1b]0;b\x1b[1mc\x07d", "a0;bcd"),
    "a_string_nobody_ends_at_the_end_of_its_line": ("a\x1b]0;b\nc\x07d", "a0;b\ncd"),
    "a_string_nobody_ends_at_the_end_of_the_text": ("a\x1b]0;b", "a0;b"),
    "a_c1_string_nobody_ends": ("a\x9d0;b\nc", "a0;b\nc"),
    "a_string_whose_end_is_cut_off": ("a\x1b]0;b\x1b", "a0;b"),
    "a_string_of_the_longest_length": (f"a\x1b]{LONG}\x07b", "ab"),
    "a_string_of_the_longest_length_ended_by_st": (f"a\x1b]{LONG}\x1b\\b", "ab"),
    "a_string_longer_than_the_longest": (f"a\x1b]{LONG}x\x07b", f"a{LONG}xb"),
    "a_c1_string_longer_than_the_longest": (f"a\x9d{LONG}x\x9cb", f"a{LONG}xb"),
    "a_string_within_one_that_is_too_long": (f"a\x1b]{LONG}\x9d0;b\x07c", f"a{LONG}c"),
}

parts = [
    *(
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1bP",
        "\x1b\\",
        "\x1bc",
        "\x9b",
        "\x9c",
        "\x9d",
        "\x90",
        "\x07",
        "\x00",
        "\x7f",
        "\x85",
    ),
    *("[", "]", "\\", "3", "1;", "m", "(", " ", "\n", "\r", "\t", "é", "🐈", "52;c;"),
    *(
        "x" * (LONGEST_STRING - 2),
        "x" * (LONGEST_STRING - 1),
        LONG,
        "1" * 60,
        " " * 8,
        "\u202e",
        "\u2069",
        "\ud83d",
    ),
]
texts = st.one_of(
    st.lists(st.sampled_from(parts), max_size=14).map("".join),
    st.text(st.one_of(st.characters(max_codepoint=0xA0), st.characters()), max_size=30),
)


def in_pieces(pieces):
    cleaner = Cleaner()
    return "".join([*map(cleaner.feed, pieces), cleaner.flush()])


def is_safe(text):
    return not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text
    )


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
class TestAText:
    def test_is_cleaned(self, text, expected):
        assert clean(text) == expected

    def test_is_cleaned_the_same_when_it_comes_letter_by_letter(self, text, expected):
        assert in_pieces(text) == expected

    def test_is_cleaned_the_same_when_it_is_cut_in_two(self, text, expected):
        near = [place for place in range(len(text) + 1) if min(place, len(text) - place) < 12]
        found = [in_pieces([text[:place], text[place:]]) for place in near]
        assert found == [expected] * len(near)


def test_every_short_text_is_safe_and_the_same_letter_by_letter():
    letters = "\x1b\x9b\x9d\x07\x9c[]\\1 m\n"
    for drawn in itertools.product(letters, repeat=4):
        whole = clean("".join(drawn))
        assert (in_pieces(drawn), is_safe(whole)) == (whole, True), drawn


@given(st.data())
def test_wherever_a_text_is_cut_it_is_cleaned_the_same_and_safe(data):
    text = data.draw(texts)
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    edges = [0, *sorted(places), len(text)]
    found = in_pieces(text[begin:end] for begin, end in itertools.pairwise(edges))
    assert (found, is_safe(found)) == (clean(text), True)


@given(texts)
def test_a_clean_text_is_left_as_it_is(text):
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("pieces", "given_at_once"),
    [
        (["plain", " text"], ["plain", " text"]),
        (["a\x1b", "[1", "mb"], ["a", "", "b"]),
        (["a\x1b]0;t", "itle", "\x1b", "\\b"], ["a", "", "", "b"]),
        (["a\x1b]0;t", "\nb"], ["a", "0;t\nb"]),
        (["a\x9d" + LONG, "x", "y"], ["a", LONG + "x", "y"]),
        (["a\r", "\nb"], ["a", "\nb"]),
    ],
    ids=[
        "plain_text",
        "a_color",
        "a_title",
        "a_title_nobody_ends",
        "a_title_too_long",
        "a_line_end",
    ],
)
def test_only_what_may_be_a_sequence_is_held_back(pieces, given_at_once):
    cleaner = Cleaner()
    assert [cleaner.feed(piece) for piece in pieces] == given_at_once


def test_what_was_held_back_is_given_once():
    cleaner = Cleaner()
    assert [cleaner.feed("a\x1b]0;t"), cleaner.flush(), cleaner.flush()] == ["a", "0;t", ""]


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_no_trick_gets_through_wherever_it_is_cut(trick):
    places = (
        range(len(trick) + 1)
        if len(trick) < 100
        else [0, 1, 2, 3, 4095, 4096, 4097, 4098, 4099, 4100, len(trick)]
    )
    found = {in_pieces(["a" + trick[:place], trick[place:] + "b"]) for place in places}

    assert (len(found), forbidden("".join(found))) == (1, [])
