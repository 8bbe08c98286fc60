"""What a reader asks for: a chapter, a name in the profile, or an id."""

from __future__ import annotations

import re

from companion.door import RepositoryId, RepositoryPath, Untrusted, printable
from companion.profile import ModelSource, sources

ID = re.compile(r"(?:(datasets?)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


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
