"""The `companion` command: a thin face on the package, a file for each command."""

import argparse
import sys
from collections.abc import Sequence

from . import attend, doctor, fetch, train, zoo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: what the command gives, or 0 done, 1 could not be done, 2 called wrongly.
    """
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.asks_the_hub:
            from companion.hub.tokens import keep_token_home

            keep_token_home()
        return parsed.run(parsed) or 0
    except KeyboardInterrupt:
        print(f"Stopped. What was saved is kept; {parsed.goes_on}.", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        print(f"companion: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="companion", description="The companion of the book.")
    parser.set_defaults(goes_on="the same command goes on from there", asks_the_hub=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (attend, doctor, fetch, train, zoo):
        command.add(commands)
    return parser
