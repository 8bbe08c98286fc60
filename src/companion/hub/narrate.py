"""Fetching as `companion fetch` does it: what there is to say, as it happens."""

from __future__ import annotations

from collections.abc import Generator

from companion.door import printable
from companion.door.advice import Advice
from companion.sources import wanted

from .endpoints import MODELSCOPE
from .environment import clashes, export_lines
from .errors import NotAllowed
from .fetch import VARIABLE, carry_out, opened, time_limit
from .lookup import make_plan
from .speed import measure_speed
from .tokens import token_for


def narrate(
    what: int | str,
    profile: str | None = None,
    *,
    where: str | None = None,
    send_token: bool = False,
    verify: bool = False,
    only_plan: bool = False,
) -> Generator[str | Advice | NotAllowed]:
    """Fetch what can be had of what is wanted; each step is carried out when it is asked for.

    Args:
        what: as for `fetch`, and so are profile, where, send_token and verify.
        only_plan: whether to stop at the plan.

    Yields:
        Lines of the report; before them advice on settings that clash; after them, where several
        repositories were wanted, what was refused.

    Raises:
        HubError: as `fetch`; and NotAllowed where one repository was wanted and is refused.
        ValueError: as `fetch`.
    """
    chosen = wanted(what, profile)
    if not any(source.hub for source in chosen.values()):
        yield f"{', '.join(chosen)}: nothing to fetch, it comes with the package."
        yield "The original models of the hub: --profile full"
        return
    with opened(where) as endpoint:
        yield from clashes()
        if where == "auto":
            known = endpoint.bare or endpoint.name
            yield f"# {known} works. For your shell, before Python starts:"
            yield export_lines(endpoint)
        token, timeout = token_for(endpoint, send_token), time_limit()
        refused: list[NotAllowed] = []
        plan = make_plan(
            chosen,
            endpoint,
            token=token,
            timeout=timeout,
            refused=refused if len(chosen) > 1 else None,
            verify=verify,
        )
        plan.check_room()
        plan = measure_speed(plan, token=token, timeout=timeout)
        yield str(plan)
        if not only_plan:
            carry_out(plan, send_token=send_token)
            for item in plan.items:
                yield printable(f"{item.source.hub} is in {item.snapshot}")
            if endpoint.protocol == MODELSCOPE and any(s.chapters for s in chosen.values()):
                yield f"For the chapters, before Python starts: export {VARIABLE}={MODELSCOPE}"
        yield from refused
