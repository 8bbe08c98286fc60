"""All checks, side by side, each with a time limit."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from . import (
    book,
    gpu,
    interpreter,
    libraries,
    network,
    probe,
    removed,
    storage,
    token,
    torchvision,
)
from .finding import Finding, warning

logger = logging.getLogger(__name__)

# What a check may take beyond the probes it starts, which have limits of their own.
SPARE_SECONDS = 10.0

# What others need comes first, so that the first problem is the one to mend.
CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "Python": interpreter.check_python,
    "Machine": interpreter.check_machine,
    "Kernel": interpreter.check_kernel,
    "Profile": book.check_profile,
    "Packages": libraries.check_versions,
    "Imports": libraries.check_imports,
    "GPU": gpu.check_gpu,
    "torchvision": torchvision.check_torchvision,
    "Diffusers": libraries.check_heavy_imports,
    "Disk": storage.check_disk,
    "Cache": storage.check_cache,
    "Variables": network.check_variables,
    "Endpoint": network.check_endpoint,
    "Token": token.check_token,
    "Models": removed.check_removed,
    "Zoo": book.check_zoo,
    "Builder": book.check_builder,
}


def examine(*names: str) -> Generator[Finding]:
    """Run the checks and give their findings in the order of `CHECKS`, each as soon as it is there.

    Without names, all of them. Capital or small letters are the same.
    "Behind the firewall", "The doctor".

    Returns within about 70 seconds whatever the machine does: a check that gives no answer by then
    is a warning that says so. In a notebook this sees what the command cannot: variables that were
    set after huggingface_hub had read them.

    Raises:
        ValueError: there is no such check; the message lists those there are.
    """
    # All are known before the first starts: an interrupt may come at any moment.
    running = [_Running(name, check) for name, check in _choose(names).items()]
    deadline = time.monotonic() + probe.SECONDS + SPARE_SECONDS
    try:
        for check in running:
            check.thread.start()
        for check in running:
            yield from check.findings(deadline)
    finally:
        probe.abandon(check.thread for check in running)


def _choose(names: Sequence[str]) -> dict[str, Callable[[], list[Finding]]]:
    known = {name.lower(): name for name in CHECKS}
    for name in names:
        if name.lower() not in known:
            raise ValueError(f"There is no check {name!r}; choose from {', '.join(CHECKS)}.")
    wanted = {known[name.lower()] for name in names}
    return {name: check for name, check in CHECKS.items() if name in wanted or not names}


@dataclass
class _Running:
    """A check in a thread of its own, which is left behind if it hangs."""

    name: str
    check: Callable[[], list[Finding]]

    def __post_init__(self) -> None:
        self.result: list[Finding] | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self.result = self.check()
        except Exception as error:  # half of the stack may be broken: the other checks go on
            text = f"this check itself failed ({type(error).__name__}: {error})"
            self.result = [warning(self.name, text, "mend what the other lines name first")]
        logger.debug("%s took %.1f s", self.name, time.monotonic() - began)

    def findings(self, deadline: float) -> list[Finding]:
        self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.result is None:
            remedy = "look for a disk or a network drive that does not answer"
            return [warning(self.name, "no answer within the time limit", remedy)]
        return self.result
