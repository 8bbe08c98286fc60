"""What is at a place where one may not be allowed to look: then the answer is no.

Up to Python 3.13 pathlib's own questions raise PermissionError below a folder that is closed, such
as another user's home."""

from __future__ import annotations

from pathlib import Path


def exists(path: Path) -> bool:
    """Whether there is something, and one may see it."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder, and one may see it."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file, and one may see it."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists and may be seen."""
    return next((known for known in (folder, *folder.parents) if exists(known)), folder)
