"""JSON of others: read up to a limit, and checked against a type, in one go."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from .text import printable
from .values import Untrusted

T = TypeVar("T")
LIMIT = 16 * 1024 * 1024  # bytes; the longest honest one, a tokenizer's, has 3.6 MB
MOST = 2**21  # values; each takes up to 100 bytes of memory, and an honest tokenizer has 10^5
LONGEST_FAULT = 200  # characters of it that the sentence tells


def parse_json(
    kind: type[T], text: str | bytes, what: str, *, limit: int = LIMIT, remedy: str = ""
) -> T:
    """Make a value of a type out of JSON.

    Args:
        kind: a dataclass, a TypedDict or any other type that pydantic knows; taken strictly, so
            "1" is no number.
        text: the JSON.
        what: how the sentence calls it, such as "The settings in cat.png".
        limit: bytes that it may have.
        remedy: what the sentence says to do; the fault then stands in brackets.

    Raises:
        Untrusted: it is no JSON, too long, of too many values, or something else than `kind`; the
            sentence says where.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise Untrusted(_sentence(what, "it is no UTF-8", remedy)) from error
    if len(data) > limit:
        raise Untrusted(_sentence(what, f"it is longer than {limit:,} bytes", remedy))
    if sum(map(data.count, (b",", b"[", b"{"))) > MOST:
        raise Untrusted(_sentence(what, f"it holds more than {MOST:,} values", remedy))
    try:
        adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
        return adapter.validate_json(data, strict=True)
    except ValidationError as error:
        raise Untrusted(_sentence(what, _first(error), remedy)) from error


def read_json(kind: type[T], path: Path, what: str, *, limit: int = LIMIT, remedy: str = "") -> T:
    """The same, of a file.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: as `parse_json`; or the path leads to a folder, a pipe or a device, or may not
            be read.
    """
    return parse_json(kind, read_bytes(path, what, limit), what, limit=limit, remedy=remedy)


def read_bytes(path: Path, what: str, limit: int) -> bytes:
    """Read a file of others, and no more of it than one byte above the limit.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: the path leads to a folder, a pipe or a device, or may not be read.
    """
    # Looked at first, as opening a device may do something; without O_NONBLOCK a pipe that took
    # the file's place meanwhile would hang here for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Untrusted(_sentence(what, f"{path} is no file"))
        with os.fdopen(os.open(path, flags), "rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError as error:
        raise FileNotFoundError(printable(f"There is no file {path}.")) from error
    except Untrusted:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        fault = getattr(error, "strerror", None) or error
        raise Untrusted(_sentence(what, f"{path}: {fault}")) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first(error: ValidationError) -> str:
    """The first fault, and where it is."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{where}: {message}" if where else message


def _sentence(what: str, fault: str, remedy: str = "") -> str:
    if len(fault) > LONGEST_FAULT:
        fault = fault[:LONGEST_FAULT] + "…"
    said = f"({fault}): {remedy}." if remedy else f": {fault}."
    return printable(f"{what} cannot be read{' ' if remedy else ''}{said}")
