"""What the benchmarks of attention maps share: pictures, masks, scores, and their summary."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from companion.attention.agreement import centre_square
from companion.evaluation.text_to_pictures import one_object_prompts, two_object_prompts
from companion.metrics import iou
from companion.scenes import subset

THRESHOLDS = [round(0.05 * n, 2) for n in range(1, 20)]
PAPER_THRESHOLD = 0.4
TIMESTEPS = [50, 200, 350, 500, 650, 800, 950]
WORLD = "stable-diffusion"
SIZE = 64

# (group, method, number of the picture, IoU at each threshold)
Row = tuple[str, str, int, list[float]]


def at_each(heat: np.ndarray, mask: np.ndarray) -> list[float]:
    """A map's IoU with a mask at each threshold."""
    found: list[float] = iou(heat > np.array(THRESHOLDS)[:, None, None], mask).round(5).tolist()
    return found


def baselines(masks: np.ndarray) -> Iterator[tuple[str, int, list[float]]]:
    """The whole picture and squares in its middle: one IoU, whatever the threshold."""
    for side in (SIZE, 48, 40, 32, 24):
        name = "whole picture" if side == SIZE else f"centre square, side {side}"
        guess = centre_square(SIZE, side)
        for number, mask in enumerate(masks):
            yield name, number, at_each(guess, mask)


def prompts(pictures: int) -> list[tuple[str, list[str], int]]:
    """Prompt, names of the objects in its order, and seed: those of the zoo's card."""
    world = subset(WORLD)
    single = list(one_object_prompts(world)) * 2
    alone = [(text, [name], seed) for seed, (text, name, _) in enumerate(single)]
    double = enumerate(two_object_prompts(world, 200))
    pairs = [
        (text, sorted(names, key=text.index), 10_000 + number)
        for number, (text, names, _) in double
    ]
    # Alternately, so that any first part holds both kinds.
    alternating = (prompt for both in zip(alone, pairs, strict=False) for prompt in both)
    return [*alternating, *alone[200:]][:pictures]


def collect(
    parts: Mapping[str, tuple[int, Callable[[int, int], list[Row]]]],
    cache: Path,
    chunk: int,
    minutes: float | None,
) -> list[Row] | None:
    """All rows, made or read from the cache; None if time ran out.

    Args:
        parts: of each how many pictures it has, and what makes the rows of a range of them.
        cache: a folder.
        chunk: how many pictures at once.
        minutes: after so many no chunk is begun.
    """
    began, rows = time.monotonic(), []
    cache.mkdir(parents=True, exist_ok=True)
    for name, (pictures, part) in parts.items():
        for start in range(0, pictures, chunk):
            file = cache / f"{name}-{start:04d}.json"
            if not file.exists():
                if minutes is not None and time.monotonic() - began > 60 * minutes:
                    print(f"{name}: {start} of {pictures} done; run again to go on.")
                    return None
                unfinished = file.with_suffix(".part")
                unfinished.write_text(json.dumps(part(start, min(start + chunk, pictures))))
                unfinished.replace(file)
            rows += json.loads(file.read_text())
    return rows


def summarise(rows: list[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and 95 % interval of each group and method, at each threshold."""
    gathered: dict[str, dict[str, tuple[list[int], list[list[float]]]]] = {}
    for group, method, number, values in rows:
        numbers, found = gathered.setdefault(group, {}).setdefault(method, ([], []))
        numbers.append(number)
        found.append(values)
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for group, methods in gathered.items():
        for method, (numbers, found) in methods.items():
            mean, low, high = intervals(np.array(found), numbers)
            table.setdefault(group, {})[method] = {
                "objects": len(found),
                "mean": mean.round(4).tolist(),
                "low": low.round(4).tolist(),
                "high": high.round(4).tolist(),
            }
    return table


def intervals(values: np.ndarray, groups: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`companion.metrics.bootstrap` of each column, with its own drawings, all at once."""
    _, which = np.unique(groups, return_inverse=True)
    count = which.max() + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, which, values)
    times = drawings(count)
    means = (times @ sums) / (times @ np.bincount(which))[:, None]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return values.mean(0), low, high


@cache
def drawings(count: int) -> np.ndarray:
    """How often each of so many groups is drawn in each of 2,000 resamples: (2000, count)."""
    drawn = np.random.default_rng(0).integers(0, count, (2000, count))
    return np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(float)


def show(table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print mIoU at the paper's threshold and at the best."""
    at = THRESHOLDS.index(PAPER_THRESHOLD)
    for group, methods in table.items():
        print(f"\n{group}")
        print(f"{'':44}{'objects':>8}{'mIoU at 0.4, 95 %':>22}{'best':>7}{'at':>6}")
        for method, found in methods.items():
            if len(found["mean"]) == 1:
                mean, low, high = (found[key][0] for key in ("mean", "low", "high"))
                print(f"{method:44}{found['objects']:8}{mean:8.3f} [{low:.3f}, {high:.3f}]")
                continue
            mean, low, high = (100 * found[key][at] for key in ("mean", "low", "high"))
            best = int(np.argmax(found["mean"]))
            print(
                f"{method:44}{found['objects']:8}{mean:8.1f} [{low:5.1f},{high:5.1f}]"
                f"{100 * found['mean'][best]:7.1f}{THRESHOLDS[best]:6.2f}"
            )


def as_text(found: dict[str, Any]) -> str:
    """JSON with each list on a line, to be read and compared by people too."""
    text = json.dumps(found, ensure_ascii=False, indent=1)
    return re.sub(r"\[[^\[\]]*\]", lambda found: " ".join(found[0].split()), text) + "\n"
