"""A folder as the hub sees it: files with their sums, under one commit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from companion.door import Commit, RepositoryPath, Untrusted, is_file, is_folder
from companion.door.checksums import git_sha1, sha256
from companion.door.places import read

from .cache_layout import storage_name

# What the hub keeps in its store of large files: these kinds, and everything that is bigger.
LARGE_KINDS = (".safetensors", ".bin", ".ckpt", ".parquet", ".zip", ".h5", ".msgpack", ".pt")
LARGE_BYTES = 10_000_000
METADATA = ".cache/huggingface/download"


@dataclass(frozen=True)
class Stored:
    """A file of a repository.

    Attributes:
        path: its name in the repository.
        file: where it lies on the disk.
        size: in bytes.
        oid: SHA-1 of its Git object, as the hub's listing has it.
        sha256: of a large file; None for one that Git itself keeps.
    """

    path: str
    file: Path
    size: int
    oid: str
    sha256: str | None

    @property
    def etag(self) -> str:
        """The name under which the hub and its clients know the content."""
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Repository:
    """A model or a dataset in a folder.

    Attributes:
        repo_type: "model" or "dataset".
        id: OWNER/NAME.
        folder: where its files lie.
        commit: 40 hexadecimal digits.
    """

    repo_type: str
    id: str
    folder: Path
    commit: str

    def files(self) -> dict[str, Stored]:
        """Its files by name, in the order of names."""
        return {stored.path: stored for stored in _files(self.folder)}

    def file(self, path: str) -> Stored | None:
        """One of its files, or None."""
        try:
            name = RepositoryPath(path)
        except Untrusted:
            return None
        file = self.folder / name
        return _looked_at(name, file) if _served(name) and is_file(file) else None


def find(
    root: Path, repo_type: str, repo_id: str, commits: dict[str, str] | None = None
) -> Repository | None:
    """The repository in a folder of repositories, or None.

    Three layouts are understood: `OWNER/NAME`, with `datasets/` before it for a dataset, and the
    cache of the hub's library, `models--OWNER--NAME/snapshots/COMMIT`. Of the first the commit is
    what `commits` says, else what `hf download --local-dir` noted, else a sum of all its files.
    """
    plain = root / repo_id if repo_type == "model" else root / f"{repo_type}s" / repo_id
    if is_folder(plain):
        commit = (commits or {}).get(repo_id) or _noted(plain) or _summed(plain)
        return Repository(repo_type, repo_id, plain, commit)
    cached = root / storage_name(repo_type, repo_id)
    folders = filter(is_folder, (cached / "snapshots").glob("*"))
    snapshots = sorted(folders, key=lambda path: path.stat().st_mtime)
    if snapshots:
        return Repository(repo_type, repo_id, snapshots[-1], snapshots[-1].name)
    return None


def _files(folder: Path) -> Iterator[Stored]:
    found = {}
    for inner, folders, names in os.walk(folder, onerror=_refuse):
        below = Path(inner).relative_to(folder)
        folders[:] = [name for name in folders if _served(f"{(below / name).as_posix()}/")]
        found.update({below / name: Path(inner, name) for name in names})
    for name, file in sorted(found.items()):
        if is_file(file):
            yield _looked_at(name.as_posix(), file)


def _refuse(error: OSError) -> None:
    """A folder that cannot be looked into would be left out without a word."""
    raise error


def _served(name: str) -> bool:
    return not name.startswith((".git/", ".cache/"))


def _looked_at(name: str, file: Path) -> Stored:
    about = file.stat()
    return _stored(name, file, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _stored(name: str, file: Path, size: int, _changed: int) -> Stored:
    if size < LARGE_BYTES and file.suffix not in LARGE_KINDS:
        with file.open("rb") as content:
            return Stored(name, file, size, git_sha1(content), None)
    digits = sha256(file)
    return Stored(name, file, size, git_sha1(BytesIO(pointer(digits, size))), digits)


def pointer(sha256: str, size: int) -> bytes:
    """What Git keeps in place of a large file (the Git LFS specification, version 1)."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return text.encode()


def _noted(folder: Path) -> str | None:
    for note in sorted((folder / METADATA).rglob("*.metadata")):
        try:
            return Commit(read(note, 1000).decode().partition("\n")[0].strip())
        except (OSError, ValueError):  # not as the library writes it
            continue
    return None


def _summed(folder: Path) -> str:
    listing = "".join(f"{stored.etag} {stored.path}\n" for stored in _files(folder))
    return hashlib.sha1(listing.encode(errors="surrogateescape")).hexdigest()
