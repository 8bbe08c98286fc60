"""Call a pipeline: checked, with a seed for each picture."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from PIL import Image

from companion.door.numbers import shown
from companion.door.pipelines import looked_at, nan_in_a_sentence

from .checks import Call, prepare, warn_of_cut_prompts
from .live_arguments import SAME_EVERYWHERE, is_flat


def draw(
    pipe: Any,
    prompt: str | Sequence[str],
    *,
    seeds: int | Iterable[int] = 0,
    guided: float = 1.0,
    **arguments: Any,
) -> list[Image.Image]:
    """Draw pictures with a pipeline of one of the tasks of `TASKS`.

    Chapter 4, "Batches and seeds".

    Each picture has a generator of its own, on the CPU, so it depends on its seed alone: not on
    the device, and not on how many others are drawn at once.

    Args:
        pipe: as `load` gives it.
        prompt: a text, or several with a seed for each.
        seeds: one picture for each; with one prompt, that many pictures of it. Whole numbers of 0
            to 2^64 - 1, numpy's and torch's included.
        guided: the part of the steps, from the first on, that get guidance. The others cost half.
            At low noise guidance changes details only (Kynkäänniemi et al. 2024, who leave it out
            of the noisiest steps too, where it does harm; this does not).
        **arguments: of the pipeline's call: num_inference_steps, guidance_scale, negative_prompt,
            height, width, and where the task has them image, mask_image (PIL pictures), strength,
            noise_level. A picture may have any mode: it is turned as its EXIF data say, and what
            is transparent lies on white; a mask is white where to draw. Inpainting draws in
            the picture's size, as image to image does, where height and width say no other. A
            callback_on_step_end that only looks may give nothing back.

    Returns:
        RGB pictures, one for each seed, in order.

    Raises:
        ValueError: an argument that does not fit; the sentence says which and what to do.
        MemoryError: the pictures do not fit into the memory of the device.
    """
    call = prepare(pipe, prompt, seeds, {"guided": guided, **arguments})
    warn_of_cut_prompts(pipe, call.prompts)
    return run(pipe, call)


def run(pipe: Any, call: Call) -> list[Image.Image]:
    """Make a call that was checked.

    Raises:
        ValueError: the pictures hold NaN, or their depth would make it.
        MemoryError: the pictures do not fit into the memory of the device.
    """
    arguments = dict(call.arguments)
    if call.guided < 1:
        arguments |= _without_guidance_after(call.guided)
    elif "callback_on_step_end" in arguments:
        arguments["callback_on_step_end"] = _may_give_nothing(arguments["callback_on_step_end"])
    if isinstance(negative := arguments.get("negative_prompt"), str):
        arguments["negative_prompt"] = [negative] * len(call.prompts)  # as many as prompts
    if len(call.prompts) == 1:
        arguments["num_images_per_prompt"] = len(call.seeds)
    generators = [torch.Generator().manual_seed(seed) for seed in call.seeds]
    with (
        out_of_memory_in_a_sentence(len(call.seeds)),
        _flat_depth_in_a_sentence(pipe),
        nan_in_a_sentence(pipe),
    ):
        return list(pipe(call.prompts, generator=generators, **arguments).images)


def _without_guidance_after(guided: float) -> dict[str, Any]:
    """What makes a pipeline drop the unconditional half of its batch after a part of the steps.

    Chapter 4, "Guidance in an interval".
    """

    def drop(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if pipe.do_classifier_free_guidance and step + 1 >= guided * pipe.num_timesteps:
            pipe._guidance_scale = 1.0  # as the documentation of Diffusers' callbacks does
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[1]
        return tensors

    names = ["prompt_embeds"]
    return {"callback_on_step_end": drop, "callback_on_step_end_tensor_inputs": names}


def _may_give_nothing(callback: Any) -> Any:
    """A callback that only looks: pipelines want back the tensors that go on.

    Raises, when it is called:
        ValueError: it gives something else, or latents of another shape.
    """
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        return callback  # pipelines look for that kind

    def call(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        given = callback(pipe, step, timestep, tensors)
        if given is None:
            return {}
        if not isinstance(given, dict) or not all(
            isinstance(value, torch.Tensor) or value is tensors.get(name)
            for name, value in given.items()
        ):
            raise ValueError(
                f"callback_on_step_end gave {shown(given)} back, but it gives a dict of the "
                f"tensors that go on, or nothing."
            )
        sides = [tuple(held["latents"].shape) for held in (tensors, given) if "latents" in held]
        if len(set(sides)) > 1:
            was, now = ("x".join(map(str, shape)) for shape in sides)
            raise ValueError(f"callback_on_step_end gave latents of {now} back in place of {was}.")
        return given

    return call


@contextmanager
def _flat_depth_in_a_sentence(pipe: Any) -> Iterator[None]:
    """Look at the depth that is estimated: pipelines divide by how far it reaches.

    Raises:
        ValueError: it reaches nowhere.
    """

    def look(_: Any, __: Any, estimated: Any) -> None:
        if is_flat(estimated.predicted_depth):
            raise ValueError(f"The depth that is seen in the picture {SAME_EVERYWHERE}")

    with looked_at(getattr(pipe, "depth_estimator", None), look):
        yield


@contextmanager
def out_of_memory_in_a_sentence(count: int) -> Iterator[None]:
    """Turn what PyTorch says of a full memory into one sentence with the remedy.

    Raises:
        MemoryError: the memory was full.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; on a CPU there is only the text
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate" in str(error)):
            raise
        fewer = f"fewer than {count} pictures at once" if count > 1 else "a smaller size"
        raise MemoryError(
            f"The memory of the device is full: try {fewer}, call optimise(pipe) before, or close "
            f"other notebooks that hold models."
        ) from error
