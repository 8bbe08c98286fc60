"""What a fetch will do, before it does anything: files, bytes, room, time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from companion.profile import ModelSource

from .endpoints import Endpoint
from .environment import small_disk
from .errors import NoRoom


@dataclass(frozen=True)
class Remote:
    """A file of a repository on the hub.

    Attributes:
        path: its name in the repository.
        size: in bytes.
        etag: SHA-256 of a large file, SHA-1 of the Git object of a small one; the cache's name of
            its content.
    """

    path: str
    size: int
    etag: str


@dataclass(frozen=True)
class Item:
    """One repository of a plan.

    Attributes:
        source: what is wanted.
        commit: the commit that its revision stands for.
        files: what of it is needed.
        cache: the cache of the hub's library.
    """

    source: ModelSource
    commit: str
    files: tuple[Remote, ...]
    cache: Path

    @property
    def storage(self) -> Path:
        """The repository's folder in the cache."""
        return self.cache / f"{self.source.repo_type}s--{str(self.source.hub).replace('/', '--')}"

    @property
    def snapshot(self) -> Path:
        """The folder for `from_pretrained`, once everything is there."""
        return self.storage / "snapshots" / self.commit

    def blob(self, file: Remote) -> Path:
        """Where the content of a file lies when it is whole and right."""
        return self.storage / "blobs" / file.etag

    def part(self, file: Remote) -> Path:
        """Where the content of a file lies while it is not; the library's kind of name."""
        return self.storage / "blobs" / f"{file.etag}.companion.incomplete"

    def is_here(self, file: Remote) -> bool:
        """Whether a file is under its final name, with its size."""
        return _is_whole(self.snapshot / file.path, file)

    def here(self, file: Remote) -> int:
        """Bytes of a file that are on the disk already."""
        if self.is_here(file) or _is_whole(self.blob(file), file):
            return file.size
        part = self.part(file)
        return min(part.stat().st_size, file.size) if part.is_file() else 0

    @property
    def contents(self) -> list[Remote]:
        """A file for each content: what two files share is kept, and fetched, once."""
        return list({file.etag: file for file in self.files}.values())

    @property
    def missing(self) -> list[Remote]:
        """The files that are not under their final name, the largest first."""
        return sorted((f for f in self.files if not self.is_here(f)), key=lambda f: -f.size)


@dataclass(frozen=True)
class Plan:
    """What is to be fetched, from where, to where.

    Attributes:
        endpoint: where from.
        items: the repositories.
        embedded: names of what comes with the package and needs no fetching.
        cache: the folder it goes to.
        speed: measured bytes a second, or None.
    """

    endpoint: Endpoint
    items: tuple[Item, ...]
    embedded: tuple[str, ...]
    cache: Path
    speed: float | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for item in self.items for file in item.contents)

    @property
    def to_fetch(self) -> int:
        """Bytes that are not on the disk yet."""
        return sum(f.size - item.here(f) for item in self.items for f in item.contents)

    @property
    def free(self) -> int:
        """Bytes free on the disk that holds the cache."""
        return shutil.disk_usage(_existing(self.cache)).free

    @property
    def seconds(self) -> float | None:
        """Time at the measured speed, or None."""
        return self.to_fetch / self.speed if self.speed else None

    def check_room(self) -> None:
        """Refuse before the first byte what would fill the disk.

        Raises:
            NoRoom: with what is needed, what is free, and the remedy.
        """
        if self.to_fetch > self.free:
            raise NoRoom(
                f"{self.cache} has {size(self.free)} free and {size(self.to_fetch)} are needed: "
                + (small_disk() or "make room (`hf cache rm`), or set HF_HOME to a larger disk.")
            )

    def __str__(self) -> str:
        """The plan as a reader sees it, a line for each repository."""
        lines = [f"{name}: comes with the package." for name in self.embedded]
        for item in self.items:
            whole = sum(file.size for file in item.contents)
            here = sum(item.here(file) for file in item.contents)
            line = f"{item.source.hub} at {item.commit[:8]}: {len(item.files)} files, {size(whole)}"
            if here:
                line += ", here already" if here == whole else f", {size(here)} here already"
            lines.append(line)
        if self.items:
            where = "this machine" if self.endpoint.offline else self.endpoint.shown
            lines.append(
                f"To fetch from {where}: {size(self.to_fetch)}, to {self.cache}, "
                f"where {size(self.free)} are free."
            )
        if self.to_fetch and self.seconds is not None and self.speed:
            lines.append(f"At {size(self.speed)} a second, as measured: {span(self.seconds)}.")
        return "\n".join(lines)


def size(number: float) -> str:
    """Bytes in the unit a reader expects, as the hub shows them: 455 MB."""
    for unit in ("B", "kB", "MB"):
        if number < 999.5:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def span(seconds: float) -> str:
    """A time in words: about 12 minutes."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _is_whole(path: Path, file: Remote) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
