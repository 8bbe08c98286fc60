"""What earlier runs noted in a repository's folder of the cache: listings, and what a branch stands
for. Read as carefully as what a host says: a cache may come from somebody else."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from companion.door import Commit, RepositoryPath, Untrusted, inside, without_password
from companion.door.places import read, replace

from .endpoints import Endpoint
from .listing import LIMIT, Listing, Remote, as_commit


@dataclass
class _File:
    path: str
    size: int
    etag: str


@dataclass
class _Note:
    endpoint: str
    official: bool
    files: list[_File]


@dataclass(frozen=True)
class Note:
    """A listing, and who told it.

    Attributes:
        listing: the files.
        endpoint: how the endpoint is called.
        official: whether it is the official one, which is believed at every other.
    """

    listing: Listing
    endpoint: str
    official: bool

    def serves(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint need not be asked: no mirror is believed for another."""
        return self.official or self.endpoint == called(endpoint)


def called(endpoint: Endpoint) -> str:
    """How a note calls an endpoint."""
    return without_password(endpoint.shown)


def listing(storage: Path, commit: Commit) -> Note | None:
    """The listing of a commit as noted by an earlier run: a commit never changes."""
    from companion.door.documents import read_json

    try:
        note = read_json(_Note, _note_path(storage, commit), "The note", limit=LIMIT)
        files = tuple(Remote(f.path, f.size, f.etag) for f in note.files)  # type: ignore[arg-type]
        found = Note(Listing(commit, files), note.endpoint, note.official)
    except (OSError, Untrusted):
        return None
    return found if files else None


def write_listing(storage: Path, found: Listing, endpoint: Endpoint) -> None:
    """Note a listing; a cache that cannot be written does without."""
    note = {
        "endpoint": called(endpoint),
        "official": endpoint.official,
        "files": [vars(file) for file in found.files],
    }
    _write(storage, ("companion", f"{found.commit}.json"), json.dumps(note).encode())


def drop_listing(storage: Path, commit: Commit) -> None:
    """Forget a listing, after a doubt: the next run asks anew."""
    with suppress(OSError, Untrusted):
        _note_path(storage, commit).unlink(missing_ok=True)


def branch(storage: Path, revision: str) -> Commit | None:
    """The commit that a branch or tag stood for when it was last fetched."""
    try:
        text = read(inside(storage, "refs", *RepositoryPath(revision).split("/")), 100)
    except (OSError, Untrusted):
        return None
    return as_commit(text.decode(errors="replace").strip())


def write_branch(storage: Path, revision: str, commit: Commit) -> None:
    """Note what a branch or tag stands for, where the library looks for it."""
    if as_commit(revision) is None and branch(storage, revision) != commit:
        _write(storage, ("refs", *RepositoryPath(revision).split("/")), commit.encode())


def _note_path(storage: Path, commit: Commit) -> Path:
    return inside(storage, "companion", f"{commit}.json")


def _write(storage: Path, names: tuple[str, ...], content: bytes) -> None:
    with suppress(OSError, Untrusted):  # it only spares a question
        path = inside(storage, *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)
