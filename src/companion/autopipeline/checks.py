"""What a call of a pipeline may not be given, each said in one sentence before anything runs."""

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from PIL import Image

from companion.door import printable
from companion.door.numbers import shown
from companion.door.pictures import as_rgb
from companion.door.pipelines import check_first_level, check_scheduler, check_steps
from companion.door.prompts import check_text
from companion.door.text import fault_of
from companion.stable_diffusion import LARGEST_SIDE, token_pieces

from .arguments import ARGUMENTS, checked, seeds_of, unknown
from .live_arguments import check_live_arguments
from .loading import TASKS, task_of

# Diffusers refuses sides that are no multiples of this, whatever the VAE's factor is.
PIPELINE_FACTOR = 8
LONGEST_QUOTE = 200  # characters of a prompt's end
# What prompt and seeds say.
OURS = ("prompt", "prompt_embeds", "seeds", "generator", "num_images_per_prompt")


@dataclass(frozen=True)
class Call:
    """A call that may be made.

    Attributes:
        prompts: one text, or as many as seeds.
        seeds: one for each picture.
        guided: the part of the steps that get guidance.
        arguments: of the pipeline's call, without None; pictures are upright, and RGB or L.
    """

    prompts: list[str]
    seeds: list[int]
    guided: float
    arguments: dict[str, Any]


def prepare(pipe: Any, prompt: Any, seeds: Any, arguments: Mapping[str, Any]) -> Call:
    """Look through the arguments of a call, `guided` among them.

    Raises:
        ValueError: what is wrong, and what to do.
    """
    task = task_of(pipe)
    prompts = _prompts(prompt)
    several = seeds_of(seeds)
    if len(prompts) > 1 and len(several) != len(prompts):
        raise ValueError(
            f"There are {len(prompts)} prompts but {len(several)} seeds: give a seed for each "
            f"prompt, or one prompt and as many seeds as pictures."
        )
    _check_inputs(task, arguments)
    _check_names(pipe, arguments)
    values = checked(arguments, ARGUMENTS)
    guided = values.pop("guided", 1.0)
    if "ip_adapter_image" in values:
        values["ip_adapter_image"] = _upright(values["ip_adapter_image"])
    _check_negative(values, prompts)
    _check_steps(pipe, values)
    _check_guided(task, values, guided)
    _check_sides(pipe, task, values)
    if task == "inpainting" and "padding_mask_crop" not in values:
        # Diffusers would squeeze the picture into the model's square.
        values = {"height": values["image"].height, "width": values["image"].width, **values}
    _check_limits(pipe, values)
    check_live_arguments(pipe, task, values, len(prompts), len(several))
    if "callback" in values:
        values.setdefault("callback_steps", 1)  # without, most pipelines count in steps of None
    return Call(prompts, several, guided, values)


def warn_of_cut_prompts(pipe: Any, prompts: Sequence[str]) -> None:
    """Name the end of each prompt that the text encoder does not read."""
    for text in dict.fromkeys(prompts):
        cut_off = printable(token_pieces(pipe.tokenizer, text).truncated)
        if cut_off:
            if len(cut_off) > LONGEST_QUOTE:
                cut_off = f"{cut_off[:LONGEST_QUOTE]}…"
            warnings.warn(
                f"The text encoder takes {pipe.tokenizer.model_max_length} tokens, with start and "
                f"end among them, so this end of the prompt is not read: '{cut_off}'; say it in "
                f"fewer words, or put what matters first.",
                stacklevel=3,  # where draw or sweep was called
            )


def _prompts(prompt: Any) -> list[str]:
    prompts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
    if not prompts or not all(isinstance(text, str) for text in prompts):
        raise ValueError("A prompt is a text or a list of texts, but something else was given.")
    return [check_text("The prompt", text) for text in prompts]


def _check_inputs(task: str, arguments: Mapping[str, Any]) -> None:
    """The pictures that the task needs are there, and no others."""
    needed = TASKS[task].inputs
    for name in ("image", "mask_image"):
        given = arguments.get(name) is not None
        if name in needed and not given:
            raise ValueError(f"The task {task} needs {name}, a picture, and none was given.")
        if name not in needed and given:
            other = next(key for key, entry in TASKS.items() if name in entry.inputs)
            raise ValueError(
                f"The task {task} takes no {name}: load {other!r}, or make its pipeline of this "
                f"one with from_pipe."
            )


def _check_names(pipe: Any, arguments: Mapping[str, Any]) -> None:
    parameters = inspect.signature(type(pipe).__call__).parameters
    known = [name for name in parameters if name not in ("self", "kwargs", "return_dict", *OURS)]
    if "kwargs" in parameters:  # the pipelines take out two old names, and drop all others
        known += ["callback", "callback_steps"]
    for name in arguments:
        if name in OURS:
            raise ValueError(f"{name} cannot be among the arguments: prompt and seeds say it.")
        if name not in ("image", "mask_image", "guided", *known):
            raise unknown(name, [*known, "guided", "seeds"], f"of the task {task_of(pipe)}")


def _upright(value: Any) -> Any:
    """The pictures in it, lists of lists included, as RGB."""
    if isinstance(value, list):
        return [_upright(part) for part in value]
    return as_rgb(value) if isinstance(value, Image.Image) else value


def _check_negative(values: Mapping[str, Any], prompts: Sequence[str]) -> None:
    negative = values.get("negative_prompt", "")
    if not isinstance(negative, str) and len(negative) != len(prompts):
        raise ValueError(
            f"There are {len(negative)} negative prompts for {len(prompts)} prompts: give one for "
            f"each, or one text for all."
        )


def _check_steps(pipe: Any, values: Mapping[str, Any]) -> None:
    if isinstance(pipe.scheduler, type) or not hasattr(pipe.scheduler, "config"):
        raise ValueError(
            f"The pipeline's scheduler is {shown(pipe.scheduler)}, which is none: make one with "
            f"make_scheduler."
        )
    given = _levels(pipe.scheduler, values)
    steps = len(next(iter(given.values()))) if given else values.get("num_inference_steps", 50)
    strength = values.get("strength", 1.0)
    check_steps(pipe.scheduler, steps)
    if int(steps * strength) < 1:
        raise ValueError(
            f"strength {strength} of {steps} steps is less than one step: give a strength of at "
            f"least {1 / steps:g}, or more steps."
        )
    check_scheduler(pipe.scheduler, given or {"num_inference_steps": steps})
    _check_first_level(pipe.scheduler, given or {"num_inference_steps": steps}, strength)


def _levels(scheduler: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The list of timesteps or sigmas, if one is given: its length is the number of steps."""
    given = {name: values[name] for name in ("timesteps", "sigmas") if name in values}
    if len(given) > 1:
        raise ValueError("timesteps and sigmas both say the noise levels: give one of them.")
    for name, several in given.items():
        _check_range(scheduler, name, several)
        if any(later >= earlier for earlier, later in pairwise(several)):
            raise ValueError(f"{name} have to fall from each to the next, but some here do not.")
        own = type(scheduler).from_config(scheduler.config)  # the pipeline's own stays as it is
        try:
            own.set_timesteps(**given)
        except Exception as error:  # each class has its own
            raise ValueError(
                f"The scheduler {type(own).__name__} does not take these {name} "
                f"({fault_of(error)}): give num_inference_steps, or take another scheduler."
            ) from error
    return given


def _check_range(scheduler: Any, name: str, several: Sequence[float]) -> None:
    levels = scheduler.config.get("num_train_timesteps", 1000)
    if name == "timesteps" and any(not 0 <= t < levels for t in several):
        raise ValueError(f"timesteps go from 0 to {levels - 1}, but some here do not.")
    kept = getattr(scheduler, "alphas_cumprod", None)
    most = 1.0 if kept is None else float((1 / kept[-1] - 1).sqrt())  # of noise to picture
    if name == "sigmas" and any(not 0 < sigma <= most * 1.001 for sigma in several):
        raise ValueError(
            f"sigmas are above 0 and at most {most:.4g} with this model, but some here are not."
        )


def _check_first_level(scheduler: Any, given: Mapping[str, Any], strength: float) -> None:
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None or kept.min() > 0:
        return
    own = type(scheduler).from_config(scheduler.config)  # the pipeline's own stays as it is
    own.set_timesteps(**given)
    check_first_level(own, own.timesteps[len(own.timesteps) - int(len(own.timesteps) * strength)])


def _check_guided(task: str, values: Mapping[str, Any], guided: float) -> None:
    if guided == 1:
        return
    if task not in ("text-to-image", "image-to-image"):
        raise ValueError(f"The task {task} cannot drop guidance on the way: leave guided at 1.")
    if "callback_on_step_end" in values:
        raise ValueError("guided needs callback_on_step_end for itself: leave one of them out.")


def _check_sides(pipe: Any, task: str, values: Mapping[str, Any]) -> None:
    """Sides are such that the VAE can take them, and those of picture and mask are the same."""
    for side in ("height", "width"):
        if side in values:
            _check_side(pipe, f"The {side}", values[side])
    if "image" not in TASKS[task].inputs:
        return
    image = values["image"]
    _check_side(pipe, "The width of image", image.width)
    _check_side(pipe, "The height of image", image.height)
    mask = values.get("mask_image", image)
    if mask.size != image.size:
        raise ValueError(
            f"The mask is {mask.width}x{mask.height} and the picture {image.width}x{image.height}: "
            f"make the mask for this picture, or resize it with "
            f"mask.resize({image.size}, Image.Resampling.NEAREST)."
        )
    if "padding_mask_crop" in values and mask.getbbox() is None:
        raise ValueError(
            "padding_mask_crop draws around what is white in the mask, but the mask is black "
            "everywhere: make white what is to be drawn, or leave padding_mask_crop out."
        )


def _check_side(pipe: Any, what: str, pixels: int) -> None:
    factor = math.lcm(pipe.vae_scale_factor, PIPELINE_FACTOR)
    if pixels > LARGEST_SIDE:
        raise ValueError(
            f"{what} is {shown(pixels)} pixels, more than {LARGEST_SIDE}: take a smaller one."
        )
    if pixels < 1 or pixels % factor:
        near = max(factor, round(pixels / factor) * factor)
        raise ValueError(
            f"{what} is {pixels} pixels, but pipelines draw multiples of {factor} only: take "
            f"{near}."
        )


def _check_limits(pipe: Any, values: Mapping[str, Any]) -> None:
    """Numbers whose limits the model sets."""
    encoder = getattr(pipe, "text_encoder", None)
    limits = {
        "noise_level": pipe.config.get("max_noise_level"),
        "clip_skip": getattr(getattr(encoder, "config", None), "num_hidden_layers", None),
        "padding_mask_crop": LARGEST_SIDE,
    }
    for name, most in limits.items():
        if name in values and most is not None and not 0 <= values[name] <= most:
            raise ValueError(
                f"{name} is {shown(values[name])}, but with this model it is 0 to {most}."
            )
    # Diffusers' pipelines of one text encoder look for it there; transformers 5 has none.
    lacking = not hasattr(encoder, "text_model") and not hasattr(pipe, "text_encoder_2")
    if "clip_skip" in values and lacking:
        raise ValueError(
            "clip_skip does not work with the installed versions of Diffusers and transformers: "
            "leave it out."
        )
