"""What of a repository is in the cache, whole and right: by the size and the time that a file had
when its checksum was compared, else by its checksum."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from companion.door import Checksum, Untrusted, append_to, inside
from companion.door.checksums import git_sha1
from companion.door.places import open_plain, read

from .listing import Remote

LINE = re.compile(rb"^([0-9a-f]{64}|[0-9a-f]{40}) (\d{1,16}) (\d{1,20})$", re.MULTILINE)
LIMIT = 64_000_000  # bytes of the note; a line has at most 103


class Checked:
    """The contents of a repository's folder in the cache that were found right.

    They are noted in `companion/checked`, a line for each: checksum, bytes, time of the last change
    in nanoseconds. A file that has changed since, or has no line, is read again. The note spares
    work and nothing else; where it cannot be written, the work is done again.
    """

    def __init__(self, storage: Path, *, afresh: bool = False) -> None:
        """Read the note in a repository's folder, or with `afresh` believe none of its lines."""
        self.storage = storage
        self._known: set[tuple[str, int, int]] = set()
        if not afresh:
            try:
                lines = LINE.findall(read(self._note, LIMIT))
            except (OSError, Untrusted):
                lines = []
            self._known = {(etag.decode(), int(size), int(time)) for etag, size, time in lines}

    def is_right(self, path: Path, file: Remote) -> bool:
        """Whether a file on the disk has the size and the checksum that the hub tells.

        Raises:
            Untrusted: it has the checksum, but another size: what was told cannot be right.
        """
        try:
            about = path.stat()
        except OSError:
            return False
        state = (str(file.etag), about.st_size, about.st_mtime_ns)
        if state not in self._known:
            if not checksum_matches(path, file.etag):
                return False
            self._known.add(state)
            self._write(state)
        if about.st_size != file.size:
            raise Untrusted(
                f"{path} is right, but the endpoint tells {file.size} bytes in place of "
                f"{about.st_size}: take another endpoint."
            )
        return True

    @property
    def _note(self) -> Path:
        return inside(self.storage, "companion", "checked")

    def _write(self, state: tuple[str, int, int]) -> None:
        with suppress(OSError, Untrusted):
            note = self._note
            note.parent.mkdir(parents=True, exist_ok=True)
            with append_to(note) as stream:
                stream.write(b"%s %d %d\n" % (state[0].encode(), *state[1:]))


def checksum_matches(path: Path, etag: Checksum) -> bool:
    """Whether a file on the disk has a checksum; no, where it cannot be read."""
    try:
        return digest(path, git=len(etag) == 40) == etag
    except (OSError, Untrusted):
        return False


def digest(path: Path, *, git: bool = False) -> Checksum:
    """The SHA-256 of a file, or the SHA-1 of its Git object.

    Raises:
        OSError: it cannot be read.
        Untrusted: it is a folder, a pipe or a device.
    """
    with open_plain(path) as stream:
        if git:
            return Checksum(git_sha1(stream))
        return Checksum(hashlib.file_digest(stream, "sha256").hexdigest())
