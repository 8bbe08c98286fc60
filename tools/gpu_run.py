"""All that takes a GPU, in a few minutes: tests, every chapter, the benchmarks at full size.

    python tools/gpu_run.py                     # make gpu: what the results lack, in 8 minutes
    python tools/gpu_run.py --again sampling    # a part once more
    python tools/gpu_run.py --size small        # a trial of the code on a CPU

Any Python does that has what the package and its tests need: nothing is installed or fetched. What
is measured goes to a file of `benchmarks/results`, case by case. At the end of the time, and at
SIGTERM or Ctrl-C, it stops with what it has and says what is missing; run again, it does the rest.
`tools/gpu_run.toml` says what is done, and in which order.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

try:
    from filelock import FileLock, Timeout
    from lib.goals import goals
    from lib.results import (
        RESULTS,
        Part,
        Results,
        device_name,
        file_of,
        read,
        versions,
        write,
    )
except ModuleNotFoundError as lacking:
    sys.exit(
        f"{sys.executable} lacks {lacking.name}: name a Python that has what the package and its "
        "tests need (make gpu GPU_PYTHON=...), or carry it there (tools/pack_gpu_run.py)."
    )

LOG = "gpu-run.log"
LOCK = ".gpu-run.lock"
TO_END = 10  # seconds that are kept for the end
GRACE = 30  # seconds that a part may be late by
# A line of `pytest -v`, with and without several processes.
OUTCOME = re.compile(
    r"^(?:\[gw\d+\] \[ *\d+%\] (?P<first>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (?P<named>.+?)\s*"
    r"|(?P<name>\S.*?::.+?) (?P<last>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*)$"
)


@dataclass(frozen=True)
class Task:
    """A part of the run.

    Attributes:
        name: of it.
        kind: "tests" is pytest, "benchmark" a script that writes its results itself.
        minutes: its share of the time.
        command: what follows `python -m pytest`, or `python`.
        results: the parts of the results file that it fills.
        group: tasks of one group run side by side.
    """

    name: str
    kind: Literal["tests", "benchmark"]
    minutes: float
    command: list[str]
    results: list[str]
    group: str


def tasks(small: bool) -> list[Task]:
    """Those of `gpu_run.toml`, in order."""
    table = tomllib.loads((ROOT / "tools" / "gpu_run.toml").read_text(encoding="utf-8"))
    made = []
    for entry in table["part"]:
        command = entry["small"] if small and "small" in entry else entry["command"]
        results = entry.get("results", [entry["name"]])
        group = entry.get("group", entry["name"])
        made.append(Task(entry["name"], entry["kind"], entry["minutes"], command, results, group))
    return made


@contextmanager
def asked_to_stop() -> Iterator[list[str]]:
    """Within, SIGTERM and Ctrl-C do nothing but put their name into a list: wherever the run is, it
    leaves no child behind."""
    asked: list[str] = []

    def note(number: int, _: Any) -> None:
        asked.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class GpuRun:
    """One run: its time, its results and its log.

    Args:
        minutes: that it may take.
        folder: of the results.
        small: a trial on a CPU.
        asked: whoever wants it to stop puts a word into it.
    """

    def __init__(self, minutes: float, folder: Path, small: bool, asked: list[str]) -> None:
        import torch

        self.on_gpu = torch.cuda.is_available()
        self.small, self.folder, self.asked = small, folder.resolve(), asked
        self._end = time.monotonic() + 60 * minutes - min(TO_END, 6 * minutes)
        device = device_name(self.on_gpu)
        self.device = device
        self.path = file_of(f"{device} small" if small else device, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._put_aside_what_holds_no_results()

    def _put_aside_what_holds_no_results(self) -> None:
        """A machine that is lent for minutes is no place to mend a file: it begins anew."""
        try:
            self.results()
        except ValueError as error:
            aside = self.path.with_suffix(".broken")
            self.path.replace(aside)
            print(f"{error}. It is {aside.name} now; all is measured anew.", flush=True)

    def results(self) -> Results:
        """What is known by now."""
        if self.path.is_file():
            return read(self.path)
        return Results(device=self.device, kind="gpu" if self.on_gpu else "cpu")

    def done(self, task: Task) -> bool:
        """Whether nothing of a task is missing, and nothing failed."""
        parts = self.results().parts
        return all(
            name in parts
            and parts[name].complete
            and not any(figures.get("failed") for figures in parts[name].cases.values())
            for name in task.results
        )

    def forget(self, task: Task) -> None:
        """Measure it anew."""
        results = self.results()
        results.parts = {k: v for k, v in results.parts.items() if k not in task.results}
        write(results, self.path)

    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def do(self, together: Sequence[Task], later: float) -> None:
        """Run tasks side by side until they end or their time does.

        Args:
            together: the tasks.
            later: minutes that others ask for after them; what nobody asks for is shared out.
        """
        minutes = asked_for(together)
        share = min(max(60 * minutes, self.left() * minutes / (minutes + later)), self.left())
        late = min(share + GRACE, self.left())
        began = time.monotonic()
        with ExitStack() as stack:
            running = [
                (task, *stack.enter_context(self._started(task, share, len(together))))
                for task in together
            ]
            try:
                for task, process, _ in running:
                    while process.poll() is None and not self.asked:
                        if time.monotonic() - began > late:
                            print(f"    {task.name}: its time is over", flush=True)
                            break
                        time.sleep(0.1)
            finally:
                for task, process, output in running:
                    ended = process.poll() is not None
                    end(process)
                    seconds = time.monotonic() - began
                    self._keep(task, output, process.returncode if ended else None, seconds)

    @contextmanager
    def _started(
        self, task: Task, seconds: float, side_by_side: int
    ) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
        environment = os.environ | {
            "COMPANION_PROFILE": "small",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }
        if task.kind == "tests":
            environment["OMP_NUM_THREADS"] = "1"
            count = max(1, min(8, (os.cpu_count() or 1) // side_by_side))
            # A chapter stays in one process, and so do the tests of a file.
            many = ["-n", str(count), "--dist", "loadfile"] if count > 1 else []
            command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *many]
            command += task.command
        else:
            command = [sys.executable, *task.command, "--minutes", f"{seconds / 60:.2f}"]
            command += ["--size", "small" if self.small else "full", "--results", str(self.folder)]
        output = self.folder / f".{task.name}.out"
        with output.open("w+b") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its children end with it
            )
            try:
                yield process, file
            finally:
                end(process)
        output.unlink(missing_ok=True)

    def _keep(self, task: Task, output: BinaryIO, status: int | None, seconds: float) -> None:
        """Take the output into the log, and of tests the outcomes into the results."""
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"\n==> {task.name}, {seconds:.0f} s, status {status}\n{text}")
        if task.kind == "benchmark":
            if status:
                print(f"    {task.name}: ended with status {status}", flush=True)
                print("".join(f"    | {line}\n" for line in text.splitlines()[-8:]), flush=True)
            return
        counted, failures = outcomes(text)
        # pytest's own: 0 all right, 1 some failed, 5 nothing was collected.
        part = Part(
            command=f"pytest {' '.join(task.command)}",
            measured_on=date.today(),
            machine=self.device,
            versions=versions(),
            precision="as the tests say",
            size="small" if self.small else "full",
            complete=status == 0,
            cases={
                "tests": {
                    **{kind.lower(): float(count) for kind, count in sorted(counted.items())},
                    "run_seconds": seconds,
                    **({"failed": failures} if failures else {}),
                    **({} if status in (0, 1) else {"ended": f"status {status}"}),
                }
            },
        )
        results = self.results()
        results.parts[task.name] = part
        write(results, self.path)
        told = ", ".join(f"{count} {kind.lower()}" for kind, count in sorted(counted.items()))
        print(f"    {task.name}: {told or 'nothing ran'} in {seconds:.0f} s", flush=True)
        for name in failures[:20]:
            print(f"    failed: {name}", flush=True)


def asked_for(together: Sequence[Task]) -> float:
    """Minutes of tasks that run side by side."""
    return max((task.minutes for task in together), default=0)


def outcomes(text: str) -> tuple[Counter[str], list[str]]:
    """What `pytest -v` said of each test: how many of each kind, and the names of those that
    failed. Read line by line, as a run that was ended has no summary."""
    counted: Counter[str] = Counter()
    failures: list[str] = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        if found := OUTCOME.match(line):
            kind = found["first"] or found["last"]
            wrong = kind in ("FAILED", "ERROR")
            if wrong:
                failures.append((found["named"] or found["name"])[:200])
            else:
                counted[kind] += 1
    return counted, sorted(set(failures))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: asked first, then made to."""
    for number, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)  # also children that outlived it
        try:
            process.wait(seconds)
            if number == signal.SIGTERM:
                continue
        except subprocess.TimeoutExpired:
            continue
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing. The status is 1 where something failed, 0 also where time ran out."""
    names = [task.name for task in tasks(small=False)]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(names)}")
    parser.add_argument("--minutes", type=float, default=8.0, help="default: %(default)g")
    parser.add_argument("--again", action="store_true", help="also what the results have already")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.parts if name not in names]:
        parser.error(f"there is no part {unknown[0]!r}: choose of {', '.join(names)}")
    try:
        options.results.mkdir(parents=True, exist_ok=True)
        # Two at once would wait for one GPU, and each lose what the other writes.
        with FileLock(options.results / LOCK, blocking=False):
            return run_parts(options)
    except Timeout:
        print(f"Another run is at work in {options.results}: wait for its end.")
        return 2
    except OSError as error:
        print(f"Stopped: {error}. What was measured before is in {options.results}.")
        return 1


def run_parts(options: argparse.Namespace) -> int:
    """Do what is missing of the parts that were asked for, and say how it stands."""
    small = options.size == "small"
    with asked_to_stop() as asked:
        run = GpuRun(options.minutes, options.results, small, asked)
        if not run.on_gpu and not small:
            print(
                "This needs a CUDA GPU, and torch sees none; --size small tries the code on a CPU."
            )
            return 2
        chosen = [t for t in tasks(small) if not options.parts or t.name in options.parts]
        if options.again:
            for task in chosen:
                run.forget(task)
        groups = [list(some) for _, some in groupby(chosen, key=lambda task: task.group)]
        waiting = [[task for task in group if not run.done(task)] for group in groups]
        for number, missing in enumerate(waiting):
            if missing and run.left() > 5 and not asked:
                told = " and ".join(task.name for task in missing)
                print(f"==> {told}, {run.left():.0f} s left", flush=True)
                run.do(missing, sum(map(asked_for, waiting[number + 1 :])))
    return report(run, chosen, f" ({asked[0]})" if asked else "")


def report(run: GpuRun, chosen: Sequence[Task], stopped: str) -> int:
    """Say what there is, what is missing and which goals are reached."""
    results = run.results()
    missing = [task.name for task in chosen if not run.done(task)]
    failed = [
        f"{name}, {case}: {what}"
        for name, part in results.parts.items()
        for case, figures in part.cases.items()
        if (what := figures.get("failed"))
    ]
    print(f"==> {run.device}: {run.path}, log in {run.folder / LOG}")
    if run.small:
        print("    a trial at reduced size: it says nothing of the goals")
    for goal in [] if run.small else goals(results):
        print(f"    {goal}")
    for line in failed:
        print(f"    failed: {line}")
    if missing:
        print(f"    missing{stopped}: {', '.join(missing)}; run it again for the rest")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
