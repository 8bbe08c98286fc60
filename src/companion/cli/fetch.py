"""`companion fetch`: fetch what a chapter loads."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from companion.hub import NotAllowed

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
        help="auto, official, hf-mirror, offline, an address, or a folder of repositories "
        "(default: HF_ENDPOINT, or official)",
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
    from companion.hub.errors import HubError, NoRoom, NotAllowed

    from .faults import sentence as told

    warned: list[str] = []
    try:
        refused = _carry_out(arguments, warned)
    except (ValueError, NoRoom, NotAllowed) as error:
        print(f"companion: {told(error)}", file=sys.stderr)
        return 3 if isinstance(error, NoRoom) else 4 if isinstance(error, NotAllowed) else 2
    except HubError as error:
        if str(error) in warned:  # said once is enough
            return 1
        raise
    for sentence in refused:
        print(f"companion: {sentence}", file=sys.stderr)
    return 4 if refused else 0


def _carry_out(arguments: argparse.Namespace, warned: list[str]) -> list[NotAllowed]:
    """Fetch what can be had, and note what was said before; answers with what was refused, if there
    was something else."""
    from companion import hub
    from companion.door import printable
    from companion.hub.fetch import carry_out, opened, time_limit
    from companion.hub.lookup import make_plan
    from companion.hub.speed import measure_speed
    from companion.hub.tokens import token_for
    from companion.sources import wanted

    chosen = wanted(arguments.what, arguments.profile)
    if not any(source.hub for source in chosen.values()):
        print(f"{', '.join(chosen)}: nothing to fetch, it comes with the package.")
        print("The original models of the hub: --profile full")
        return []
    with opened(arguments.endpoint) as place:
        warned += hub.clashes()
        for sentence in warned:
            print(f"companion: {sentence}", file=sys.stderr)
        if arguments.endpoint == "auto":
            print(f"# {place.bare or place.name} works. For your shell, before Python starts:")
            print(hub.export_lines(place))
        token = token_for(place, arguments.send_token)
        refused: list[NotAllowed] | None = [] if len(chosen) > 1 else None
        plan = make_plan(
            chosen,
            place,
            token=token,
            timeout=time_limit(),
            refused=refused,
            verify=arguments.verify,
        )
        plan.check_room()
        plan = measure_speed(plan, token=token, timeout=time_limit())
        print(plan)
        if arguments.plan:
            return refused or []
        carry_out(plan, send_token=arguments.send_token)
        for item in plan.items:
            print(printable(f"{item.source.hub} is in {item.snapshot}"))
        return refused or []
