"""Runs what may hang or crash in a process of its own, with a time limit."""

import contextlib
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

PROBES = Path(__file__).with_name("probes")
# A first import from a slow disk takes this long.
SECONDS = 60.0
# What runs, and the thread that waits for it; threads that nobody waits for start nothing more.
_running: dict[subprocess.Popen[str], threading.Thread] = {}
_abandoned: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_lock = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What a probe found out before it ended.

    Attributes:
        facts: what it reported.
        error: how it failed, in a line; "" if it did not.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def ask(probe: str, *arguments: str, seconds: float | None = None) -> Answer:
    """Run a file of probes/ in a fresh Python, the way a notebook of this folder would import."""
    began = time.monotonic()
    runner = (PROBES / "runner.py").read_text(encoding="utf-8")
    script = str(PROBES / f"{probe}.py")
    output, error = run([sys.executable, "-c", runner, script, *arguments], seconds or SECONDS)
    facts: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):  # libraries may print too
            with contextlib.suppress(ValueError):
                facts.update(json.loads(line))
    logger.debug("the probe %s took %.1f s", probe, time.monotonic() - began)
    return Answer(facts, str(facts.pop("error", "")) or error)


def run(command: Sequence[str], seconds: float) -> tuple[str, str]:
    """Run a command; give what it printed, and how it failed, in a line ("" if it did not)."""
    # While this end is open, the doctor lives: a probe sees it close, whatever ended the doctor.
    alive, end = os.pipe()
    try:
        process = _start(command, alive)
    except OSError as error:
        os.close(end)
        return "", f"{Path(command[0]).name} cannot be started: {error.strerror}"
    finally:
        os.close(alive)
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as expired:
        kill(process)
        printed = expired.output or ""
        output = printed.decode(errors="replace") if isinstance(printed, bytes) else printed
        return output, f"no answer within {seconds:.0f} s"
    finally:
        os.close(end)
        _running.pop(process, None)
    if process.returncode < 0:
        return output, f"it died of {signal.Signals(-process.returncode).name}"
    return output, last_line(errors) if process.returncode else ""


def _start(command: Sequence[str], stdin: int) -> subprocess.Popen[str]:
    with _lock:
        if threading.current_thread() in _abandoned:
            raise OSError(errno.ECANCELED, "the doctor has ended")
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="locale",  # as a program writes into a pipe, Python too
            errors="replace",
            start_new_session=True,  # so that its children can be ended with it
        )
        _running[process] = threading.current_thread()
    return process


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it failed without a word"


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and its children, and do not wait for one that cannot be ended."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    # A process that waits for a dead driver or disk ignores even this.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)


def abandon(threads: Iterable[threading.Thread]) -> None:
    """End what these threads wait for, and let them start nothing more."""
    with _lock:
        _abandoned.update(threads)
        left = [process for process, thread in _running.items() if thread in _abandoned]
    for process in left:
        kill(process)
