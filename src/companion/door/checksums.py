"""Checksums of contents, as the hub and Git count them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_sha1(content: BinaryIO) -> str:
    """SHA-1 of the Git object that holds a content, as `git hash-object` has it."""
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    total = hashlib.sha1(b"blob %d\0" % size)
    while chunk := content.read(CHUNK):
        total.update(chunk)
    return total.hexdigest()
