"""Names, checksums and sizes that somebody else tells: each type holds right ones only."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Any, ClassVar, Self

from .text import is_code, is_seen, printable

# What the file systems in use take for one name: 255 bytes on Linux and macOS.
NAME_BYTES = 255
PATH_BYTES = 1024
LARGEST = 2**50  # bytes: a petabyte; no file of a model is that large
WINDOWS = os.name == "nt"
# Names that are devices there, with any ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


class Untrusted(ValueError):
    """What came from outside is not what it has to be; the sentence says what, and what to do."""


class Unusable(Untrusted):
    """It does no harm, but not every file system takes it."""


class RepositoryPath(str):
    """The name of a file in a repository: relative, with "/" between folders, safe to join.

    Neither ".." nor an absolute path nor a drive, no separator or control code of any platform,
    in Unicode's normal form C, not longer than a file system takes.

    Raises:
        Unusable: it is too long, not in that form, of letters that nobody sees, or not to be had
            on Windows, which this is.
        Untrusted: anything else.
    """

    __slots__ = ()

    def __new__(cls, name: Any) -> Self:
        """Check it."""
        if not isinstance(name, str):
            raise Untrusted(f"{_shown(name)} is no name of a file.")
        if fault := _fault(name):
            raise Untrusted(f"{_shown(name)} cannot be the name of a file: {fault}.")
        if limit := _limit(name):
            raise Unusable(f"{_shown(name)} cannot be the name of a file here: {limit}.")
        return super().__new__(cls, name)


class RepositoryId(str):
    """OWNER/NAME, by the hub's rules: letters, digits, "_", "-" and ".", no two of the last two
    together, none of them at an end; 96 characters at most.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()
    _RULE = re.compile(r"(?!.*(--|\.\.))\w([\w.-]*\w)?/\w([\w.-]*\w)?")

    def __new__(cls, name: Any) -> Self:
        """Check it."""
        if not isinstance(name, str) or len(name) > 96 or not cls._RULE.fullmatch(name):
            raise Untrusted(
                f"{_shown(name)} is no id of the hub: OWNER/NAME, such as google/ddpm-cat-256."
            )
        return super().__new__(cls, name)


class _Digits(str):
    """A text of hexadecimal digits; a kind of it says how many, and how a sentence calls it."""

    __slots__ = ()
    _DIGITS: ClassVar[re.Pattern[str]]
    _CALLED: ClassVar[str]

    def __new__(cls, digits: Any) -> Self:
        """Check it."""
        if not isinstance(digits, str) or not cls._DIGITS.fullmatch(digits):
            raise Untrusted(f"{_shown(digits)} is no {cls._CALLED} hexadecimal digits.")
        return super().__new__(cls, digits)


class Checksum(_Digits):
    """40 hexadecimal digits (SHA-1 of a Git object) or 64 (SHA-256 of a large file), lower case.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()
    _DIGITS = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
    _CALLED = "checksum: 40 or 64"


class Commit(_Digits):
    """A commit: 40 hexadecimal digits in lower case.

    Raises:
        Untrusted: anything else.
    """

    __slots__ = ()
    _DIGITS = re.compile(r"[0-9a-f]{40}")
    _CALLED = "commit: 40"


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
    """Why a text may not be a file's name in a repository, or ""."""
    if not (name.isascii() and name.isprintable()) and any(map(is_code, name)):
        return "it holds control codes"
    if "\\" in name or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "it is not relative to the repository"
    # Windows drops dots and blanks at the end of a name: "... " is a way upwards there.
    if not all(part.rstrip(". ") for part in name.split("/")):
        return "it leads out of its folder"
    return ""


def _limit(name: str) -> str:
    """Why not every file system takes a harmless name, or ""."""
    if not name.isascii() and unicodedata.normalize("NFC", name) != name:
        return "it is not in Unicode's normal form C"
    parts = name.split("/")
    for part in parts if not name.isascii() else ():
        if not any(map(is_seen, part.replace(".", ""))):
            return f"nobody sees what {part[:20]!a} is"
    if len(name.encode()) > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in parts):
        return "it is longer than a file system takes"
    if WINDOWS and any(
        set(part) & set('<>:"|?*') or part != part.rstrip(". ") or DEVICES.fullmatch(part)
        for part in parts
    ):
        return "Windows does not take it"
    return ""


def _shown(value: Any) -> str:
    """A value as a sentence quotes it: one line, not longer than reads well."""
    if isinstance(value, str):
        return repr(printable(value[:60]) + ("…" if len(value) > 60 else ""))
    # Others may be as long, or as deep, as they like.
    short = value is None or (isinstance(value, (int, float)) and abs(value) < 1e20)
    return repr(value) if short else f"Something of type {type(value).__name__}"
