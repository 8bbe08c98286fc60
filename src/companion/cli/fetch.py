"""`companion fetch`: fetch what a chapter loads."""

from __future__ import annotations

import argparse
import sys
from typing import Any

EPILOG = """
examples:
  companion fetch 3 --profile full --plan      what chapter 3 would fetch, and how long it takes
  companion fetch all --profile full --endpoint auto
                                               everything, by the first route that works
  companion fetch google/ddpm-cat-256          one model; datasets/OWNER/NAME for a dataset
  companion fetch all --profile full --verify  is all that is here still what the hub has?

What was broken off goes on with the same command; Ctrl-C keeps what has come.

exit status:
  0  all of it is there
  1  it could not be fetched, or was stopped: run the same command again
  2  called wrongly, or there is no such chapter, profile or endpoint
  3  not enough room on the disk
  4  there is no such thing, or not for you: running it again does not help
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    from companion.hub import endpoints

    fetch = commands.add_parser(
        "fetch",
        help="fetch what a chapter loads, from the hub, a mirror or a folder",
        description="Fetch models and data into the cache of the hub's library.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fetch.add_argument(
        "what", metavar="WHAT", help="a chapter's number, `all`, a name in the profile, or an id"
    )
    fetch.add_argument("--profile", help="small or full (default: COMPANION_PROFILE, or small)")
    fetch.add_argument(
        "--endpoint",
        help=f"auto, {', '.join(endpoints())}, offline, an address, a folder of repositories, or "
        "modelscope, for models that are there; never tried with the real one "
        "(default: COMPANION_ENDPOINT, HF_ENDPOINT, or official)",
    )
    fetch.add_argument("--plan", action="store_true", help="say what would be done, and stop")
    fetch.add_argument(
        "--verify",
        action="store_true",
        help="compare the checksum of everything that is here, and fetch again what is damaged",
    )
    fetch.add_argument(
        "--send-token",
        action="store_true",
        help="send your token to a host that is not the official one, too",
    )
    fetch.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from companion.hub import HubError, NoRoom, NotAllowed
    from companion.hub.narrate import narrate

    from .faults import sentence

    told = narrate(
        arguments.what,
        arguments.profile,
        where=arguments.endpoint,
        send_token=arguments.send_token,
        verify=arguments.verify,
        only_plan=arguments.plan,
    )
    status, warned = 0, set()
    try:
        with closing(told):
            for said in told:
                if isinstance(said, str):
                    print(said)
                    continue
                print(f"companion: {said}", file=sys.stderr)
                warned.add(str(said))
                status = 4 if isinstance(said, NotAllowed) else status
    except (ValueError, NoRoom, NotAllowed) as error:
        print(f"companion: {sentence(error)}", file=sys.stderr)
        return 3 if isinstance(error, NoRoom) else 4 if isinstance(error, NotAllowed) else 2
    except HubError as error:
        if str(error) in warned:  # said once is enough
            return 1
        raise
    return status
