"""ModelScope's API on this machine, as its own client (`modelscope` 1.40, from PyPI) asks for it.

The stock client downloads from it; the real ModelScope was never at hand to compare with. Only
reading of models is there: the list of files, and the files, of which the large ones come from a
second host.

    with LocalModelScope(folder) as hub:
        MODELSCOPE_ENDPOINT=hub.address modelscope download --model OWNER/NAME
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from companion.door.checksums import sha256

from .repository import Stored
from .server import ID, Answer, LocalHub, Request, as_json

BRANCH = "master"


class LocalModelScope(LocalHub):
    """A hub that also answers as ModelScope does, for the models in its folder."""

    routes: ClassVar[list[tuple[str, str, str]]] = [
        *LocalHub.routes,
        ("GET", rf"/api/v1/models/{ID}", "scope_info"),
        ("GET", rf"/api/v1/models/{ID}/repo/files", "scope_files"),
        ("GET", rf"/api/v1/models/{ID}/repo", "scope_file"),
        ("GET", rf"/models/{ID}/resolve/([^/]+)/(.+)", "scope_resolve"),
    ]

    def scope_info(self, request: Request, repo_id: str) -> Answer:
        """What the client asks to know whether there is such a model."""
        found = self.repository("model", repo_id, None)
        owner, name = repo_id.split("/")
        data = {"Path": owner, "Name": name, "Revision": BRANCH, "Visibility": 5}
        return _denied(found) if isinstance(found, Answer) else _said(data)

    def scope_files(self, request: Request, repo_id: str) -> Answer:
        """The list of files and folders, with the SHA-256 of each file."""
        found = self.repository("model", repo_id, _revision(request))
        if isinstance(found, Answer):
            return _denied(found)
        deep = request.query.get("Recursive", [""])[0].lower() == "true"
        root = request.query.get("Root", [""])[0].strip("/")
        below = f"{root}/" if root else ""
        entries: dict[str, dict[str, Any]] = {}
        for path, stored in found.files().items():
            if not path.startswith(below):
                continue
            steps = path[len(below) :].split("/")
            for depth in range(1, len(steps)):
                folder = below + "/".join(steps[:depth])
                entries.setdefault(folder, _entry(folder, found.commit, None))
            entries[path] = _entry(path, found.commit, stored)
        top = below.count("/")
        listed = [entry for path, entry in entries.items() if deep or path.count("/") == top]
        return _said({"Files": listed, "IsVisual": 0})

    def scope_file(self, request: Request, repo_id: str) -> Answer:
        """A file by its name in the query."""
        path = request.query.get("FilePath", [""])[0]
        revision = request.query.get("Revision", [BRANCH])[0]
        return self.scope_resolve(request, repo_id, revision, path)

    def scope_resolve(self, request: Request, repo_id: str, revision: str, path: str) -> Answer:
        """A file: a small one itself, a large one as the way to the host that has it."""
        known = "main" if revision == BRANCH else revision
        answer = self.resolve(request, None, repo_id, known, path)
        return _denied(answer) if answer.status == 404 else answer


def _revision(request: Request) -> str | None:
    asked = request.query.get("Revision", [BRANCH])[0]
    return None if asked == BRANCH else asked


def _entry(path: str, commit: str, stored: Stored | None) -> dict[str, Any]:
    return {
        "CommitMessage": "",
        "CommittedDate": 1704067200,
        "CommitterName": "",
        "InCheck": False,
        "IsLFS": stored is not None and stored.sha256 is not None,
        "Mode": "33188" if stored else "16384",
        "Name": path.rpartition("/")[2],
        "Path": path,
        "Revision": commit,
        "Sha256": (stored.sha256 or sha256(stored.file)) if stored else "",
        "Size": stored.size if stored else 0,
        "Type": "blob" if stored else "tree",
    }


def _said(data: dict[str, Any]) -> Answer:
    return as_json({"Code": 200, "Data": data, "Message": "success", "Success": True})


def _denied(answer: Answer) -> Answer:
    """An answer that says no, in ModelScope's form: the hub's headers are not its. Its numbers for
    what is wrong are not known here."""
    body = {"Code": answer.status, "Message": "", "Success": False}
    return replace(as_json(body, answer.status), headers={"Content-Type": "application/json"})
