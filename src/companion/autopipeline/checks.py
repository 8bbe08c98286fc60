"""What a call of a pipeline may not be given, each said in one sentence before anything runs."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from companion.stable_diffusion import token_pieces

from .loading import TASKS, task_of

# Diffusers refuses sides that are no multiples of this, whatever the VAE's factor is.
PIPELINE_FACTOR = 8


def check_call(
    pipe: Any,
    prompt: str | Sequence[str],
    seeds: Sequence[int],
    arguments: Mapping[str, Any],
    guided: float,
) -> None:
    """Look through the arguments of a call; warn of a prompt that is too long.

    Raises:
        ValueError: what is wrong, and what to do.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    _check_prompts(pipe, prompts, seeds)
    steps = arguments.get("num_inference_steps", 50)
    if steps < 1:
        raise ValueError(f"num_inference_steps is {steps}, but at least 1 is needed.")
    _check_inputs(pipe, arguments)
    _check_strength(arguments, steps)
    if not 0 <= guided <= 1:
        raise ValueError(f"guided is {guided}, but it is a part of the steps: 0 to 1.")
    if guided < 1 and task_of(pipe) not in ("text-to-image", "image-to-image"):
        raise ValueError(
            f"The task {task_of(pipe)} cannot drop guidance on the way: leave guided at 1."
        )
    for side in ("height", "width"):
        if arguments.get(side) is not None:
            _check_side(pipe, f"The {side}", arguments[side])


def _check_prompts(pipe: Any, prompts: Sequence[str], seeds: Sequence[int]) -> None:
    if not prompts or not all(isinstance(one, str) for one in prompts):
        raise ValueError("A prompt is a text or a list of texts, but something else was given.")
    if not seeds:
        raise ValueError("There are no seeds: give one for each picture.")
    if len(prompts) > 1 and len(seeds) != len(prompts):
        raise ValueError(
            f"There are {len(prompts)} prompts but {len(seeds)} seeds: give a seed for each "
            f"prompt, or one prompt and as many seeds as pictures."
        )
    for one in dict.fromkeys(prompts):
        cut_off = token_pieces(pipe.tokenizer, one).truncated
        if cut_off:
            warnings.warn(
                f"The text encoder takes {pipe.tokenizer.model_max_length} tokens, with start and "
                f"end among them, so this end of the prompt is not read: '{cut_off}'; say it in "
                f"fewer words, or put what matters first.",
                stacklevel=4,
            )


def _check_inputs(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """The pictures that the task needs are there, of sides that the VAE can take, and fit."""
    task = task_of(pipe)
    needed = TASKS[task].inputs
    for name in ("image", "mask_image"):
        given = arguments.get(name)
        if name in needed and given is None:
            raise ValueError(f"The task {task} needs {name}, a picture, and none was given.")
        if name not in needed and given is not None:
            other = next(key for key, entry in TASKS.items() if name in entry.inputs)
            raise ValueError(
                f"The task {task} takes no {name}: load {other!r}, or make its pipeline of this "
                f"one with from_pipe."
            )
        if given is not None and not isinstance(given, Image.Image):
            raise ValueError(f"{name} is a PIL picture, but {type(given).__name__} was given.")
    if "image" in needed:
        image = arguments["image"]
        _check_side(pipe, "The width of image", image.width)
        _check_side(pipe, "The height of image", image.height)
    if "mask_image" in needed and arguments["mask_image"].size != image.size:
        mask = arguments["mask_image"]
        raise ValueError(
            f"The mask is {mask.width}x{mask.height} and the picture {image.width}x{image.height}: "
            f"make the mask for this picture, or resize it with "
            f"mask.resize({image.size}, Image.Resampling.NEAREST)."
        )


def _check_strength(arguments: Mapping[str, Any], steps: int) -> None:
    strength = arguments.get("strength")
    if strength is None:
        return
    if not 0 <= strength <= 1:
        raise ValueError(
            f"strength is {strength}, but it is 0 (the picture stays) to 1 (nothing of it is left)."
        )
    if int(steps * strength) < 1:
        raise ValueError(
            f"strength {strength} of {steps} steps is less than one step: give a strength of at "
            f"least {1 / steps:g}, or more steps."
        )


def _check_side(pipe: Any, what: str, pixels: int) -> None:
    factor = math.lcm(pipe.vae_scale_factor, PIPELINE_FACTOR)
    if pixels < 1 or pixels % factor:
        near = max(factor, round(pixels / factor) * factor)
        raise ValueError(
            f"{what} is {pixels} pixels, but pipelines draw multiples of {factor} only: take "
            f"{near}."
        )
