"""The words of the scenes: objects and their groups, background colours, styles, named subsets."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from companion.door.tables import read_table

FOLDER = Path(__file__).parent
STYLES = ("3d", "flat")


def _read(name: str) -> dict[str, Any]:
    return read_table(FOLDER / name)


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """The objects by group, in the order of the atlas."""
    return {group: tuple(names) for group, names in _read("objects.toml").items()}


@cache
def objects() -> tuple[str, ...]:
    """Every object's name, in the order of the atlas."""
    return tuple(name for names in groups().values() for name in names)


@cache
def backgrounds() -> dict[str, tuple[int, int, int]]:
    """The background colours by name, sRGB 0..255."""
    return {name: tuple(rgb) for name, rgb in _read("palette.toml")["colours"].items()}


@cache
def colour_jitter() -> int:
    """By how much a scene's background may differ from its named colour, per channel."""
    return int(_read("palette.toml")["jitter"])


@dataclass(frozen=True)
class Subset:
    """A part of the world of scenes: what may appear in it, drawn how, how many to a picture."""

    name: str
    objects: tuple[str, ...]
    styles: tuple[str, ...]
    counts: tuple[int, ...]
    held_out: frozenset[tuple[str, str]]


@cache
def subsets() -> dict[str, Subset]:
    """The named subsets of `subsets.toml`."""
    return {name: _subset(name, entry) for name, entry in _read("subsets.toml").items()}


def _subset(name: str, entry: dict[str, Any]) -> Subset:
    chosen = [*entry.get("objects", [])]
    for group in entry.get("groups", []):
        chosen += groups()[group]
    return Subset(
        name=name,
        objects=tuple(chosen),
        styles=tuple(entry["styles"]),
        counts=tuple(entry["counts"]),
        held_out=frozenset((thing, colour) for thing, colour in entry.get("held_out", [])),
    )


def subset(name: str) -> Subset:
    """The subset of that name.

    Raises:
        ValueError: no such subset; the message lists those there are.
    """
    try:
        return subsets()[name]
    except KeyError:
        known = ", ".join(subsets())
        raise ValueError(
            f"There is no subset {name!r} of the scenes; choose one of: {known}."
        ) from None
