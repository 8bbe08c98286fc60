"""Files of ours in folders of the reader's: made new, never through a link, never outside."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from .values import Untrusted

# Neither is on Windows, where making a link takes an administrator.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
# Without it a pipe that nobody writes to would hang for ever when it is opened.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_UNFINISHED = re.compile(r"\.companion-[0-9a-f]{16}\.tmp")


def inside(folder: Path, *names: str) -> Path:
    """The path of a file in a folder; links on the way to it are followed, and may not lead out.

    The file's own last name is not followed: `create`, `append_to` and unlink do not follow it
    either.

    Raises:
        Untrusted: it lies outside.
    """
    path = folder.joinpath(*names)
    try:
        within = path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that cannot be
        within = False
    if not within or path.name in ("", ".."):
        raise Untrusted(f"{str(path)!r} is not inside {folder}: nothing was touched.")
    return path


def create(path: Path) -> BinaryIO:
    """Open a new file to write to.

    Raises:
        FileExistsError: there is something of that name, a link that leads nowhere included.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def append_to(path: Path) -> BinaryIO:
    """Open a file of ours, or a new one, to add to its end, unbuffered.

    Raises:
        Untrusted: it is a link, a folder, a pipe or a device, or has a second name elsewhere.
    """
    if not is_ours(path):
        raise Untrusted(f"{path} is no file of ours: look at what it is, and remove it.")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK | _BINARY
    return os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0)


def is_ours(path: Path) -> bool:
    """Whether nothing is there yet, or a plain file that has no second name elsewhere."""
    if not os.path.lexists(path):
        return True
    about = path.lstat()
    return stat.S_ISREG(about.st_mode) and about.st_nlink == 1


def clear(path: Path) -> None:
    """Remove what stands where a file of ours belongs and is none; where a link leads stays.

    Raises:
        IsADirectoryError: it is a folder.
    """
    if not is_ours(path):
        path.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write a whole file at once: whoever reads it meanwhile reads the old one or the new one.

    What killed writers left unfinished in its folder is removed, except on Windows.
    """
    unfinished = path.with_name(f".companion-{secrets.token_hex(8)}.tmp")
    with _at_work_in(path.parent):
        try:
            with create(unfinished) as file:
                file.write(content)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


@contextmanager
def _at_work_in(folder: Path) -> Iterator[None]:
    """A lock on a folder that its writers share, and that ends with them however they end: who gets
    it alone knows that nobody goes on with what is unfinished there."""
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # one may not look into it, or it is Windows
        yield
        return
    import fcntl

    try:
        with suppress(OSError):  # somebody writes there, or it is a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in folder.iterdir():
                mine = _UNFINISHED.fullmatch(path.name) and path.lstat().st_uid == os.geteuid()
                if mine and is_ours(path):
                    path.unlink(missing_ok=True)
        _share(handle)
        yield
    finally:
        os.close(handle)


def _share(handle: int) -> None:
    """Wait for who clears the folder, which takes a moment; another program that holds it for
    longer, such as a `flock` around this one, clears nothing."""
    import fcntl

    for _ in range(100):
        try:
            return fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:  # it is a file system without locks
            return


def open_plain(path: Path) -> BufferedReader:
    """Open a file to read, links followed.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: it is a folder, a pipe or a device.
    """
    handle = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Untrusted(f"{path} is no file.")
    return os.fdopen(handle, "rb")


def read(path: Path, limit: int) -> bytes:
    """The content of a file that has at most `limit` bytes.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: it is longer, or a folder, a pipe or a device.
    """
    with open_plain(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Untrusted(f"{path} is longer than {limit:,} bytes.")
    return content
