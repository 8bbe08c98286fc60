"""What the chapters load, by profile: models of the zoo, models and datasets of the hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.door import RepositoryId, RepositoryPath, Untrusted, printable
from companion.door.tables import read_table

VARIABLE = "COMPANION_PROFILE"
PROFILES = Path(__file__).with_name("profiles.toml")
ID = re.compile(r"(?:(datasets?)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class ModelSource:
    """Where a model or a dataset comes from: the zoo, or one commit of a repository on the hub.

    Attributes:
        zoo: name in the zoo, or None.
        hub: id on the hub, or None.
        revision: commit of the hub's repository, 40 hexadecimal digits.
        files: patterns of the files that are loaded.
        repo_type: "model" or "dataset", the hub's own words.
        chapters: the chapters that load it; `companion fetch 3` fetches those of chapter 3.
        bytes: their size on disk.
    """

    zoo: str | None = None
    hub: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    repo_type: str = "model"
    chapters: tuple[int, ...] = ()
    bytes: int = 0


def sources(name: str | None = None) -> dict[str, ModelSource]:
    """Every model and dataset of a profile, by the name a chapter calls it; needs no GPU.

    Raises:
        ValueError: there is no such profile.
    """
    _, table = profile_table(name)
    return {key: _source(entry) for key, entry in table["models"].items()}


def gpu_memory(name: str | None = None) -> dict[int, int]:
    """Bytes of GPU memory that each chapter takes at most, by its number; none in `small`.

    Raises:
        ValueError: there is no such profile.
    """
    _, table = profile_table(name)
    return {int(chapter): size for chapter, size in table.get("gpu_memory", {}).items()}


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
    if re.fullmatch("[0-9]{1,9}", what):
        chosen = {name: source for name, source in table.items() if int(what) in source.chapters}
        if not chosen:
            chapters = sorted({number for source in table.values() for number in source.chapters})
            known = ", ".join(map(str, chapters))
            raise ValueError(f"Chapter {what} loads nothing; choose one of {known}, or all.")
        return chosen
    match = ID.fullmatch(what)
    try:
        repo_id = RepositoryId(match and match[2])
    except Untrusted:
        raise ValueError(
            f"{printable(what)!r} is no chapter, no name ({', '.join(table)}) and no id such as "
            "google/ddpm-cat-256 or datasets/huggan/flowers-102-categories."
        ) from None
    assert match
    repo_type = "dataset" if match[1] else "model"
    try:
        revision = RepositoryPath(match[3]) if match[3] else None
    except Untrusted:
        raise ValueError(
            f"{match[3][:60]!r} can be no version of {repo_id}: what follows the @ is a branch, a "
            "tag or a commit, such as main."
        ) from None
    for source in (*table.values(), *sources("full").values()):
        if (source.hub, source.repo_type) == (repo_id, repo_type) and revision in (
            None,
            source.revision,
        ):
            return {repo_id: source}
    return {repo_id: ModelSource(hub=repo_id, repo_type=repo_type, revision=revision or "main")}


def _source(table: dict[str, Any]) -> ModelSource:
    lists = {name: tuple(table.get(name, ())) for name in ("files", "chapters")}
    return ModelSource(**{**table, **lists})


def profile_table(name: str | None) -> tuple[str, dict[str, Any]]:
    """The name of a profile, by default the variable's or `small`, and its table in profiles.toml.

    Raises:
        ValueError: there is no such profile.
    """
    table = read_table(PROFILES)
    name = name or os.environ.get(VARIABLE) or "small"
    if name not in table:
        known = " or ".join(table)
        raise ValueError(f"There is no profile {name!r}; set {VARIABLE} to {known}.")
    return name, table[name]
