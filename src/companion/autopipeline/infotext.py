"""A picture's settings as AUTOMATIC1111's webui writes them, the text that most tools can read.

The prompt, a line "Negative prompt: ...", and last a line of names and values with commas between,
as in `create_infotext` and `parse_generation_parameters` of the webui, version 1.10. It is for
reading and for drawing something like it: pictures that went in, and most of a scheduler's
configuration, have no name there. `load_settings` reads our own text.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from companion import __version__
from companion.door.tables import read_table

from .settings import Settings

KEY = "parameters"
TABLE = Path(__file__).with_name("samplers.toml")


def infotext(settings: Settings, size: tuple[int, int], defaults: Mapping[str, Any]) -> str:
    """The text of a picture.

    Chapter 4, "Keep a picture with its settings".

    A prompt stands in it as it was given, but for blanks at its ends. The format has no way to say
    that a bracket is only a bracket, or that a line of a prompt begins with "Negative prompt:" and
    is none.

    Args:
        settings: the picture's.
        size: its width and height.
        defaults: what of a call counts where the settings say nothing.
    """
    told = {**defaults, **settings.arguments}
    negative = told.get("negative_prompt") or ""
    if not isinstance(negative, str):
        negative = negative[0]
    values: dict[str, Any] = {
        "Steps": _steps(told),
        "Sampler": sampler_name(settings.scheduler),
        "CFG scale": told.get("guidance_scale"),
        "Seed": settings.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": settings.model,
        # There a strength belongs to pictures that are redrawn.
        "Denoising strength": told.get("strength") if "image" in settings.arguments else None,
        # Ours counts the layers that are left out, theirs the one that is read, from the end.
        "Clip skip": told["clip_skip"] + 1 if told.get("clip_skip") else None,
        "RNG": "CPU",
        # No bare number: the webui takes an old one for its own, and changes how it draws.
        "Version": f"companion {__version__}",
    }
    line = ", ".join(f"{name}: {_quoted(v)}" for name, v in values.items() if v is not None)
    below = f"\nNegative prompt: {negative.strip()}" if negative else ""
    # Texts in PNG files end at a zero byte.
    return f"{settings.prompt.strip()}{below}\n{line}".strip().replace("\0", "")


def sampler_name(scheduler: Mapping[str, Any]) -> str:
    """What the webui calls a scheduler, by its configuration; Diffusers' name where it has none."""
    name = str(scheduler["_class_name"])
    given = {**scheduler, "class": name}
    for known, needed in _samplers().items():
        if all(given.get(key) == value for key, value in needed.items()):
            spaced = " Karras" if scheduler.get("use_karras_sigmas") else ""
            return known + spaced
    return name.removesuffix("Scheduler")


@cache
def _samplers() -> dict[str, dict[str, Any]]:
    return read_table(TABLE)


def _steps(told: Mapping[str, Any]) -> Any:
    listed = told.get("timesteps") or told.get("sigmas")
    return len(listed) if listed else told.get("num_inference_steps")


def _quoted(value: Any) -> str:
    """A value as the webui reads it back: one with a comma, a colon or a line break as JSON."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:\n"') else text
