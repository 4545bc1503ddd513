from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reka_cli.errors import ServiceError
from reka_cli.transport.sse import ServerSentEvent, events

BOM = b"\xef\xbb\xbf"


def message(data):
    return ServerSentEvent("message", data)


def named(event, data):
    return ServerSentEvent(event, data)


STREAMS = {
    "nothing": (b"", []),
    "a_blank_line": (b"\n", []),
    "one_event": (b"data: a\n\n", [message("a")]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [message("a"), message("b")]),
    "cr": (b"data: a\r\rdata: b\r\r", [message("a"), message("b")]),
    "mixed_ends": (
        b"data: a\r\n\ndata: b\n\rdata: c\r\r\ndata: d\n\r\n",
        [message(data) for data in "abcd"],
    ),
    "cr_then_crlf_is_two_ends": (b"data: a\r\r\ndata: b\n\n", [message("a"), message("b")]),
    "lf_then_cr_is_two_ends": (b"data: a\n\rdata: b\n\n", [message("a"), message("b")]),
    "a_mark_of_byte_order": (BOM + b"data: a\n\n", [message("a")]),
    "only_a_mark_of_byte_order": (BOM, []),
    "half_a_mark_of_byte_order": (BOM[:2], [named("", "\ufffd")]),
    "only_the_first_mark_of_byte_order_goes": (
        BOM + BOM + b"data: a\n\ndata: b\n\n",
        [named("", "\ufeffdata: a"), message("b")],
    ),
    "a_mark_of_byte_order_in_data_stays": (b"data: " + BOM + b"a\n\n", [message("\ufeffa")]),
    "a_mark_of_byte_order_before_bare_json": (BOM + b'{"a": 1}\n', [message('{"a": 1}')]),
    "comments": (b": ping\n\n:\n\ndata: a\n:data: x\n: event: x\n\n", [message("a")]),
    "several_data_lines": (b"data: a\ndata: b\ndata: c\n\n", [message("a\nb\nc")]),
    "several_data_lines_by_crlf": (b"event: x\r\ndata: a\r\ndata: b\r\n\r\n", [named("x", "a\nb")]),
    "several_data_lines_by_cr": (b"event: x\rdata: a\rdata: b\r\r", [named("x", "a\nb")]),
    "data_lines_with_others_between": (b"data: a\nid: 1\n: ping\ndata: b\n\n", [message("a\nb")]),
    "no_blank_after_the_colon": (b"data:a\n\n", [message("a")]),
    "two_blanks_after_the_colon": (b"data:  a\n\n", [message(" a")]),
    "a_tab_after_the_colon": (b"data:\ta\n\n", [message("\ta")]),
    "blanks_at_the_end_stay": (b"data: a \n\n", [message("a ")]),
    "a_colon_in_the_data": (b"data: a: b:c\n\n", [message("a: b:c")]),
    "data_without_a_colon": (b"data\n\n", [message("")]),
    "data_without_a_value": (b"data:\n\n", [message("")]),
    "two_empty_data_lines": (b"data\ndata\n\n", [message("\n")]),
    "a_blank_before_the_field": (b" data: a\n\n", [named("", " data: a")]),
    "a_field_in_capitals": (b"DATA: a\n\n", [named("", "DATA: a")]),
    "an_event_name": (b"event: delta\ndata: a\n\n", [named("delta", "a")]),
    "an_event_name_after_the_data": (b"data: a\nevent: delta\n\n", [named("delta", "a")]),
    "the_last_of_two_names": (b"event: x\nevent: y\ndata: a\n\n", [named("y", "a")]),
    "an_empty_event_name": (b"event:\ndata: a\n\n", [message("a")]),
    "a_name_holds_for_one_event": (
        b"event: x\ndata: a\n\ndata: b\n\n",
        [named("x", "a"), message("b")],
    ),
    "a_name_without_data_is_forgotten": (b"event: x\n\ndata: b\n\n", [message("b")]),
    "a_field_error": (
        b'error: {"code": 1}\n\ndata: a\n\n',
        [named("error", '{"code": 1}'), message("a")],
    ),
    "a_field_error_is_an_event_of_its_own": (
        b"data: a\nerror: b\ndata: c\n\n",
        [message("a"), named("error", "b"), message("c")],
    ),
    "a_field_error_after_the_name": (b"event: error\nerror: a\n\n", [named("error", "a")]),
    "a_field_error_before_the_end": (b"error:a", [named("error", "a")]),
    "two_fields_error": (b"error: a\nerror: b\n\n", [named("error", "a"), named("error", "b")]),
    "a_field_error_without_a_value": (b"error\n\n", [named("error", "")]),
    "bare_json_after_the_name_error": (
        b'event: error\n{"a": 1}\n\n{"a": 2}\n',
        [named("error", '{"a": 1}'), message('{"a": 2}')],
    ),
    "the_name_error_without_data": (
        b"event: error\n\ndata: a\n\n",
        [named("error", ""), message("a")],
    ),
    "the_name_error_at_the_end": (b"data: a\n\nevent: error", [message("a"), named("error", "")]),
    "the_name_error_replaced": (b"event: error\nevent: x\n\n", []),
    "unknown_fields": (
        b"datax: a\ndata: a\nfoo\nx: y\n\n",
        [named("", "datax: a"), named("", "foo"), named("", "x: y"), message("a")],
    ),
    "a_field_error_in_capitals": (b"Error: a\n\n", [named("error", "a")]),
    "the_name_error_in_capitals": (b"event: ERROR\ndata: a\n\n", [named("error", "a")]),
    "id_and_retry": (b"id: 7\nretry: 10\ndata: a\n\nid\nretry: x\n\n", [message("a")]),
    "no_blank_line_at_the_end": (b"data: a\n\ndata: b\n", [message("a"), message("b")]),
    "no_line_end_at_the_end": (b"data: a\n\nevent: x\ndata: b", [message("a"), named("x", "b")]),
    "only_a_name_at_the_end": (b"data: a\n\nevent: x\n", [message("a")]),
    "a_bare_line_of_json": (
        b'{"type": "model", "text": "hi: there"}\n',
        [message('{"type": "model", "text": "hi: there"}')],
    ),
    "bare_json_without_its_line_end": (b'{"a": 1}', [message('{"a": 1}')]),
    "bare_json_between_events": (
        b'data: a\n\n{"b": 1}\ndata: c\n\n',
        [message("a"), message('{"b": 1}'), message("c")],
    ),
    "two_bare_lines_of_json": (
        b'{"a": 1}\r\n{"b": 1}\r\n',
        [message('{"a": 1}'), message('{"b": 1}')],
    ),
    "json_in_data_is_no_bare_json": (b'data: {"a": 1}\n\n', [message('{"a": 1}')]),
    "letters_of_several_bytes": ("data: Grüße 🐈\n\n".encode(), [message("Grüße 🐈")]),
    "bytes_that_are_not_utf8": (b"data: a\xff\xc3b\n\n", [message("a\ufffd\ufffdb")]),
    "a_letter_cut_off_by_the_end_of_line": (
        b"data: \xf0\x9f\n\xa6\ndata: b\n\n",
        [named("", "\ufffd"), message("\ufffd\nb")],
    ),
    "line_ends_of_unicode_are_data": (
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(),
        [message("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg")],
    ),
    "nul": (b"data: a\x00b\n\n", [message("a\x00b")]),
}

parts = [
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"data: a",
        b"data:",
        b"data",
        b"event: x",
        b"event: error",
        b"error: a",
        b"id: 1",
        b": c",
        b'{"a": 1}',
        b" ",
        b":",
    ),
    *(BOM, BOM[:1], "é".encode(), "\u2028".encode(), b"\xff", b"x"),
]
streams = st.lists(st.sampled_from(parts), max_size=20).map(b"".join)


def cut(stream, places):
    edges = [0, *sorted(places), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(edges)]


@pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS)
class TestAStream:
    def test_that_comes_whole_gives_its_events(self, stream, expected):
        assert list(events([stream])) == expected

    def test_cut_in_two_anywhere_gives_the_same_events(self, stream, expected):
        found = [list(events([stream[:place], stream[place:]])) for place in range(len(stream) + 1)]
        assert found == [expected] * (len(stream) + 1)

    def test_that_comes_byte_by_byte_gives_the_same_events(self, stream, expected):
        assert list(events(stream[place : place + 1] for place in range(len(stream)))) == expected

    def test_with_an_empty_chunk_after_each_byte_gives_the_same_events(self, stream, expected):
        assert list(events(cut(stream, [*range(len(stream)), *range(len(stream))]))) == expected


@given(st.data())
def test_wherever_a_stream_is_cut_it_gives_the_same_events(data):
    stream = data.draw(streams)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert list(events(cut(stream, places))) == list(events([stream]))


@given(streams)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_events(stream):
    assert list(events(cut(stream, [*range(len(stream)), *range(len(stream))]))) == list(
        events([stream])
    )


@given(streams)
def test_the_kind_of_line_end_makes_no_difference(stream):
    as_lf = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    whole = list(events([as_lf]))
    assert list(events([as_lf.replace(b"\n", b"\r\n")])) == whole
    assert list(events([as_lf.replace(b"\n", b"\r")])) == whole


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: a\n\n"],
        [b"data: a\n", b"\n"],
        [b"data: a\r", b"\r"],
        [b"data: a\r\n\r"],
        [b'{"a": 1}\n'],
        [b'{"a": 1}\r'],
    ],
    ids=str,
)
def test_an_event_is_given_before_more_is_asked_for(chunks):
    asked = []

    def arriving():
        for chunk in [*chunks, b"\n", b"data: later\n\n"]:
            asked.append(chunk)
            yield chunk

    next(events(arriving()))
    assert asked == chunks


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: ", *[b"x" * 1000] * 17_000],
        [b"data: x\n"] * 300_000,
        [b"data\n"] * 300_000,
        [b"event: ", b"x" * (17 << 20)],
    ],
    ids=["a line", "lines", "lines of nothing", "a name"],
)
def test_an_event_without_end_is_given_up(chunks):
    with pytest.raises(ServiceError, match=r"^the service sent more than 16 MB as one event$"):
        list(events(chunks))


def test_a_line_in_ten_thousand_chunks_is_one_event():
    assert list(events([b"data: ", *[b"abc"] * 10_000, b"\n", b"\n"])) == [message("abc" * 10_000)]
