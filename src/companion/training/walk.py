"""What of a folder are pictures, and what is passed over: counted, so that it can be said."""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from companion.door import printable
from companion.door.pictures import REFUSED

# What tools put among pictures for themselves, beside names that begin with a dot.
_OF_TOOLS = frozenset({"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN"})
# What a run writes into its folder.
_OF_A_RUN = frozenset(
    {"checkpoints", "samples", "logs", "best", "unet", "scheduler", "prior", "steps"}
)
_METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
_TO_CONVERT = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".svg", ".eps", ".ps", ".pdf"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}  # a camera's raw data
)
_BEGINNINGS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")


@dataclass
class Found:
    """What is in a folder.

    Attributes:
        pictures: files by name: what is in them is seen when they are read. In order.
        tables: files that may hold a dataset: parquet, arrow, tar, zip, csv, json.
        passed: what was passed over, and how often.
    """

    pictures: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """What was passed over, for a sentence; empty where it is nothing."""
        kinds = [f"{kind} ({count:,})" for kind, count in sorted(self.passed.items())]
        if any(kind.split()[0] in _TO_CONVERT for kind in self.passed):
            return (
                f"{', '.join(kinds)}; save drawings and raw photographs as JPEG or PNG to use them"
            )
        return ", ".join(kinds)


TABLES = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".tar": "webdataset",
    ".zip": "imagefolder",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
}


def look_through(folder: Path, leave_out: Path | None = None) -> Found:
    """Search a folder with its subfolders. Links to folders are followed, each folder once.

    Args:
        folder: where to begin.
        leave_out: the folder of the run: what it draws is no picture to learn from.

    Raises:
        OSError: the folder may not be looked into.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()
    remaining, links = [folder], list[Path]()  # links last: a folder is known by its own name
    run = os.path.realpath(leave_out) if leave_out else None
    while remaining or links:
        here = remaining.pop() if remaining else links.pop()
        try:
            about = here.stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            entries = list(os.scandir(here))
        except OSError:
            if here == folder:
                raise
            found.passed["folders that may not be looked into"] += 1
            continue
        holds_run = os.path.realpath(here) == run or _is_run({entry.name for entry in entries})
        if holds_run and here != folder:
            found.passed["folders of a training run"] += 1
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _OF_TOOLS:
                found.passed["hidden files and folders"] += 1
            elif _is_folder(entry):
                if holds_run and entry.name in _OF_A_RUN:
                    found.passed["folders of a training run"] += 1
                else:
                    (links if entry.is_symlink() else remaining).append(Path(entry.path))
            else:
                _sort(found, Path(entry.path))
    found.pictures.sort()
    found.tables.sort()
    return found


def _is_run(names: set[str]) -> bool:
    return "model_index.json" in names or {"log.csv", "checkpoints"} <= names


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _sort(found: Found, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in _suffixes() or (not suffix and _begins_as_a_picture(path)):
        found.pictures.append(path)
    elif path.name in _METADATA:
        pass  # it belongs to the pictures
    else:
        if suffix in TABLES:
            found.tables.append(path)
        found.passed[f"{printable(suffix)} files" if suffix else "files without a suffix"] += 1


@cache
def _suffixes() -> frozenset[str]:
    """Of what can be opened: Pillow's list has what it only writes, or only knows by name, too."""
    formats = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, kind in formats.items()
        if kind == "MPO" or (kind in Image.OPEN and kind not in REFUSED)
    )


def _begins_as_a_picture(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
