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


def parse_json(kind: type[T], text: str | bytes, what: str, *, limit: int = LIMIT) -> T:
    """Make a value of a type out of JSON.

    Args:
        kind: a dataclass, a TypedDict or any other type that pydantic knows; taken strictly, so
            "1" is no number.
        text: the JSON.
        what: how the sentence calls it, such as "The settings in cat.png".
        limit: bytes that it may have.

    Raises:
        Untrusted: it is no JSON, too long, or something else than `kind`; the sentence says where.
    """
    if len(text) > limit:
        raise Untrusted(f"{what} cannot be read: longer than {limit:,} bytes.")
    try:
        adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        raise Untrusted(f"{what} cannot be read: {_first(error)}.") from error


def read_json(kind: type[T], path: Path, what: str, *, limit: int = LIMIT) -> T:
    """The same, of a file.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: as `parse_json`; or the path leads to a folder, a pipe or a device.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would hang here for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Untrusted(f"{what} cannot be read: {path} is no file.")
        return parse_json(kind, file.read(limit + 1), what, limit=limit)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first(error: ValidationError) -> str:
    """The first fault, and where it is."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return printable(f"{where}: {message}" if where else message)
