"""The list of the embedded models and of the SHA-256 of every one of their files."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from companion.door import is_file
from companion.door.advice import Advice
from companion.door.checksums import sha256
from companion.door.tables import read_table

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
        shared: parts that it has in common with other models: the name of the part's folder or
            file, and where that lies among the weights.
        absent: parts that its pipeline has and it has not: `from_pretrained` wants None for each,
            by name.
        licence: the card's words on it; "" for those of a model that learned from the scenes alone.
    """

    name: str
    summary: str
    path: Path
    loads_with: str
    sha256: dict[str, str]
    shared: dict[str, str]
    absent: tuple[str, ...] = ()
    licence: str = ""

    @property
    def bytes(self) -> int:
        """Size on disk of all its files that are there; shared parts count where they lie."""
        files = (self.path / name for name in self.sha256)
        return sum(path.stat().st_size for path in files if is_file(path))


@cache
def entries() -> dict[str, Entry]:
    """The models of the zoo by name."""
    table = read_table(ZOO / "registry.toml")
    hashes = read_table(ZOO / "sha256.toml")
    return {
        name: Entry(
            name=name,
            summary=entry["summary"],
            path=WEIGHTS / entry["folder"],
            loads_with=entry["loads_with"],
            sha256=hashes.get(name, {}),
            shared=entry.get("shared", {}),
            absent=tuple(entry.get("absent", ())),
            licence=entry.get("licence", ""),
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


def is_registered(path: Path, expected: str) -> bool:
    """Whether there is a file, and its SHA-256 is the expected one."""
    return is_file(path) and sha256(path) == expected


def files_in(folder: Path) -> list[str]:
    """Names of all that lies in a folder and in the folders in it, links among them, which are not
    followed."""
    found = []
    for inner, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(inner, name))]  # noqa: PTH114, PTH118
        found += [Path(inner, name).relative_to(folder).as_posix() for name in [*files, *links]]
    return found


def faults(name: str) -> list[Advice]:
    """What is wrong with a model's files; empty when every file is as registered, and no other is
    there that a loader might take."""
    model = entry(name)
    again = "install diffusers-notes again"
    found = []
    if not model.sha256:
        found.append(
            Advice(f"{name}: its files are not made yet", f"run companion zoo train {name}")
        )
    for file, expected in model.sha256.items():
        path = model.path / file
        try:
            if not is_file(path):
                found.append(Advice(f"{name}: {file} is missing", again))
            elif not is_registered(path, expected):
                text = f"{name}: {file} is not the registered file (its SHA-256 differs)"
                found.append(Advice(text, again))
        except OSError as error:
            found.append(Advice(f"{name}: {file} cannot be read ({error.strerror})", again))
    # What is not ours stays where it is when the package is installed again.
    found += [
        Advice(f"{name}: {file} does not belong there", "move it away")
        for file in files_in(model.path)
        if file not in model.sha256 and not _is_card(file)
    ]
    return found


def verify(name: str) -> list[str]:
    """What is wrong with a model's files, one sentence each (see `faults`)."""
    return [f"{fault.text}." for fault in faults(name)]


def _is_card(file: str) -> bool:
    """Whether no loader takes a file: cards, their pictures, and what desktops hide."""
    *folders, last = file.split("/")
    hidden = any(part.startswith(".") for part in (*folders, last))
    return hidden or last in ("README.md", "evaluation.json") or last.endswith(".png")
