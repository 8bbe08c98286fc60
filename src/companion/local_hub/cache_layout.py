"""How the cache of the hub's library is laid out: models--OWNER--NAME/snapshots/COMMIT.

The library is not asked (`huggingface_hub.file_download.repo_folder_name`): importing it reads its
variables, and the doctor does without it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

_STORAGE = re.compile(r"(model|dataset)s--(.+)")


class Snapshot(NamedTuple):
    """A repository in the cache, at a commit."""

    repo_type: str
    repo_id: str
    commit: str


def storage_name(repo_type: str, repo_id: str) -> str:
    """The name of a repository's folder in the cache."""
    return f"{repo_type}s--{repo_id.replace('/', '--')}"


def snapshot_of(path: Path) -> Snapshot | None:
    """What a file or a folder in the cache is part of; None for one that lies elsewhere."""
    for below, above in pairwise((path, *path.parents)):
        if above.name == "snapshots" and (found := _STORAGE.fullmatch(above.parent.name)):
            return Snapshot(found[1], found[2].replace("--", "/"), below.name)
    return None
