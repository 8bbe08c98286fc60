"""The whole examination: the command as a reader types it."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from companion import doctor
from companion.doctor import Verdict, examine, good, probe

Stub = Callable[[str, str], Path]


def run_doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "companion", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], list[doctor.Finding]]]:
    """No checks but a test's own, and a short limit."""
    checks: dict[str, Callable[[], list[doctor.Finding]]] = {}
    monkeypatch.setattr(sys.modules["companion.doctor.examine"], "CHECKS", checks)
    monkeypatch.setattr(sys.modules["companion.doctor.examine"], "SPARE_SECONDS", 0.5)
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    return checks


def test_a_check_that_hangs_is_a_warning_and_the_others_go_on(
    quick: dict[str, Callable[[], list[doctor.Finding]]],
) -> None:
    quick["Slow"] = lambda: time.sleep(60) or []
    quick["Fast"] = lambda: [good("Fast", "done")]
    slow, fast = examine()
    assert (slow.check, slow.verdict) == ("Slow", Verdict.WARNING)
    assert fast == good("Fast", "done")


def test_a_check_that_fails_itself_is_a_warning_and_the_others_go_on(
    quick: dict[str, Callable[[], list[doctor.Finding]]],
) -> None:
    quick["Broken"] = lambda: [][0]
    quick["Fast"] = lambda: [good("Fast", "done")]
    broken, fast = examine()
    assert broken.verdict is Verdict.WARNING
    assert "IndexError" in broken.text
    assert fast == good("Fast", "done")


def test_the_command_needs_no_library_to_start(stub: Stub) -> None:
    for name in ("torch", "numpy", "PIL", "huggingface_hub", "transformers", "yaml"):
        stub(name, f"raise ImportError('{name} is broken')")
    began = time.monotonic()
    done = run_doctor("--json")
    assert time.monotonic() - began < 100
    assert done.stderr == ""
    assert done.returncode == 2
    findings = json.loads(done.stdout)["findings"]
    problems = [f"{f['check']}: {f['text']}" for f in findings if f["verdict"] == "problem"]
    assert "GPU: torch cannot be imported: ImportError: torch is broken" in problems
    assert any(p.startswith("Imports: numpy cannot be imported: ImportError") for p in problems)
    assert not any(p.startswith("Zoo") for p in problems)
    assert not [f for f in findings if "check itself" in f["text"]], findings


def test_only_the_checks_that_are_asked_for_are_made() -> None:
    done = run_doctor("variables", "Token")
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("[")] == [
        "Variables",
        "Token",
    ]


def test_a_check_that_is_not_there_is_one_sentence() -> None:
    done = run_doctor("Moon")
    assert done.returncode == 2
    assert done.stderr.startswith("companion: There is no check 'Moon'; choose from Python, ")


@pytest.mark.slow
def test_this_machine_is_well_and_the_report_fits_on_a_screen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # the tests may lie where nothing can be written
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(probe, "SECONDS", 300.0)  # a busy machine is not a sick one
    to = io.StringIO()
    assert doctor.write(examine(), to) is not Verdict.PROBLEM, to.getvalue()
    assert len(to.getvalue().splitlines()) < 40


def runs(pid: str) -> bool:
    """Whether a process is there and is no zombie, which only waits to be collected."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("blow", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_whatever_ends_the_doctor_ends_the_probes_too(
    stub: Stub, tmp_path: Path, blow: str
) -> None:
    notes = tmp_path / "pids"
    notes.mkdir()
    stub(
        "torch",
        f"import os, time; open(f'{notes}/{{os.getpid()}}', 'w').close(); time.sleep(99)",
    )
    doctor_process = subprocess.Popen(
        [sys.executable, "-m", "companion", "doctor"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any(notes.iterdir()):
        time.sleep(0.1)
    doctor_process.send_signal(getattr(signal, blow))
    _, said = doctor_process.communicate(timeout=20)
    if blow == "SIGINT":
        assert doctor_process.returncode == 1
        assert said.count("\n") == 1
        assert said.startswith("Stopped. ")
        assert "saved" not in said
    for _ in range(50):
        if not any(runs(note.name) for note in notes.iterdir()):
            return
        time.sleep(0.1)
    pytest.fail("a probe still runs")
