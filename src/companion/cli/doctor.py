"""`companion doctor`: what is wrong with this machine, and how to mend it."""

import argparse
import sys
from typing import Any


def add(commands: Any) -> None:
    """Add the command to the parser."""
    doctor = commands.add_parser(
        "doctor",
        help="what is wrong with this machine, and how to mend it",
        description="Checks Python, GPU, libraries, disks and the way to the hub. Changes nothing, "
        "needs no library, ends within about 70 seconds.",
        epilog="Exit status: 0 all is well, 1 warnings, 2 problems, or no check of that name.",
    )
    doctor.add_argument(
        "checks", nargs="*", metavar="CHECK", help="only these, such as Variables (default: all)"
    )
    form = doctor.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write the findings as JSON")
    form.add_argument(
        "--report",
        action="store_true",
        help="write a block to paste into an issue, without token, names and your folders",
    )
    # It tells of the settings as they are; and stopped, it has saved nothing.
    doctor.set_defaults(run=_doctor, asks_the_hub=False, goes_on="")


def _doctor(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from companion import doctor

    from .faults import sentence

    try:
        # Closed at once when it is stopped: what the checks have started is ended then.
        with closing(doctor.examine(*arguments.checks)) as findings:
            if arguments.report:
                return int(doctor.write_for_issue(findings))
            if not arguments.json:
                return int(doctor.write(findings))
            listed = list(findings)
            print(doctor.as_json(listed))
            return int(doctor.worst(listed))
    except ValueError as error:  # called wrongly: 1 would mean warnings
        print(f"companion: {sentence(error)}", file=sys.stderr)
        return 2
