"""The arguments of a call, one by one: checked, and made Python's own numbers and RGB pictures."""

from collections.abc import Callable, Mapping, Set
from difflib import get_close_matches
from itertools import islice
from typing import Any

from PIL import Image

from companion.door.numbers import number, shown, whole
from companion.door.pictures import as_mask, as_rgb
from companion.door.prompts import check_text

LARGEST_SEED = 2**64 - 1  # what torch's generators take
MOST_PICTURES = 10_000  # at once; far more than any device holds


def seeds_of(seeds: Any) -> list[int]:
    """One seed or several as a list.

    Raises:
        ValueError: none at all, too many, or one that torch's generators do not take.
    """
    try:
        text_given = isinstance(seeds, str | bytes)
        several = [seeds] if text_given else list(islice(seeds, MOST_PICTURES + 1))
    except TypeError:  # one number, numpy's and torch's of no dimension included
        several = [seeds]
    if not several:
        raise ValueError("There are no seeds: give one for each picture.")
    if len(several) > MOST_PICTURES:
        raise ValueError(f"There are more than {MOST_PICTURES:,} seeds: draw fewer at once.")
    checked = [whole("A seed", seed) for seed in several]
    for seed in checked:
        if not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"A seed is {shown(seed)}, but it is a whole number of 0 to 2^64 - 1.")
    return checked


Check = Callable[[str, Any], Any]


def checked(arguments: Mapping[str, Any], table: Mapping[str, Check]) -> dict[str, Any]:
    """The arguments that are given, those in the table checked; None counts as not given.

    Raises:
        ValueError: a value that its argument cannot have.
    """
    return {
        name: table[name](name, value) if name in table else value
        for name, value in arguments.items()
        if value is not None
    }


def unknown(name: Any, known: list[str], of: str) -> ValueError:
    """Say that there is no such argument, and which one may have been meant."""
    near = get_close_matches(str(name), known, n=1)
    instead = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}."
    return ValueError(f"There is no argument {shown(name)} {of}: {instead}")


def _picture(turn: Callable[[Image.Image, str], Image.Image]) -> Check:
    def check(name: str, value: Any) -> Image.Image:
        if not isinstance(value, Image.Image):
            raise ValueError(f"{name} is a PIL picture, but {type(value).__name__} was given.")
        return turn(value, name)

    return check


def _several(check_part: Check) -> Check:
    def check(name: str, value: Any) -> list[Any]:
        try:
            unordered = isinstance(value, str | bytes | Mapping | Set)
            several = [] if unordered else list(islice(value, 1001))
        except TypeError:
            several = []
        if not 1 <= len(several) <= 1000:
            raise ValueError(f"{name} is {shown(value)}, but it is a list of 1 to 1,000 numbers.")
        return [check_part(f"A number of {name}", part) for part in several]

    return check


def _steps(name: str, value: Any) -> int:
    steps = whole(name, value)
    if steps < 1:
        raise ValueError(f"{name} is {shown(steps)}, but at least 1 is needed.")
    return steps


def _part(meaning: str) -> Check:
    def check(name: str, value: Any) -> float:
        part = number(name, value)
        if not 0 <= part <= 1:
            raise ValueError(f"{name} is {shown(part)}, but it is {meaning}.")
        return part

    return check


def _text_or_texts(name: str, value: Any) -> str | list[str]:
    if isinstance(value, list | tuple):
        return [check_text(name, text) for text in value]
    return check_text(name, value)


# Those that a file may tell; the others of a pipeline's call are passed on as they are.
ARGUMENTS: dict[str, Check] = {
    "num_inference_steps": _steps,
    "guidance_scale": number,
    "negative_prompt": _text_or_texts,
    "height": whole,
    "width": whole,
    "image": _picture(as_rgb),
    "mask_image": _picture(as_mask),
    "strength": _part("0 (the picture stays) to 1 (nothing of it is left)"),
    "noise_level": whole,
    "guided": _part("a part of the steps: 0 to 1"),
    "guidance_rescale": number,
    "eta": _part("a part of DDPM's noise: 0 to 1"),
    "clip_skip": whole,
    "padding_mask_crop": whole,
    "timesteps": _several(whole),
    "sigmas": _several(number),
}
