"""Time several ways of doing one thing, in turns, and print their ratios."""

import statistics
import time
from collections.abc import Callable, Mapping


def side_by_side(
    cases: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run the cases in turns and print a table: median, spread, ratio to the first case.

    In turns, because other work on the machine then slows all of them alike. Where the ratio is
    near 1 and all work is on the CPU, `time.process_time` leaves out the time that others had.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()  # the first call fills caches and is not counted
    for _ in range(rounds):
        for name, case in cases.items():
            began = clock()
            case()
            seconds[name].append(clock() - began)
    baseline = statistics.median(next(iter(seconds.values())))
    width = max(map(len, seconds))
    print(f"{'case':{width}}  {'median, ms':>10}  {'min..max, ms':>16}  ratio")
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"{1000 * min(times):.1f}..{1000 * max(times):.1f}"
        print(f"{name:{width}}  {1000 * median:10.1f}  {spread:>16}  {median / baseline:5.2f}")
