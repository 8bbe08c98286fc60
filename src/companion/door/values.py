"""Names, checksums and sizes that somebody else tells: each type holds right ones only."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Self

from .text import DIRECTIONS, printable

# What the file systems in use take for one name: 255 bytes on Linux and macOS.
NAME_BYTES = 255
PATH_BYTES = 1024
LARGEST = 2**50  # bytes: a petabyte; no file of a model is that large


class Untrusted(ValueError):
    """What came from outside is not what it has to be; the sentence says what, and what to do."""


class RepositoryPath(str):
    """The name of a file in a repository: relative, with "/" between folders, safe to join.

    Neither ".." nor an absolute path nor a drive, no separator or control code of any platform,
    in Unicode's normal form C, not longer than a file system takes.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()

    def __new__(cls, name: Any) -> Self:
        """Check it."""
        if not isinstance(name, str):
            raise Untrusted(f"{_shown(name)} is no name of a file.")
        if fault := _fault(name):
            raise Untrusted(f"{_shown(name)} cannot be the name of a file: {fault}.")
        return super().__new__(cls, name)


class Checksum(str):
    """40 hexadecimal digits (SHA-1 of a Git object) or 64 (SHA-256 of a large file), lower case.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()
    _DIGITS = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

    def __new__(cls, digits: Any) -> Self:
        """Check it."""
        if not isinstance(digits, str) or not cls._DIGITS.fullmatch(digits):
            raise Untrusted(f"{_shown(digits)} is no checksum: 40 or 64 hexadecimal digits.")
        return super().__new__(cls, digits)


class Commit(str):
    """A commit: 40 hexadecimal digits in lower case.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()
    _DIGITS = re.compile(r"[0-9a-f]{40}")

    def __new__(cls, digits: Any) -> Self:
        """Check it."""
        if not isinstance(digits, str) or not cls._DIGITS.fullmatch(digits):
            raise Untrusted(f"{_shown(digits)} is no commit: 40 hexadecimal digits.")
        return super().__new__(cls, digits)


class Size(int):
    """Bytes of a file: a whole number from 0 to 2^50.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()

    def __new__(cls, number: Any) -> Self:
        """Check it."""
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= LARGEST:
            raise Untrusted(f"{_shown(number)} is no size of a file in bytes.")
        return super().__new__(cls, number)


def _fault(name: str) -> str:
    """Why a text cannot be a file's name in a repository, or ""."""
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in DIRECTIONS for c in name):
        return "it holds control codes"
    if "\\" in name or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "it is not relative to the repository"
    parts = name.split("/")
    # Windows drops dots and blanks at the end of a name: "... " is a way upwards there.
    if not all(part.rstrip(". ") for part in parts):
        return "it leads out of its folder"
    if unicodedata.normalize("NFC", name) != name:
        return "it is not in Unicode's normal form C"
    if len(name.encode()) > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in parts):
        return "it is longer than a file system takes"
    return ""


def _shown(value: Any) -> str:
    text = printable(value) if isinstance(value, str) else repr(value)
    return (
        repr(text[:60] + "…" if len(text) > 60 else text) if isinstance(value, str) else text[:60]
    )
