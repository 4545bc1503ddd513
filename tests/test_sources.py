"""What a user may name as an image is found, and nothing else is."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CAT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from reka_cli.errors import BadInput, DeadlineExceeded, RekaError, UsageError
from reka_cli.escapes import one_line
from reka_cli.images.file_content import MAX_IMAGE_BYTES, FoundImage, InMemory, OnDisk
from reka_cli.images.sources import find, reads_stdin
from reka_cli.limits.deadline import Deadline

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with images and other things in it."""
    folder = tmp_path / "here"
    for name in (
        "cat.png",
        "photos/2.png",
        "photos/10.png",
        "photos/.hidden.png",
        "photos/deep/3.png",
        "photos/.git/4.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PIXEL)
    (folder / "photos/notes.txt").write_text("no image")
    (folder / "photos/broken.jpg").write_text("no image, but its name says so")
    (folder / "photos/no-suffix").write_bytes(PIXEL)
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    return folder


def on_disk(path: str, name: str | None = None, **more: str) -> FoundImage:
    return FoundImage(OnDisk.at(Path(path)), name or Path(path).name, **more)


class TestPaths:
    @pytest.mark.parametrize("source", ["cat.png", "./cat.png", Path("cat.png")])
    def test_a_file_stays_on_disk(self, folder: Path, source: str | Path) -> None:
        assert list(find(source)) == [FoundImage(OnDisk.at(Path(source)), "cat.png")]

    def test_a_folder_gives_its_images_as_a_person_would_sort_them(self, folder: Path) -> None:
        names = [found.name for found in find("photos")]

        assert names == ["2.png", "10.png", "broken.jpg", "no-suffix"]

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("photos/*.png", ["2.png", "10.png"]),
            ("photos/[0-9]*", ["2.png", "10.png"]),
            ("photos/?.png", ["2.png"]),
            ("photos/.*.png", [".hidden.png"]),
            ("photos/*", ["2.png", "10.png", "broken.jpg", "no-suffix", "notes.txt"]),
            ("**/*.png", ["cat.png", "2.png", "10.png", "3.png"]),
            ("photos/**", ["2.png", "10.png", "broken.jpg", "3.png", "no-suffix", "notes.txt"]),
        ],
    )
    def test_a_glob_gives_what_it_matches(
        self, folder: Path, pattern: str, names: list[str]
    ) -> None:
        assert [found.name for found in find(pattern)] == names
        assert [found.name for found in find(f"{folder}/{pattern}")] == names

    def test_a_file_that_is_called_like_a_glob_is_that_file(self, folder: Path) -> None:
        shutil.copy("cat.png", "*.png")

        assert list(find("*.png")) == [on_disk("*.png")]

    def test_a_link_to_its_own_folder_is_not_followed_for_ever(self, folder: Path) -> None:
        for name in ("here", "again"):
            (folder / "photos/deep" / name).symlink_to(folder)

        assert [found.name for found in find("photos/**/*.png")] == ["2.png", "10.png", "3.png"]

    def test_a_tilde_that_no_shell_expanded_is_the_home(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(folder))

        assert list(find("~/cat.png")) == [FoundImage(OnDisk.at(folder / "cat.png"), "cat.png")]

    def test_a_file_url_names_a_path(self, folder: Path) -> None:
        (folder / "a b#1.png").write_bytes(PIXEL)

        assert list(find(f"file://{folder}/a%20b%231.png")) == [
            FoundImage(OnDisk.at(folder / "a b#1.png"), "a b#1.png")
        ]

    def test_a_device_is_read_as_far_as_an_image_may_go(self) -> None:
        assert list(find("/dev/zero")) == [FoundImage(InMemory(bytes(MAX_IMAGE_BYTES + 1)), "zero")]

    def test_a_pipe_that_says_nothing_is_given_up_at_the_deadline(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DeadlineExceeded) as caught:
            list(find(str(tmp_path / "pipe"), Deadline.after(0.1)))

        assert caught.value.message == f"nothing came from {tmp_path}/pipe within 0.1 s"

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("missing.png", "cannot read missing.png: no such file"),
            ("cat.png/x", "cannot read cat.png/x: no such file"),
            (Path("*.png"), "cannot read *.png: no such file"),
            ("photos/*.gif", "no file matches photos/*.gif"),
            ("photos/**.png", "cannot search for photos/**.png: invalid pattern: '**' can only be an entire path component"),
            ("empty", "empty holds no image"),
            ("~nobody-of-this-name/x.png", "cannot read ~nobody-of-this-name/x.png: no such file"),
            ("photo#1.png", "cannot read photo#1.png: no such file"),
            ("#page=2", "cannot read #page=2: no such file"),
            ("a\0b.png", "cannot read ab.png: embedded null byte"),
            ("x" * 300 + ".png", f"cannot read {'x' * 150}…{'x' * 145}.png: file name too long"),
            ("", "the name of an image is empty"),
            ("ftp://host/x.png", "ftp://host/x.png: a URL must be one of http or https"),
            ("file://elsewhere/x.png", "a file: URL can only name a file of this machine"),
            ("file:///missing.png", "cannot read /missing.png: no such file"),
        ],
    )  # fmt: skip
    def test_what_is_not_there_is_said(
        self, folder: Path, source: str | Path, message: str
    ) -> None:
        with pytest.raises(BadInput) as caught:
            list(find(source))

        assert caught.value.message == message

    def test_more_images_than_a_question_takes_are_refused(self, folder: Path) -> None:
        for number in range(101):
            (folder / "empty" / f"{number}.png").write_bytes(PIXEL)
        with pytest.raises(BadInput, match=r"^empty holds 101 images: at most 100 a question$"):
            list(find("empty"))


class TestNamesAndParts:
    @pytest.mark.parametrize(
        ("source", "name", "more"),
        [
            ("before=cat.png", "cat.png", {"label": "before"}),
            ("A-1_b=cat.png", "cat.png", {"label": "A-1_b"}),
            ("cat.png#page=2", "cat.png#page=2", {"fragment": "page=2"}),
            ("cat.png#xywh=percent:10,10,50,50", "cat.png#xywh=percent:10,10,50,50", {"fragment": "xywh=percent:10,10,50,50"}),
            ("x=cat.png#page=2&xywh=0,0,1,1", "cat.png#page=2&xywh=0,0,1,1", {"label": "x", "fragment": "page=2&xywh=0,0,1,1"}),
        ],
    )  # fmt: skip
    def test_an_image_may_have_a_name_and_be_a_part(
        self, folder: Path, source: str, name: str, more: dict[str, str]
    ) -> None:
        assert list(find(source)) == [on_disk("cat.png", name, **more)]

    @pytest.mark.parametrize("name", ["before=cat.png", "cat.png#page=2", "clipboard", "a=b=c"])
    def test_a_file_that_is_called_so_is_that_file(self, folder: Path, name: str) -> None:
        (folder / name).write_bytes(PIXEL)

        assert list(find(name)) == [on_disk(name)]

    def test_every_image_of_a_folder_or_a_glob_gets_the_name_and_the_part(
        self, folder: Path
    ) -> None:
        assert list(find("x=photos/*.png#xywh=0,0,1,1")) == [
            on_disk(f"photos/{name}", f"{name}#xywh=0,0,1,1", label="x", fragment="xywh=0,0,1,1")
            for name in ("2.png", "10.png")
        ]

    def test_a_name_has_letters_digits_dash_and_underscore_alone(self, folder: Path) -> None:
        with pytest.raises(BadInput, match=r"^cannot read b.c=cat.png: no such file$"):
            list(find("b.c=cat.png"))

    @pytest.mark.parametrize(
        ("file_name", "shown"),
        [
            ("a\nb\t.png", "a b .png"),
            ("\x1b]52;c;aGk=\x07\x1b[2Jcat.png", "cat.png"),
            ("caf\udce9.png", "caf\ufffd.png"),
            ("a\u202egnp.exe", "a<U+202E>gnp.exe"),
            ("\u202f\x01", "image"),
            ("x" * 100 + "é" * 50 + ".png", "x" * 40 + "…" + "é" * 35 + ".png"),
        ],
    )
    def test_a_name_is_shown_clean_and_short(
        self, folder: Path, file_name: str, shown: str
    ) -> None:
        (folder / file_name).write_bytes(PIXEL)

        assert [found.name for found in find(Path(file_name))] == [shown]

    def test_a_part_with_control_characters_is_shown_without(self, folder: Path) -> None:
        assert [found.name for found in find("cat.png#x=\x1b[2J\n1")] == ["cat.png#x= 1"]

    def test_a_line_that_is_just_short_enough_is_left(self) -> None:
        assert one_line("x" * 80) == "x" * 80
        assert len(one_line("x" * 81)) == 80


class TestDataUrls:
    @pytest.mark.parametrize(
        ("url", "data"),
        [
            (f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}", PIXEL),
            ("DATA:;BASE64,aGk", b"hi"),
            ("data:image/png;base64,aG%6B%3D\n", b"hi"[:1] + b"i"),
            ("data:image/svg+xml,%3Csvg/%3E", b"<svg/>"),
            ("data:,", b""),
        ],
    )
    def test_what_they_hold_is_found(self, url: str, data: bytes) -> None:
        assert list(find(url)) == [FoundImage(InMemory(data), "image")]

    def test_they_may_have_a_name_and_be_a_part(self) -> None:
        found = FoundImage(InMemory(b"hi"), "image#page=1", "x", "page=1")

        assert list(find("x=data:;base64,aGk=#page=1")) == [found]

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("data:image/png;base64,secret***", "the data URL of an image is not base64"),
            ("data:image/png;base64,aGkxx", "the data URL of an image is not base64"),
            ("data:secret", "a data URL has no comma: data:image/png;base64,..."),
        ],
    )
    def test_a_wrong_one_is_refused_without_repeating_it(self, url: str, message: str) -> None:
        with pytest.raises(BadInput) as caught:
            list(find(url))

        assert caught.value.message == message


class TestStandardInput:
    @pytest.mark.parametrize(
        ("source", "found"),
        [
            ("-", FoundImage(InMemory(PIXEL), "standard input")),
            ("x=-", FoundImage(InMemory(PIXEL), "standard input", "x")),
            ("-#page=2", FoundImage(InMemory(PIXEL), "standard input#page=2", None, "page=2")),
        ],
    )
    def test_a_dash_is_what_comes_there(self, source: str, found: FoundImage) -> None:
        assert reads_stdin(source)
        assert list(find(source, stdin=lambda: PIXEL)) == [found]

    @pytest.mark.parametrize(
        "source", ["cat.png", "clipboard", "x=y", "x=--", "--", b"-", Path("-")]
    )
    def test_nothing_else_is(self, source: object) -> None:
        assert not reads_stdin(source)

    def test_a_file_that_is_called_so_does_not_count(self, folder: Path) -> None:
        for name in ("-", "x=-"):
            (folder / name).write_bytes(PIXEL)

        assert (reads_stdin("-"), reads_stdin("x=-")) == (True, False)

    def test_a_library_does_not_read_it(self) -> None:
        with pytest.raises(UsageError, match=r"^- is standard input, which is not read here$"):
            list(find("-"))


class TestOpenFiles:
    def test_bytes_and_open_files_are_taken(self, folder: Path) -> None:
        with (folder / "cat.png").open("rb") as file:
            assert list(find(file)) == [FoundImage(InMemory(PIXEL), "cat.png")]
        assert list(find(io.BytesIO(PIXEL))) == [FoundImage(InMemory(PIXEL), "image")]
        assert (
            list(find(PIXEL))
            == list(find(bytearray(PIXEL)))
            == [FoundImage(InMemory(PIXEL), "image")]
        )  # type: ignore[arg-type]

    def test_a_file_opened_as_text_is_refused(self) -> None:
        with pytest.raises(BadInput, match='open it with "rb"'):
            list(find(io.StringIO("x")))  # type: ignore[arg-type]

    def test_one_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        with (
            (tmp_path / "x.png").open("wb") as file,
            pytest.raises(BadInput, match=r"x.png is not open for reading"),
        ):
            list(find(file))


class TestClipboard:
    @pytest.fixture
    def tool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Put a program on the path that gives one answer for each type, and the list of these for `lists`."""
        programs = tmp_path / "bin"
        programs.mkdir()
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        for variable in ("WAYLAND_DISPLAY", "DISPLAY"):
            monkeypatch.delenv(variable, raising=False)

        def tool(name: str, display: str, lists: str, **answers: bytes) -> None:
            monkeypatch.setenv(display, ":7")
            held = programs / f"{name}.d"
            held.mkdir()
            types = [one.replace("_", "/", 1).replace("_", "-") for one in answers]
            (held / "types").write_text("".join(f"{one}\n" for one in types))
            for one, data in answers.items():
                (held / one).write_bytes(data)
            script = f"""#!/bin/sh
for last; do :; done
case "$last" in
  {lists}) cat '{held}/types' ;;
  *) cat '{held}'/$(echo "$last" | tr '/-' '__') ;;
esac
"""
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)

        return tool

    @pytest.mark.parametrize(
        ("name", "display", "lists"),
        [("wl-paste", "WAYLAND_DISPLAY", "--list-types"), ("xclip", "DISPLAY", "TARGETS")],
    )
    def test_the_image_in_it_is_taken(
        self, tool: Callable[..., None], name: str, display: str, lists: str
    ) -> None:
        tool(name, display, lists, text_html=b"<img>", image_bmp=b"BM", image_png=PIXEL)

        assert list(find("clipboard")) == [FoundImage(InMemory(PIXEL), "clipboard")]
        assert list(find("x=clipboard#xywh=0,0,1,1")) == [
            FoundImage(InMemory(PIXEL), "clipboard#xywh=0,0,1,1", "x", "xywh=0,0,1,1")
        ]

    def test_an_unusual_kind_of_image_is_taken_too(self, tool: Callable[..., None]) -> None:
        tool("xclip", "DISPLAY", "TARGETS", image_avif=b"avif")

        assert list(find("clipboard")) == [FoundImage(InMemory(b"avif"), "clipboard")]

    def test_files_that_were_copied_are_taken(
        self, tool: Callable[..., None], folder: Path
    ) -> None:
        (folder / "a b.png").write_bytes(PIXEL)
        uris = f"file://{folder}/cat.png\r\nfile://{folder}/a%20b.png\r\n".encode()
        tool("xclip", "DISPLAY", "TARGETS", text_uri_list=uris)

        assert list(find("clipboard")) == [
            FoundImage(OnDisk.at(folder / "cat.png"), "cat.png"),
            FoundImage(OnDisk.at(folder / "a b.png"), "a b.png"),
        ]

    def test_one_without_an_image_is_said(self, tool: Callable[..., None]) -> None:
        tool("wl-paste", "WAYLAND_DISPLAY", "--list-types", text_plain=b"hello")

        with pytest.raises(BadInput, match=r"^there is no image in the clipboard$"):
            list(find("clipboard"))

    def test_an_empty_one_is_said(self, tool: Callable[..., None], tmp_path: Path) -> None:
        tool("wl-paste", "WAYLAND_DISPLAY", "--list-types")
        (tmp_path / "bin/wl-paste").write_text("#!/bin/sh\necho Nothing is copied >&2\nexit 1\n")

        with pytest.raises(BadInput, match=r"^there is no image in the clipboard$"):
            list(find("clipboard"))

    def test_what_the_program_says_against_it_is_told(
        self, tool: Callable[..., None], tmp_path: Path
    ) -> None:
        tool("xclip", "DISPLAY", "TARGETS")
        (tmp_path / "bin/xclip").write_text(
            "#!/bin/sh\nprintf 'Error: Can\\047t open display: \\033[2J:7\\n' >&2\nexit 1\n"
        )

        with pytest.raises(
            BadInput, match=r"^cannot read the clipboard: Error: Can't open display: :7$"
        ):
            list(find("clipboard"))

    def test_a_program_that_hangs_is_given_up_at_the_deadline(
        self, tool: Callable[..., None], tmp_path: Path
    ) -> None:
        tool("xclip", "DISPLAY", "TARGETS")
        (tmp_path / "bin/xclip").write_text("#!/bin/sh\nexec sleep 60\n")

        with pytest.raises(
            DeadlineExceeded, match=r"^nothing came from the clipboard within 0\.2 s$"
        ):
            list(find("clipboard", Deadline.after(0.2)))

    @pytest.mark.parametrize(
        ("display", "told"),
        [
            (
                "WAYLAND_DISPLAY",
                ("wl-paste is needed to read the clipboard", "sudo apt install wl-clipboard"),
            ),
            ("DISPLAY", ("xclip is needed to read the clipboard", "sudo apt install xclip")),
            ("OTHER", ("there is no clipboard: neither WAYLAND_DISPLAY nor DISPLAY is set", None)),
        ],
    )
    def test_what_is_missing_is_named(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        display: str,
        told: tuple[str, str | None],
    ) -> None:
        for variable in ("WAYLAND_DISPLAY", "DISPLAY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv(display, ":7")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(RekaError) as caught:
            list(find("clipboard"))

        assert (caught.value.message, caught.value.hint) == told


PIECES = [
    "cat.png", "photos", "data:", "base64,", "file://", "//ftp:", "*", "/", "?", "[", "]", "#", "#page=1", "x=", "=", "-",
    "~", "clipboard", "\0", "\x1b[2J", "\n", "@", ":", "%", "%41", "é", "\udcff", "..", "&",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=7))
def test_whatever_is_typed_is_an_image_or_an_error_that_can_be_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[str]
) -> None:
    for variable in ("WAYLAND_DISPLAY", "DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    try:
        shown = [found.name for found in find("".join(pieces), stdin=lambda: PIXEL)]
    except RekaError as error:
        shown = [error.message]

    assert [one for one in shown if not one or not one.isprintable() or len(one) > 400] == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_pillow_reads_the_clipboard_it_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    held: list[object] = [None, ["cat.png"], Pillow.new("RGB", (3, 2))]
    monkeypatch.setattr("reka_cli.images.sources.clipboard._PLATFORM", platform)
    monkeypatch.setattr("PIL.ImageGrab.grabclipboard", held.pop)

    (image,) = find("clipboard")
    with Pillow.open(image.content.open()) as opened:
        assert (image.name, opened.format, opened.size) == ("clipboard", "PNG", (3, 2))
    assert list(find("clipboard")) == [on_disk("cat.png")]
    with pytest.raises(BadInput, match=r"^there is no image in the clipboard$"):
        list(find("clipboard"))


def test_the_example_image_is_found() -> None:
    assert list(find(str(CAT))) == [FoundImage(OnDisk.at(CAT), "cat.jpeg")]
