"""What runs in a process of its own cannot take the doctor down."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from companion.doctor.probe import ask, run

Stub = Callable[[str, str], Path]


def test_what_hangs_is_ended_and_what_it_said_is_kept() -> None:
    program = "import time; print('so far', flush=True); time.sleep(60)"
    began = time.monotonic()
    output, error = run([sys.executable, "-c", program], 1.0)
    assert time.monotonic() - began < 30
    assert (output, error) == ("so far\n", "no answer within 1 s")


def test_the_children_of_what_hangs_are_ended_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    run(["sh", "-c", 'sleep 60 & echo $! > "$0"; wait', str(note)], 1.0)
    pid = int(note.read_text())
    for _ in range(50):  # ended, or a zombie that nobody has collected yet
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    pytest.fail("the child still runs")


def test_a_program_that_is_not_there_is_said() -> None:
    assert run(["no-such-program"], 1.0)[1].startswith("no-such-program cannot be started")


def test_a_crash_of_an_imported_library_is_named(stub: Stub) -> None:
    stub("numpy", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    answer = ask("libraries", "numpy")
    assert answer.error == "it died of SIGSEGV"
    assert answer.facts == {"importing": "numpy"}


def test_a_library_that_ends_python_is_no_answer(stub: Stub) -> None:
    stub("torch", "raise SystemExit('no licence')")
    assert ask("gpu").error == "SystemExit: no licence"


def test_what_a_library_prints_does_not_confuse_the_probe(stub: Stub) -> None:
    stub("numpy", "print('{ hello'); print('{}'); __version__ = '9'")
    assert ask("libraries", "numpy").facts["numpy"]["version"] == "9"
