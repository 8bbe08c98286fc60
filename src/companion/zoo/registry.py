"""The list of the embedded models and of the SHA-256 of every one of their files."""

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ZOO = Path(__file__).parent
WEIGHTS = ZOO / "weights"


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
        """Size on disk of all its files; shared parts count where they lie."""
        return sum((self.path / name).stat().st_size for name in self.sha256)


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


def folder(name: str) -> Path:
    """The folder of a model, for `from_pretrained`; one that shares parts with others is put
    together the first time.

    Raises:
        ValueError: no such model.
        FileNotFoundError: its files are missing from this installation.
        PermissionError: it shares parts, and the cache where it is put together cannot be written.
    """
    model = entry(name)
    path = model.path
    if not any(path.glob("*.json")):
        raise FileNotFoundError(
            f"The files of the zoo's {name} are missing from {path}; install diffusers-notes again."
        )
    if model.shared:
        from .assembled import assembled

        return assembled(model)
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(name: str) -> list[str]:
    """What is wrong with a model's files, one sentence each; empty when every file is as
    registered."""
    model = entry(name)
    faults = []
    for file, expected in model.sha256.items():
        path = model.path / file
        if not path.exists():
            faults.append(f"{name}: {file} is missing.")
        elif sha256(path) != expected:
            faults.append(f"{name}: {file} is not the registered file (its SHA-256 differs).")
    return faults
