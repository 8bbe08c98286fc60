"""What a test needs of the system that not every one has: a mark skips it elsewhere, so that the
files of tests can be read on every system."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

few_rights = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root, or Windows: may read everything"
)
forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes by fork"
)
clone = pytest.mark.skipif(
    not (Path(__file__).parents[1] / ".git").exists(), reason="needs a clone, not its files alone"
)
unix = pytest.mark.skipif(os.name != "posix", reason="needs pipes, limits and signals as Unix has")


def fork_context() -> Any:
    """Processes that begin as copies of this one: for tests with the mark `forks`."""
    return multiprocessing.get_context("fork")


def signals(*names: str) -> list[Any]:
    """Signals as parameters; one that this system lacks is a skipped one."""
    return [
        pytest.param(getattr(signal, name, 0), marks=[] if hasattr(signal, name) else unix, id=name)
        for name in names
    ]
