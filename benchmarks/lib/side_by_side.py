"""Time several ways of doing one thing, in turns, and print their ratios."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from .results import Times


def gpu_clock() -> float:
    """Seconds by the clock, when the GPU has done all that it was asked for."""
    torch.cuda.synchronize()
    return time.perf_counter()


def times(seconds: Sequence[float]) -> Times:
    """Median and spread of some rounds."""
    return Times(
        median=statistics.median(seconds), low=min(seconds), high=max(seconds), rounds=len(seconds)
    )


def measure(
    cases: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Run the cases in turns; the first turn fills caches and is not counted.

    In turns, because other work on the machine then slows all of them alike. Where the ratio is
    near 1 and all work is on the CPU, `time.process_time` leaves out the time that others had.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            began = clock()
            case()
            seconds[name].append(clock() - began)
    return {name: times(found) for name, found in seconds.items()}


def show(measured: Mapping[str, Times]) -> None:
    """Print a table: median, spread, ratio to the first case."""
    baseline = next(iter(measured.values())).median
    width = max(map(len, measured))
    print(f"{'case':{width}}  {'median, ms':>10}  {'min..max, ms':>16}  ratio")
    for name, found in measured.items():
        spread = f"{1000 * found.low:.1f}..{1000 * found.high:.1f}"
        print(
            f"{name:{width}}  {1000 * found.median:10.1f}  {spread:>16}  "
            f"{found.median / baseline:5.2f}",
            flush=True,
        )


def side_by_side(
    cases: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Measure the cases in turns, and print the table of them."""
    measured = measure(cases, rounds, clock)
    show(measured)
    return measured
