"""Disks: room for what the chapters write and fetch, in the right place."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from companion.door import exists, is_folder, nearest
from companion.hub import environment
from companion.hub.plan import storage_of
from companion.sources import VARIABLE, sources

from .finding import Finding, good, problem, warning

ROOM = 1_000_000_000  # for pictures, checkpoints and pip: less is a disk about to be full


def gigabytes(size: float) -> str:
    """A size as people say it."""
    return f"{size / 1e9:.1f} GB"


def short(path: Path) -> str:
    """The path as people write it."""
    home = environment.expanded("~")
    known = home.is_absolute() and path.is_relative_to(home)
    return str(Path("~") / path.relative_to(home)) if known else str(path)


def why_not_writable(folder: Path) -> str:
    """Write a file there and take it away again; say why that fails, or "" if it does not."""
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)) as file:
            file.write(b"\0" * 65536)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "the disk is full" if full else (error.strerror or str(error)).lower()
    return ""


def check_disk() -> list[Finding]:
    """That the working folder and the folder for temporary files can be written to."""
    try:
        here = Path.cwd()
    except OSError:
        text = "the working folder is gone, or may not be looked at"
        return [problem("Disk", text, "cd ~, or to another folder that is there")]
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:  # it tries them all
        text = "no folder for temporary files can be written to"
        return [problem("Disk", text, "export TMPDIR=FOLDER, one on a disk with room")]
    for folder, what in ((here, "the working folder"), (temporary, "the temporary folder")):
        if why := why_not_writable(folder):
            remedy = f"free some room: du -xsh {folder}/* | sort -h | tail"
            if why != "the disk is full":
                remedy = "work in a folder of your own, such as ~/diffusers-by-hand"
            return [problem("Disk", f"{what} {folder} cannot be written to: {why}", remedy)]
    free = shutil.disk_usage(here).free
    if free < ROOM:
        remedy = f"free some room: du -xsh {short(here)}/* | sort -h | tail"
        return [warning("Disk", f"{gigabytes(free)} free in the working folder", remedy)]
    return [good("Disk", f"{gigabytes(free)} free in the working folder")]


def check_cache() -> list[Finding]:
    """That downloads find room, on the right disk."""
    cache = environment.cache()
    if not is_folder(there := nearest(cache)):
        what = "is a file" if exists(there) else "cannot be found"
        return [problem("Cache", f"{short(there)} {what}", "export HF_HOME=FOLDER, another one")]
    if why := why_not_writable(cache):
        if not missing_models(cache):  # one that a class shares
            text = f"{short(cache)} can only be read, and has all that the full profile fetches"
            return [good("Cache", text)]
        disk = environment.AUTODL_DATA_DISK if environment.on_autodl() else Path("FOLDER")
        remedy = f"export HF_HOME={disk}/huggingface, on a disk that can be written to"
        return [problem("Cache", f"{short(cache)} cannot be written to: {why}", remedy)]
    if advice := environment.small_disk():
        remedy = f"export HF_HOME={environment.AUTODL_DATA_DISK}/huggingface"
        return [warning("Cache", advice.text, f"{remedy}, before Python starts")]
    free = shutil.disk_usage(nearest(cache)).free
    needed = sum(missing_models(cache).values())
    text = f"{short(cache)}, {gigabytes(free)} free"
    if needed > free:
        text += f"; the full profile fetches {gigabytes(needed)}"
        if os.environ.get(VARIABLE) == "full":
            return [problem("Cache", text, "export HF_HOME=FOLDER, one on a larger disk")]
    return [good("Cache", text)]


def missing_models(cache: Path) -> dict[str, int]:
    """Bytes of the full profile's models that are not in the cache, by id."""
    return {
        str(source.hub): source.bytes
        for source in sources("full").values()
        if source.hub and not _holds_something(storage_of(source, cache) / "snapshots")
    }


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:  # not there, or closed
        return False
