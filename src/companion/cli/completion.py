"""`companion --print-completion SHELL`: the script by which a shell completes the command on Tab.

It is printed once and kept: Tab then starts no Python."""

import argparse
from collections.abc import Callable, Iterable, Iterator

from companion.door.tables import read_table
from companion.hub import endpoints
from companion.hub.endpoints import MODELSCOPE, OFFLINE
from companion.sources import PROFILES, sources
from companion.zoo.registry import entries

FILE, FOLDER = "FILE", "DIRECTORY"  # shtab's names of what it completes


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell: the commands, their options, and what is known to follow them.

    Raises:
        ValueError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        from companion.doctor.commands import pip_install

        raise ValueError(
            f"This takes one more package: {pip_install(['shtab>=1.13,<2'])}"
        ) from None

    for place, action in _arguments(parser):
        follows = SUGGESTIONS.get(place)
        if isinstance(follows, str):
            action.complete = getattr(shtab, follows)  # type: ignore[attr-defined]
        elif follows:
            # For the script alone: this parser reads no arguments any more.
            action.choices = [*follows()]
    return str(shtab.complete(parser, shell))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Each argument with its place, such as `companion fetch what`."""
    for action in parser._actions:
        yield f"{parser.prog} {action.dest}", action
        if isinstance(action.choices, dict):  # the commands
            for command in action.choices.values():
                yield from _arguments(command)


def _wanted() -> Iterable[str]:
    known = sources("full")
    chapters = sorted({number for source in known.values() for number in source.chapters})
    return [*map(str, chapters), "all", *known]


def _profiles() -> Iterable[str]:
    return read_table(PROFILES)


def _drawing_models() -> Iterable[str]:
    return [
        name
        for name, entry in entries().items()
        if entry.loads_with.endswith("StableDiffusionPipeline")
    ]


def _checks() -> Iterable[str]:
    from companion.doctor.examine import CHECKS

    return CHECKS


def _devices() -> Iterable[str]:
    return ("cuda", "mps", "cpu")


# By the argument's place: names, of which others than these are taken too, or a kind of file.
SUGGESTIONS: dict[str, Callable[[], Iterable[str]] | str] = {
    "companion attend model": _drawing_models,
    "companion attend out": FOLDER,
    "companion doctor checks": _checks,
    "companion fetch endpoint": lambda: ("auto", *endpoints(), OFFLINE.name, MODELSCOPE),
    "companion fetch profile": _profiles,
    "companion fetch what": _wanted,
    "companion train config": FILE,
    "companion train dataset_name": FOLDER,
    "companion train model": _drawing_models,
    "companion train output_dir": FOLDER,
    "companion zoo train name": entries,
    "companion zoo train device": _devices,
    "companion zoo train runs": FOLDER,
    "companion zoo evaluate name": entries,
    "companion zoo evaluate device": _devices,
}
