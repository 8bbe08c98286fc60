"""Checksums of the files of a folder, in the form that `sha256sum --check` reads."""

import re
from pathlib import Path

from companion.door.checksums import sha256

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+)")
_LONGEST = 2**16  # bytes


class Damaged(ValueError):
    """A file is not what was written; the text says which one and how."""


def write_sums(folder: Path) -> None:
    """Write down the SHA-256 of each file that a folder holds."""
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="ascii", newline="\n")


def check_sums(folder: Path) -> set[str]:
    """Compare each file with its checksum; their names.

    Raises:
        Damaged: a file is gone or another one, or the checksums themselves cannot be read.
        OSError: a file may not be read.
    """
    sums = folder / SUMS
    if not sums.is_file():
        raise Damaged(f"it has no {SUMS}")
    with sums.open("rb") as file:
        lines = file.read(_LONGEST).decode("ascii", "replace").split("\n")
    found = [_LINE.fullmatch(line) for line in lines[:-1]]
    if lines[-1] or not found:
        raise Damaged(f"{SUMS} is cut short")
    for match in found:
        if match is None:
            raise Damaged(f"{SUMS} is not what was written")
        digits, name = match.groups()
        if not (folder / name).is_file():  # a pipe in its place would hang
            raise Damaged(f"{name} is missing")
        if sha256(folder / name) != digits:
            raise Damaged(f"{name} is not what was written")
    return {match[2] for match in found if match}
