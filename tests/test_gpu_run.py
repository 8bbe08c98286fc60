"""tools/gpu_run.py: what it does in the time it has, what it keeps, and what it says is missing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from lib import results as kept
from lib.goals import goals
from lib.results import Part, Recorder, Results, Times

import gpu_run

TOOL = Path(gpu_run.__file__)
SMALL = ["--size", "small", "--results"]


def test_every_task_names_parts_and_scripts_that_are_there() -> None:
    for small in (False, True):
        for task in gpu_run.tasks(small):
            if task.kind == "benchmark":
                assert (gpu_run.ROOT / task.command[0]).is_file()
            paths = [word for word in task.command if word.startswith(("tests", "book"))]
            assert all((gpu_run.ROOT / path).exists() for path in paths)
            assert task.results
    full = gpu_run.tasks(small=False)
    # Side by side counts once.
    shares = {task.group: task.minutes for task in full}
    assert sum(shares.values()) <= 8


@pytest.mark.parametrize(
    ("line", "counted", "failed"),
    [
        ("tests/a.py::test_b PASSED   [ 50%]", {"PASSED": 1}, []),
        ("tests/a.py::test_b[x y] FAILED", {}, ["tests/a.py::test_b[x y]"]),
        ("[gw3] [ 12%] PASSED tests/a.py::test_b ", {"PASSED": 1}, []),
        ("[gw10] [100%] FAILED book/01_start.ipynb::Cell 3 ", {}, ["book/01_start.ipynb::Cell 3"]),
        ("book/01_start.ipynb::Cell 0 PASSED     [ 4%]", {"PASSED": 1}, []),
        ("tests/a.py::test_b SKIPPED (needs a GPU)  [ 1%]", {"SKIPPED": 1}, []),
        ("tests/a.py::test_b ERROR", {}, ["tests/a.py::test_b"]),
        ("a line that says PASSED", {}, []),
    ],
)
def test_outcomes_are_read_line_by_line(
    line: str, counted: dict[str, int], failed: list[str]
) -> None:
    assert gpu_run.outcomes(f"\x1b[32m{line}\x1b[0m\nother\n") == (counted, failed)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), "--size", "small", "--results", str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture(scope="module")
def tried(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A trial of a benchmark and of tests, for real, on this CPU."""
    folder = tmp_path_factory.mktemp("results")
    return folder, run(folder, "sampling", "fast-tests", "--minutes", "8")


def results_in(folder: Path) -> Results:
    (path,) = folder.glob("*.json")
    return kept.read(path)


@pytest.mark.slow
def test_a_trial_on_a_cpu_measures_and_tests_for_real(
    tried: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, answer = tried
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = results_in(folder)
    tests = found.parts["fast-tests"]
    assert tests.complete
    assert tests.cases["tests"]["passed"] > 5
    sampling = found.parts["sampling-sd14-1"]
    assert sampling.complete
    assert sampling.size == "small"
    assert sampling.cases["notes' loop"]["seconds"].median > 0
    assert sampling.cases["optimised, fp16"]["psnr_db"] > 20
    assert "missing" not in answer.stdout
    assert "a trial at reduced size" in answer.stdout
    assert "reached" not in answer.stdout
    assert (folder / gpu_run.LOG).is_file()
    assert not list(folder.glob(".*.out"))


@pytest.mark.slow
def test_the_next_run_does_the_rest_and_nothing_twice(
    tried: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = tried
    before = results_in(folder)
    again = run(folder, "sampling", "fast-tests", "gpu-tests", "--minutes", "3")
    assert "==> gpu-tests" in again.stdout
    assert "==> sampling" not in again.stdout
    after = results_in(folder)
    assert after.parts["sampling-sd14-1"] == before.parts["sampling-sd14-1"]
    assert after.parts["gpu-tests"].cases["tests"]["skipped"] > 0


def test_without_time_it_does_nothing_and_says_what_is_missing(tmp_path: Path) -> None:
    answer = run(tmp_path, "--minutes", "0.01")
    assert answer.returncode == 0, answer.stderr
    assert "missing: gpu-tests, sampling, training, tracing, chapters, fast-tests" in answer.stdout
    assert not list(tmp_path.glob("*.json"))


def test_a_part_that_takes_too_long_is_ended_with_what_it_has(tmp_path: Path) -> None:
    answer = run(tmp_path, "training", "--minutes", "0.1")
    assert answer.returncode == 0, answer.stderr
    assert "missing: training" in answer.stdout


def test_sigterm_ends_it_and_its_children_and_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), "--size", "small", "--results", str(tmp_path), "training"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "==> training" in process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    child = None
    while children.is_file() and process.poll() is None and child is None:
        child = next(map(int, children.read_text().split()), None)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert "missing (SIGTERM): training" in said
    assert process.returncode == 0
    if child is not None:
        time.sleep(0.1)
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def small_file(folder: Path) -> Path:
    """The results of a trial on this machine."""
    return kept.file_of(f"{kept.device_name(torch.cuda.is_available())} small", folder)


def test_a_file_that_holds_no_results_is_put_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = small_file(tmp_path)
    broken.write_text('{"device": "a GPU", ')
    assert gpu_run.main([*SMALL, str(tmp_path), "--minutes", "0.01"]) == 0
    assert f"It is {broken.stem}.broken now; all is measured anew." in capsys.readouterr().out
    assert broken.with_suffix(".broken").read_text() == '{"device": "a GPU", '
    assert not broken.exists()


def test_a_second_run_at_once_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(tmp_path / gpu_run.LOCK):
        assert gpu_run.main([*SMALL, str(tmp_path), "--minutes", "0.01"]) == 2
    assert "Another run is at work" in capsys.readouterr().out
    assert gpu_run.main([*SMALL, str(tmp_path), "--minutes", "0.01"]) == 0


def test_a_full_disk_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gpu_run.GpuRun, "do", full)
    assert gpu_run.main([*SMALL, str(tmp_path)]) == 1
    assert "Stopped: [Errno 28] No space left on device." in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_at_full_size_it_asks_for_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_run.main(["--results", str(tmp_path)]) == 2
    assert "needs a CUDA GPU" in capsys.readouterr().out


def test_a_python_that_lacks_something_is_told_in_a_sentence() -> None:
    bare = subprocess.run([sys.executable, "-S", str(TOOL)], capture_output=True, text=True)
    assert bare.returncode == 1
    assert "lacks filelock: name a Python that has" in bare.stderr
    assert "Traceback" not in bare.stderr


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_run.main(["sampeling"])
    assert "'sampeling': choose of gpu-tests, sampling" in capsys.readouterr().err


def recorder(folder: Path, **changes: object) -> Recorder:
    settings = {"on_gpu": False, "precision": "float32", "settings": {"steps": 2}, "folder": folder}
    return Recorder("a part", **{**settings, **changes})


def test_a_part_goes_on_with_the_cases_that_it_has(tmp_path: Path) -> None:
    first = recorder(tmp_path)
    first.note("one", seconds=Times(median=1, low=1, high=1, rounds=1))
    first.note("two", failed="OutOfMemoryError")
    second = recorder(tmp_path)
    assert "one" in second
    assert "two" not in second
    second.finish()
    assert not second.part.complete
    second.note("two", right=3)
    second.finish()
    assert results_in(tmp_path).parts["a part"].complete


def test_other_settings_begin_anew(tmp_path: Path) -> None:
    recorder(tmp_path).note("one", right=1)
    assert "one" not in recorder(tmp_path, settings={"steps": 3})


def test_a_trial_has_a_file_of_its_own(tmp_path: Path) -> None:
    recorder(tmp_path).note("one", right=1)
    recorder(tmp_path, size="small").note("one", right=1)
    assert len(list(tmp_path.glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": {"x": 1}}, "parts.x"),
        ({"device": None}, "device"),
        ({"more": 1}, "more"),
    ],
)
def test_a_file_that_holds_no_results_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"device": "a", "kind": "gpu", "parts": {}, **change}))
    with pytest.raises(ValueError, match=rf"some\.json holds no results: {said}"):
        kept.read(path)


def part(**cases: dict[str, object]) -> Part:
    return Part.model_validate(
        {
            "command": "a",
            "measured_on": "2026-11-28",
            "machine": "m",
            "versions": {},
            "precision": "p",
            "cases": cases,
        }
    )


def took(seconds: float, **more: object) -> dict[str, object]:
    return {"seconds": Times(median=seconds, low=seconds, high=seconds), **more}


def test_goals_are_judged_by_the_figures() -> None:
    sampling = part(
        **{
            "notes' loop": took(8.0),
            "compiled whole, fp16": took(1.9),
            "compiled whole, fp16, guided=0.7": took(1.0),
            "compiled whole, fp16, 20 steps": took(0.9),
            "compiled whole, fp16, 20 steps, guided=0.7": took(0.7),
            "compiled whole, fp16, 10 steps, guided=0.7": took(0.4),
        }
    )
    equal = part(
        **{
            "notes' loop": {"right": 47},
            "20 steps": {"right": 47},
            "20 steps, guided=0.7": {"right": 48},
            "10 steps, guided=0.7": {"right": 46},
        }
    )
    tracing = part(
        untraced=took(1.0),
        ours=took(1.08, map_seconds=Times(median=0.06, low=0.06, high=0.06)),
        daam=took(1.12),
    )
    parts = {"sampling-sd14-1": sampling, "equal-quality": equal, "tracing-sd14": tracing}
    judged = {str(goal) for goal in goals(Results(device="d", kind="gpu", parts=parts))}
    assert (
        "sampling 4 times the notes' loop, steps alike: 4.2 times (compiled whole, fp16), reached"
    ) in judged
    assert (
        "sampling 10 times, quality alike: 11.4 times "
        "(compiled whole, fp16, 20 steps, guided=0.7), reached"
    ) in judged
    assert "training 3 times the notes' loop: not measured" in judged
    assert "tracing SD 1.4 at most 1.10 of untraced: 1.08, reached" in judged
    assert "tracing SD 1.4 at most half of daam's overhead: 8.0% and 12.0%, not reached" in judged
    assert "a map of SD 1.4 within 50 ms: 60 ms, not reached" in judged
