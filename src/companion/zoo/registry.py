"""The list of the embedded models and of the SHA-256 of every one of their files."""

import hashlib
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from companion.door import is_file

ZOO = Path(__file__).parent
WEIGHTS = ZOO / "weights"
STRANGE = "does not belong there"


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: how it is asked for.
        summary: what it does, in one line.
        path: its folder.
        loads_with: the class whose `from_pretrained` reads the folder.
        sha256: of every file, by its name relative to the folder.
        shared: parts that it has in common with other models: the name of the part's folder, and
            where that lies among the weights.
    """

    name: str
    summary: str
    path: Path
    loads_with: str
    sha256: dict[str, str]
    shared: dict[str, str]

    @property
    def bytes(self) -> int:
        """Size on disk of all its files that are there; shared parts count where they lie."""
        files = (self.path / name for name in self.sha256)
        return sum(path.stat().st_size for path in files if is_file(path))


@cache
def entries() -> dict[str, Entry]:
    """The models of the zoo by name."""
    table = tomllib.loads((ZOO / "registry.toml").read_text(encoding="utf-8"))
    hashes = tomllib.loads((ZOO / "sha256.toml").read_text(encoding="utf-8"))
    return {
        name: Entry(
            name=name,
            summary=entry["summary"],
            path=WEIGHTS / entry["folder"],
            loads_with=entry["loads_with"],
            sha256=hashes.get(name, {}),
            shared=entry.get("shared", {}),
        )
        for name, entry in table.items()
    }


def entry(name: str) -> Entry:
    """The model of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    try:
        return entries()[name]
    except KeyError:
        known = ", ".join(entries())
        raise ValueError(
            f"There is no model {name!r} in the zoo; choose one of: {known}."
        ) from None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_registered(path: Path, kept: str) -> bool:
    """Whether it is a file, and the one of that SHA-256."""
    return is_file(path) and sha256(path) == kept


def files_in(folder: Path) -> list[str]:
    """Names of all that lies in a folder and in the folders in it, links among them, which are not
    followed."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # noqa: PTH114, PTH118
        found += [Path(place, name).relative_to(folder).as_posix() for name in [*files, *links]]
    return found


def verify(name: str) -> list[str]:
    """What is wrong with a model's files, one sentence each; empty when every file is as
    registered, and no other is there that a loader might take."""
    model = entry(name)
    faults = [] if model.sha256 else [f"{name}: its files are not made yet."]
    for file, expected in model.sha256.items():
        path = model.path / file
        try:
            if not is_file(path):
                faults.append(f"{name}: {file} is missing.")
            elif not is_registered(path, expected):
                faults.append(f"{name}: {file} is not the registered file (its SHA-256 differs).")
        except OSError as error:
            faults.append(f"{name}: {file} cannot be read ({error.strerror}).")
    faults += [
        f"{name}: {file} {STRANGE}."
        for file in files_in(model.path)
        if file not in model.sha256 and not _is_card(file)
    ]
    return faults


def _is_card(file: str) -> bool:
    """Whether no loader takes a file: cards, their pictures, and what desktops hide."""
    *folders, last = file.split("/")
    hidden = any(part.startswith(".") for part in (*folders, last))
    return hidden or last in ("README.md", "evaluation.json") or last.endswith(".png")
