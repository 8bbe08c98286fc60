"""A folder of results: that it can be written is known before the work, and it comes whole."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

PREFIX = ".attend-"
FILES = ("picture.png", "words.png", "index.html")
_LEFT = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")
ROOM = 2**20  # bytes; a page takes about half of that


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A hidden folder to write results to, in or beside their own, until `put` moves them there.

    It is made at once, so that what cannot be written is known before there is anything to write.
    What killed runs left there goes, and so does this one at the end of the block.

    Raises:
        FileExistsError: `folder` is there, and is not an empty folder.
        OSError: it cannot be written; the sentence names another way.
    """
    made: list[Path] = []
    try:
        with _explained(folder):
            if os.path.lexists(folder) and not folder.is_dir():
                raise FileExistsError(f"{folder} is there already; name a new folder with --out.")
            place = folder if folder.is_dir() else folder.parent
            made = [parent for parent in (place, *place.parents) if not parent.exists()]
            place.mkdir(parents=True, exist_ok=True)
            _clear(place)
            if place is not folder:
                folder.mkdir()  # this very name, which a disk may not take
                folder.rmdir()
            elif any(folder.iterdir()):
                raise FileExistsError(f"{folder} is there already; name a new folder with --out.")
            hidden, lock = _begin(place)
        try:
            with _explained(folder):
                (hidden / FILES[-1]).write_bytes(bytes(ROOM))  # keeps the room until it is replaced
            yield hidden
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            _end(lock)
    finally:
        for parent in made:
            with suppress(OSError):  # the results are in it
                parent.rmdir()


def put(hidden: Path, folder: Path) -> Path:
    """Move results from where they were made to their folder, or beside it if it was taken
    meanwhile.

    Returns:
        The folder that holds them.
    """
    hidden.chmod(0o755)  # mkdtemp's is the owner's alone
    if hidden.parent == folder and set(folder.iterdir()) <= {hidden, _lock_of(hidden)}:
        for path in hidden.iterdir():
            path.rename(folder / path.name)
        return folder
    names = (folder, *(folder.with_name(f"{folder.name}-{n}") for n in range(1, 1000)))
    free = next(name for name in names if not os.path.lexists(name))
    return hidden.rename(free)


def _begin(place: Path) -> tuple[Path, BaseFileLock]:
    """A new folder, and the lock that says that somebody works in it, which ends with the process
    however that ends."""
    from filelock import FileLock, Timeout

    for _ in count():
        hidden = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = FileLock(_lock_of(hidden), timeout=0)
        try:
            lock.acquire()
        except Timeout:  # another run takes it for a leftover
            continue
        except (OSError, NotImplementedError):  # a file system without locks
            break
        if hidden.is_dir():
            break
        _end(lock)
    return hidden, lock


def _clear(place: Path) -> None:
    """Remove what killed runs of ours left, and nothing that holds anything else."""
    from filelock import FileLock, Timeout

    for path in place.iterdir():
        hidden = path.with_suffix("")
        if not _LEFT.fullmatch(hidden.name) or path.is_symlink() or not _is_ours(path):
            continue
        lock = FileLock(_lock_of(hidden), timeout=0)
        with suppress(Timeout, OSError, NotImplementedError):  # at work, or not to be known
            lock.acquire()
            shutil.rmtree(hidden, ignore_errors=True)
            _end(lock)


def _is_ours(path: Path) -> bool:
    try:
        if path.stat().st_uid != getattr(os, "geteuid", lambda: path.stat().st_uid)():
            return False
        if path.suffix:
            return path.suffix == ".lock" and path.stat().st_size == 0
        return {file.name for file in path.iterdir()} <= set(FILES)
    except OSError:  # gone meanwhile, or no folder
        return False


def _lock_of(hidden: Path) -> Path:
    return hidden.with_suffix(".lock")


def _end(lock: BaseFileLock) -> None:
    with suppress(OSError):
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise  # a sentence already
        raise OSError(
            f"The results cannot be written to {folder} ({error.strerror}): name another place "
            "with --out."
        ) from error
