"""How long a plan will take: the speed of its largest file, measured."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from .asking import refusal
from .download import request
from .errors import explain
from .plan import Plan
from .tokens import Token

logger = logging.getLogger(__name__)

# The speed is measured where it tells something: not for what comes in seconds anyway.
WORTH_MEASURING = 100_000_000
MEASURED_SECONDS = 2.0
MEASURED_BYTES = 32_000_000


def measure_speed(plan: Plan, *, token: Token = False, timeout: float = 30.0) -> Plan:
    """The plan with the speed at which two seconds' worth of its largest file came, if it is worth
    measuring; those bytes are thrown away.

    Raises:
        HubError: the host of the file does not answer, or refuses.
    """
    if plan.endpoint.offline or plan.to_fetch < WORTH_MEASURING:
        return plan
    missing = [(file, item) for item in plan.items for file in item.missing if not item.here(file)]
    if not missing:
        return plan
    file, item = max(missing, key=lambda pair: pair[0].size)
    try:
        with request(item, file, plan.endpoint, token, timeout) as response:
            if response.status_code >= 300:
                raise refusal(response)
            started, got = time.monotonic(), 0
            for chunk in response.iter_raw():
                got += len(chunk)
                if got >= MEASURED_BYTES or time.monotonic() - started > MEASURED_SECONDS:
                    break
            speed = got / max(time.monotonic() - started, 1e-6)
            logger.debug("%s came at %.1f MB a second", file.path, speed / 1e6)
    except Exception as error:
        raise explain(error, plan.endpoint, str(item.source.hub)) from error
    return replace(plan, speed=speed)
