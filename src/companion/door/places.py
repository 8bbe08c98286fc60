"""Files of ours in folders of the reader's: made new, never through a link, never outside."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .values import Untrusted

# Neither is on Windows, where making a link takes an administrator.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def inside(folder: Path, *names: str) -> Path:
    """The path of a file in a folder; links on the way to it are followed, and may not lead out.

    The file's own last name is not followed: `create`, `append_to` and unlink do not follow it
    either.

    Raises:
        Untrusted: it lies outside.
    """
    place = folder.joinpath(*names)
    try:
        within = place.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that cannot be
        within = False
    if not within or place.name in ("", ".."):
        raise Untrusted(f"{str(place)!r} is not inside {folder}: nothing was touched.")
    return place


def create(place: Path) -> BinaryIO:
    """Open a new file to write to.

    Raises:
        FileExistsError: there is something of that name, a link that leads nowhere included.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
    return os.fdopen(os.open(place, flags, 0o666), "wb")


def append_to(place: Path) -> BinaryIO:
    """Open a file of ours, or a new one, to add to its end, unbuffered.

    Raises:
        Untrusted: it is a link, a folder, a pipe or a device.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK | _BINARY
    if place.is_symlink() or (os.path.lexists(place) and not stat.S_ISREG(place.lstat().st_mode)):
        raise Untrusted(f"{place} is no file of ours: look at what it is, and remove it.")
    return os.fdopen(os.open(place, flags, 0o666), "ab", buffering=0)
