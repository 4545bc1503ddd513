"""Sidecars: the answer in a file beside each image, for programs that look for one there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from xml.sax.saxutils import escape

from reka_cli.batch.journal import Journal
from reka_cli.batch.outputs import Result, encode
from reka_cli.errors import IncompleteAnswer, UsageError
from reka_cli.escapes import one_line
from reka_cli.files import output_file, translate_write_errors, write_bytes
from reka_cli.limits.deadline import Deadline

KINDS = (".txt", ".json", ".xmp")
NAMINGS = ("full", "stem")

_OPEN_S = 60.0

# Adobe, XMP Specification Part 1, 7.3: the packet, and the description of Dublin Core in it
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <dc:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">{text}</rdf:li>
    </rdf:Alt>
   </dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


class Sidecars:
    """Writes sidecars of one kind, and never over a file that a batch did not write.

    `written` has the SHA-256 of what earlier runs wrote, by path: a sidecar that was edited since
    is not ours any more.
    """

    def __init__(self, kind: str, naming: str, *, overwrites: bool) -> None:
        if kind not in KINDS:
            raise UsageError(f"--sidecar must be {', '.join(KINDS)}, not {one_line(kind, 40)!r}")
        if naming not in NAMINGS:
            names = " or ".join(NAMINGS)
            raise UsageError(f"--sidecar-name must be {names}, not {one_line(naming, 40)!r}")
        self._kind = kind
        self._naming = naming
        self._overwrites = overwrites
        self.written: dict[str, set[str]] = {}

    def path_of(self, image: Path) -> Path:
        """Return where the sidecar of an image is: `a.jpg.txt`, or `a.txt` by its stem."""
        if self._naming == "stem":
            return image.with_suffix(self._kind)
        return image.with_name(image.name + self._kind)

    def may_write(self, path: Path) -> bool:
        """Return whether there is no file yet, or one that a batch wrote and nobody changed."""
        if self._overwrites or not os.path.lexists(path):
            return True
        with contextlib.suppress(OSError):
            return _digest(path.read_bytes()) in self.written.get(str(path), ())
        return False

    def note(self, path: str, digest: str) -> None:
        """Remember what a batch wrote, or is about to write."""
        self.written.setdefault(path, set()).add(digest)

    def note_all(self, path: Path) -> None:
        """Remember what the batch of a journal wrote, if there is one."""
        if not path.exists():
            return
        journal = Journal(path)
        try:
            for line, _ in journal.load():
                sidecar = json.loads(line)["sidecar"]
                if sidecar:
                    self.note(*sidecar)
        finally:
            journal.close()

    def digest(self, result: Result) -> str:
        """Return the SHA-256 of the sidecar of a result, for the journal."""
        return _digest(self._content(result))

    def write(self, path: Path, result: Result) -> None:
        """Write the sidecar of a row that has an answer.

        Raises IncompleteAnswer if it cannot be written.
        """
        data = self._content(result)
        if self.may_write(path):
            self.note(str(path), _digest(data))
            with (
                translate_write_errors(path, IncompleteAnswer),
                output_file(path, Deadline.after(_OPEN_S)) as descriptor,
            ):
                write_bytes(descriptor, data)

    def _content(self, result: Result) -> bytes:
        if self._kind == ".json":
            return encode(result)
        answer = result["answer"]
        text = answer if isinstance(answer, str) else encode(answer).decode().rstrip("\n")
        if self._kind == ".xmp":
            text = _XMP.replace("{text}", escape(_xml_text(text)))
            return text.encode("utf-8", "replace")
        return text.rstrip("\n").encode("utf-8", "replace") + b"\n"


def _xml_text(text: str) -> str:
    """Return a text without the control characters that XML does not allow."""
    return "".join(one for one in text if one in "\t\n" or one.isprintable() or one.isspace())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
