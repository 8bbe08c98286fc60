"""Options that stand in place of a command: they print something, and end."""

import argparse
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions")
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        help="print the script by which a shell completes this command on Tab",
    )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .version import versions

        print(versions())
        parser.exit()


class _Completion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: Any, *__: object) -> None:
        from .completion import script

        try:
            print(script(parser, shell))
        except ValueError as error:
            parser.exit(1, f"companion: {error}\n")
        parser.exit()
