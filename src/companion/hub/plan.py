"""What a fetch will do, before it does anything: files, bytes, room, time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from companion.door import (
    Checksum,
    Commit,
    RepositoryId,
    RepositoryPath,
    inside,
    nearest,
    printable,
)
from companion.local_hub.cache_layout import storage_name
from companion.sources import ModelSource

from .endpoints import MODELSCOPE, Endpoint
from .environment import small_disk
from .errors import NoRoom
from .listing import Remote
from .stock import Checked

SHOWN = 3  # names of files that are left out
UNTRIED = (
    "The way from ModelScope was never tried with the real one: it is built from what ModelScope's "
    "own client does."
)


@dataclass(frozen=True)
class Item:
    """One repository of a plan.

    Attributes:
        source: what is wanted.
        commit: the commit that its revision stands for.
        files: what of it is needed.
        cache: the cache of the hub's library.
        checked: what of it was found right.
        whole: the files that are under their final name, right.
        begun: bytes on the disk of each content that has not its final name.
        changed: files that have their final name, but are not what the hub tells.
        left_out: files that are not needed, where the reader did not say which are.
        remarks: a sentence for each file that the endpoint does not tell of, or that cannot lie on
            this disk.
    """

    source: ModelSource
    commit: Commit
    files: tuple[Remote, ...]
    cache: Path
    checked: Checked
    whole: frozenset[RepositoryPath] = frozenset()
    begun: Mapping[Checksum, int] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @cached_property
    def storage(self) -> Path:
        """The repository's folder in the cache."""
        return storage_of(self.source, self.cache)

    @cached_property
    def snapshot(self) -> Path:
        """The folder for `from_pretrained`, once everything is there."""
        return self.storage / "snapshots" / self.commit

    def final(self, file: Remote) -> Path:
        """Where a file lies when it is whole and right.

        Raises:
            Untrusted: a link leads out of the repository's folder there.
        """
        *folders, name = file.path.split("/")
        return self._folder("snapshots", self.commit, *folders) / name

    def blob(self, file: Remote) -> Path:
        """Where its content does.

        Raises:
            Untrusted: as `final`.
        """
        return self._folder("blobs") / file.etag

    def part(self, file: Remote) -> Path:
        """Where the content of a file lies while it is not; the library's kind of name.

        Raises:
            Untrusted: as `final`.
        """
        return self._folder("blobs") / f"{file.etag}.companion.incomplete"

    def here(self, file: Remote) -> int:
        """Bytes of a file that are on the disk already."""
        return file.size if file.path in self.whole else self.begun.get(file.etag, 0)

    @cached_property
    def contents(self) -> list[Remote]:
        """A file for each content: what two files share is kept, and fetched, once."""
        return list({file.etag: file for file in self.files}.values())

    @cached_property
    def missing(self) -> list[Remote]:
        """The files that are not under their final name, the largest first."""
        return sorted((f for f in self.files if f.path not in self.whole), key=lambda f: -f.size)

    def _folder(self, *names: str) -> Path:
        """A folder in the repository's, looked at once: a hundred thousand files may be in it."""
        if names not in self._looked_at:
            self._looked_at[names] = inside(self.storage, *names, "a file").parent
        return self._looked_at[names]

    @cached_property
    def _looked_at(self) -> dict[tuple[str, ...], Path]:
        return {}


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
        return shutil.disk_usage(nearest(self.cache)).free

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
                + str(small_disk() or "make room (`hf cache rm`), or set HF_HOME to a larger disk.")
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
            if item.changed:
                lines.append(
                    f"  Damaged or changed since they were fetched: {_some(item.changed)}."
                )
            if item.left_out:
                lines.append(
                    f"  Left out as further copies of the weights: {_some(item.left_out)}; "
                    "`hf download` brings them."
                )
            lines += [f"  {sentence}" for sentence in item.remarks[:SHOWN]]
            if len(item.remarks) > SHOWN:
                lines.append(f"  And {len(item.remarks) - SHOWN:,} more of the kind.")
        if self.items:
            where = "this machine" if self.endpoint.offline else self.endpoint.shown
            lines.append(
                f"To fetch from {where}: {size(self.to_fetch)}, to {printable(str(self.cache))}, "
                f"where {size(self.free)} are free."
            )
        if self.endpoint.protocol == MODELSCOPE:
            lines.append(UNTRIED)
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


def storage_of(source: ModelSource, cache: Path) -> Path:
    """A repository's folder in the cache, named as the hub's library names it.

    Raises:
        Untrusted: its id is none.
    """
    return cache / storage_name(source.repo_type, RepositoryId(source.hub))


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(printable(name) for name in names[:SHOWN]) + more
