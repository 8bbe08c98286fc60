"""Writing that is whole or not at all, and says in a sentence why it could not be."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from companion.door import create

# What the system calls a disk with no room, whichever library passes it on.
_FULL = [os.strerror(getattr(errno, name, 0)) for name in ("ENOSPC", "EDQUOT", "EFBIG")]


@contextmanager
def explained(what: str, path: Path, kept: str) -> Iterator[None]:
    """Turn the many errors of a write that fails into an OSError of one sentence.

    Args:
        what: what is written.
        path: where to.
        kept: what is whole all the same.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        free, remedy = "", ""
        if any(words in reason for words in _FULL):
            remedy = "make room, or "
            with suppress(OSError):
                free = f" with {shutil.disk_usage(path).free / 2**20:,.0f} MiB free"
        raise OSError(
            f"The {what} could not be written to {path}{free} ({reason}): {remedy}choose another "
            f"output_dir; {kept}."
        ) from error


def fsync_tree(folder: Path) -> None:
    """Wait until everything in a folder is on the disk, not only on its way there."""
    for path in [*folder.rglob("*"), folder]:
        try:  # Windows waits for a file that may be written to, and opens no folder
            descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        except PermissionError:
            if path.is_file():
                raise
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder so that no kill leaves it there with a part of its files; of a link, the
    link."""
    if folder.is_symlink():
        folder.unlink()
        return
    doomed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def replace_text(path: Path, text: str) -> None:
    """Write a text file at once: a kill leaves the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # a killed run's, or a link, which is not written through
    with create(beside) as file:
        file.write(text.encode())
    beside.replace(path)
