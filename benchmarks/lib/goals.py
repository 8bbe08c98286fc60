"""What the project wants of a GPU, and whether the results reach it."""

from dataclasses import dataclass

from .results import Figure, Part, Results, Times

NOTES = "notes' loop"
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Goal:
    """One goal.

    Attributes:
        words: what is wanted.
        found: what was measured, in words.
        reached: whether that is enough; None where it was not measured.
    """

    words: str
    found: str
    reached: bool | None

    def __str__(self) -> str:
        verdict = {True: "reached", False: "not reached", None: UNKNOWN}[self.reached]
        return f"{self.words}: {self.found}{'' if self.reached is None else f', {verdict}'}"


def seconds(part: Part | None, case: str, name: str = "seconds") -> float | None:
    """The median of a case; None where there is none."""
    figure: Figure = part.cases.get(case, {}).get(name) if part else None
    return figure.median if isinstance(figure, Times) else None


def goals(results: Results) -> list[Goal]:
    """All of them, in the order of the chapters."""
    sampling, equal = results.parts.get("sampling-sd14-1"), results.parts.get("equal-quality")
    found = [
        _times("sampling 4 times the notes' loop, steps alike", _quicker(sampling), 4),
        _times("sampling 10 times, quality alike", _as_good(sampling, equal), 10),
        _times("training 3 times the notes' loop", _training(results), 3),
    ]
    for name, model in (("tracing-sd14", "SD 1.4"), ("tracing-sdxl", "SDXL")):
        found += _tracing(results.parts.get(name), model)
    return found


def _times(words: str, best: tuple[float, str] | None, wanted: float) -> Goal:
    if best is None:
        return Goal(words, UNKNOWN, None)
    return Goal(words, f"{best[0]:.1f} times ({best[1]})", best[0] >= wanted)


def _best(
    part: Part | None, baseline: str, cases: list[str], figure: str = "seconds"
) -> tuple[float, str] | None:
    """How many times as fast as the baseline the fastest of some cases is, and which."""
    base = seconds(part, baseline, figure)
    speeds = [
        (base / taken, case)
        for case in cases
        if base and (taken := seconds(part, case, figure)) is not None
    ]
    return max(speeds, default=None)


def _quicker(part: Part | None) -> tuple[float, str] | None:
    """With all steps and guidance in all of them."""
    cases = [case for case in (part.cases if part else ()) if case != NOTES]
    return _best(part, NOTES, [c for c in cases if " steps" not in c and "guided" not in c])


def _as_good(part: Part | None, equal: Part | None) -> tuple[float, str] | None:
    """With fewer steps and less guidance, where as many pictures are right as the notes have."""
    if part is None or equal is None or NOTES not in equal.cases:
        return None
    right = {case: figures.get("right") for case, figures in equal.cases.items()}
    least = right.pop(NOTES)
    good = [
        case
        for case, count in right.items()
        if isinstance(count, float) and isinstance(least, float) and count >= least
    ]
    return _best(part, NOTES, [c for c in part.cases if any(c.endswith(f", {g}") for g in good)])


def _training(results: Results) -> tuple[float, str] | None:
    part = results.parts.get("training-steps")
    cases = [case for case in (part.cases if part else ()) if case.startswith("ours")]
    return _best(part, "the notes' loop", cases, "step_seconds")


def _tracing(part: Part | None, model: str) -> list[Goal]:
    untraced, ours, daam = (seconds(part, case) for case in ("untraced", "ours", "daam"))
    mapped = seconds(part, "ours", "map_seconds")
    words = [
        f"tracing {model} at most 1.10 of untraced",
        f"tracing {model} at most half of daam's overhead",
        f"a map of {model} within 50 ms",
    ]
    if not (untraced and ours and daam and mapped):
        return [Goal(text, UNKNOWN, None) for text in words]
    own, theirs = ours / untraced - 1, daam / untraced - 1
    return [
        Goal(words[0], f"{1 + own:.2f}", own <= 0.10),
        Goal(words[1], f"{own:.1%} and {theirs:.1%}", own <= theirs / 2),
        Goal(words[2], f"{1000 * mapped:.0f} ms", mapped <= 0.05),
    ]
