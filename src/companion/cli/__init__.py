"""The `companion` command: a thin face on the package, a file for each command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any, NoReturn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: those of the command; None takes the terminal's, and with them its signals and
            streams, and exits.

    Returns:
        The exit status: what the command gives, or 0 done, 1 could not be done, 2 called wrongly.
    """
    if arguments is not None:
        return _carry_out(arguments)
    from . import stopping

    stopping.listen()
    try:
        from . import console

        console.prepare()
        status = _carry_out(sys.argv[1:])
    except SystemExit as stop:  # argparse has said what it is
        status = stop.code if isinstance(stop.code, int) else 0
    except stopping.Stopped as stop:
        from . import console  # where the signal came while it was read

        console.say(stopping.NOTHING_CHANGED)
        status = stop.status
    except BrokenPipeError:  # of argparse's own help, in some versions of Python
        status = 1
    console.leave(status)


def _carry_out(arguments: Sequence[str]) -> int:
    from . import console, faults, logs, stopping

    parsed = _parser().parse_args(arguments)
    stopped = stopping.NOTHING_CHANGED
    if parsed.goes_on:
        stopped = f"Stopped. What was saved is kept; {parsed.goes_on}."
    stopping.say_when_stopped(stopped)
    try:
        if parsed.asks_the_hub:
            from companion.hub.environment import number_fault
            from companion.hub.tokens import keep_token_home

            if fault := number_fault():
                raise ValueError(str(fault))
            keep_token_home()
        with logs.shown(parsed.verbose):
            return parsed.run(parsed) or 0
    except KeyboardInterrupt as stop:
        console.say(stopped)
        return stop.status if isinstance(stop, stopping.Stopped) else 1
    except Exception as error:
        if isinstance(error, OSError) and console.output_is_lost():
            return 1  # which is said at the exit
        if sys.flags.dev_mode and not faults.is_expected(error):
            import traceback

            traceback.print_exc()
        console.say(f"companion: {faults.sentence(error)}")
        return 1


def _parser() -> argparse.ArgumentParser:
    import argparse

    from companion.door.text import printable, without_password

    from . import attend, doctor, fetch, instead, train, zoo

    class Parser(argparse.ArgumentParser):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.add_argument(  # before the command or behind it
                "-v",
                "--verbose",
                action="store_true",
                default=argparse.SUPPRESS,
                help="say more of what happens, on stderr",
            )

        def error(self, message: str) -> NoReturn:
            super().error(printable(without_password(message)))

    parser = Parser(prog="companion", description="The companion of the book.")
    # What the sentence after Ctrl-C says; "" where a command saves nothing.
    parser.set_defaults(
        goes_on="the same command goes on from there", asks_the_hub=True, verbose=False
    )
    instead.add(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (attend, doctor, fetch, train, zoo):
        command.add(commands)
    return parser
