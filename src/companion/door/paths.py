"""Paths of files as people and libraries give them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .text import printable, without_password

LONGEST = 4096  # bytes; what Linux takes


def file_path(what: str, value: Any) -> Path:
    """The path of a file of this machine, which need not be there.

    Args:
        what: how the sentence calls it.
        value: a text, a Path, or what else stands for a path of text.

    Raises:
        ValueError: something else, an address, or what no file can be called.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise ValueError(f"{what} is the path of a file, but {type(value).__name__} was given.")
    shown = printable(without_password(text[:200])) + ("…" if len(text) > 200 else "")
    if "://" in text:
        raise ValueError(
            f"{what} is {shown}, an address, but it has to be the path of a file on this machine."
        )
    try:
        called = 0 < len(os.fsencode(text)) <= LONGEST and "\0" not in text
    except UnicodeEncodeError:
        called = False
    if not called:
        raise ValueError(f"{what} is '{shown}', but no file can be called so: give another path.")
    return Path(text)
