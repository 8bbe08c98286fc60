"""What a fetch will do, before it does anything: files, bytes, room, time."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from companion.profile import ModelSource, sources

from .endpoints import Endpoint
from .environment import small_disk
from .errors import HubError, NoRoom, NotAllowed, explain
from .selection import select

# The speed is measured where it tells something: not for what comes in seconds anyway.
WORTH_MEASURING = 100_000_000
MEASURED_SECONDS = 2.0
MEASURED_BYTES = 32_000_000
COMMIT = re.compile(r"[0-9a-f]{40}")
ID = re.compile(r"(?:(datasets?)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


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
            lines.append(
                f"{item.source.hub} at {item.commit[:8]}: {len(item.files)} files, {size(whole)}"
                + (f", {size(here)} of it here already" if here else "")
            )
        if self.items:
            where = "this machine" if self.endpoint.offline else self.endpoint.shown
            lines.append(
                f"To fetch from {where}: {size(self.to_fetch)}, to {self.cache}, "
                f"where {size(self.free)} are free."
            )
        if self.to_fetch and self.seconds is not None and self.speed:
            lines.append(f"At {size(self.speed)} a second, as measured: {span(self.seconds)}.")
        return "\n".join(lines)


def wanted(what: int | str, profile: str | None = None) -> dict[str, ModelSource]:
    """What a chapter loads, what all chapters load, or one repository, by name.

    Args:
        what: a chapter's number; `all`; a name in the profile such as `stable_diffusion`; or an id,
            OWNER/NAME or datasets/OWNER/NAME, with @REVISION if it is not to be the newest. An id
            that the book knows gets the book's revision and files.
        profile: of COMPANION_PROFILE, by default.

    Raises:
        ValueError: there is no such chapter, name or profile.
    """
    table = sources(profile)
    what = str(what)
    if what == "all":
        return table
    if what in table:
        return {what: table[what]}
    if what.isdigit():
        chosen = {name: source for name, source in table.items() if int(what) in source.chapters}
        if not chosen:
            chapters = sorted({number for source in table.values() for number in source.chapters})
            known = ", ".join(map(str, chapters))
            raise ValueError(f"Chapter {what} loads nothing; choose one of {known}, or all.")
        return chosen
    match = ID.fullmatch(what)
    if match is None:
        raise ValueError(
            f"{what!r} is no chapter, no name ({', '.join(table)}) and no id such as "
            "google/ddpm-cat-256 or datasets/huggan/flowers-102-categories."
        )
    repo_type, repo_id, revision = "dataset" if match[1] else "model", match[2], match[3]
    for source in (*table.values(), *sources("full").values()):
        if (source.hub, source.repo_type) == (repo_id, repo_type) and revision in (
            None,
            source.revision,
        ):
            return {repo_id: source}
    return {repo_id: ModelSource(hub=repo_id, repo_type=repo_type, revision=revision or "main")}


def make_plan(
    chosen: dict[str, ModelSource],
    place: Endpoint,
    *,
    token: str | Literal[False] = False,
    timeout: float = 30.0,
    cache: Path | None = None,
    refused: list[NotAllowed] | None = None,
) -> Plan:
    """Look up what is wanted: one question a repository, none where the listing is known.

    Args:
        chosen: what is wanted, by name.
        place: where from.
        token: to send along, or False.
        timeout: limit of each answer in seconds.
        cache: the folder to fetch to; the hub's library's own by default.
        refused: takes what the endpoint refuses, so that the plan is made without it.

    Raises:
        HubError: the endpoint does not answer, or refuses.
    """
    from huggingface_hub import constants

    cache = Path(cache or constants.HF_HUB_CACHE)
    items = []
    for source in chosen.values():
        if source.hub is None:
            continue
        try:
            items.append(_look_up(source, place, token, timeout, cache))
        except NotAllowed as error:
            if refused is None:
                raise
            refused.append(error)
    embedded = tuple(name for name, source in chosen.items() if source.zoo)
    return Plan(place, tuple(items), embedded, cache)


def _look_up(
    source: ModelSource,
    place: Endpoint,
    token: str | Literal[False],
    timeout: float,
    cache: Path,
) -> Item:
    bare = Item(source, source.revision or "main", (), cache)
    if not COMMIT.fullmatch(bare.commit) and place.offline:
        bare = _at(bare, _noted_commit(bare))
    remotes = _listing(bare) if COMMIT.fullmatch(bare.commit) else None
    if remotes is None and place.offline:
        remotes = _fetched_by_others(bare)
    if remotes is None:
        bare, remotes = _ask(bare, place, token, timeout)
    names = set(select([remote.path for remote in remotes], source.files))
    if not names:
        raise HubError(f"{source.hub} has none of the files {', '.join(source.files)}.")
    return Item(source, bare.commit, tuple(r for r in remotes if r.path in names), cache)


def _ask(
    item: Item, place: Endpoint, token: str | Literal[False], timeout: float
) -> tuple[Item, list[Remote]]:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=place.address, token=token)
    try:
        info: Any = api.repo_info(
            str(item.source.hub),
            repo_type=item.source.repo_type,
            revision=item.commit,
            timeout=timeout,
            files_metadata=True,
        )
    except Exception as error:
        raise explain(error, place, str(item.source.hub)) from error
    remotes = [
        Remote(s.rfilename, s.size, s.lfs.sha256 if s.lfs else s.blob_id)
        for s in info.siblings or ()
    ]
    if any(remote.size is None or remote.etag is None for remote in remotes):
        raise HubError(
            f"{place.host} tells no sizes and checksums of {item.source.hub}; take another "
            "endpoint."
        )
    item = _at(item, info.sha)
    note = _note(item)
    note.parent.mkdir(parents=True, exist_ok=True)
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps([asdict(remote) for remote in remotes]), encoding="utf-8")
    unfinished.replace(note)
    return item, remotes


def _listing(item: Item) -> list[Remote] | None:
    """The repository's listing as noted by an earlier plan: a commit never changes."""
    try:
        entries = json.loads(_note(item).read_text(encoding="utf-8"))
        return [Remote(**entry) for entry in entries]
    except (OSError, ValueError, TypeError):
        return None


def _fetched_by_others(item: Item) -> list[Remote]:
    """What the library itself has put into the cache, if it is all that is wanted."""
    found = [path for path in item.snapshot.rglob("*") if path.is_file()]
    remotes = [
        Remote(path.relative_to(item.snapshot).as_posix(), path.stat().st_size, path.resolve().name)
        for path in found
    ]
    names = [remote.path for remote in remotes]
    if not names or not all(select(names, [pattern]) for pattern in item.source.files):
        raise HubError(
            f"{item.source.hub} is not whole on this machine: fetch it with a network first."
        )
    return remotes


def _note(item: Item) -> Path:
    return item.storage / "companion" / f"{item.commit}.json"


def _noted_commit(item: Item) -> str:
    """The commit that a branch stood for when it was last fetched."""
    reference = item.storage / "refs" / item.commit
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else item.commit


def _at(item: Item, commit: str) -> Item:
    return Item(item.source, commit, item.files, item.cache)


def measure_speed(
    plan: Plan, *, token: str | Literal[False] = False, timeout: float = 30.0
) -> Plan:
    """The plan with the speed at which two seconds' worth of its largest file came, if it is worth
    measuring; those bytes are thrown away.

    Raises:
        HubError: the host of the file does not answer, or refuses.
    """
    from .download import request

    missing = [(file, item) for item in plan.items for file in item.missing if not item.here(file)]
    if not missing or plan.endpoint.offline or plan.to_fetch < WORTH_MEASURING:
        return plan
    file, item = max(missing, key=lambda pair: pair[0].size)
    try:
        with request(item, file, plan.endpoint, token, timeout) as response:
            response.raise_for_status()
            started, got = time.monotonic(), 0
            for chunk in response.iter_raw():
                got += len(chunk)
                if got >= MEASURED_BYTES or time.monotonic() - started > MEASURED_SECONDS:
                    break
            speed = got / max(time.monotonic() - started, 1e-6)
    except Exception as error:
        raise explain(error, plan.endpoint, str(item.source.hub)) from error
    return Plan(plan.endpoint, plan.items, plan.embedded, plan.cache, speed)


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
