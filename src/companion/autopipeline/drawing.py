"""Call a pipeline: checked, with a seed for each picture."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

from .checks import check_call


def draw(
    pipe: Any,
    prompt: str | Sequence[str],
    *,
    seeds: int | Sequence[int] = 0,
    **arguments: Any,
) -> list[Image.Image]:
    """Draw pictures with a pipeline of one of the three tasks.

    Each picture has a generator of its own, on the CPU, so it depends on its seed alone: not on
    the device, and not on how many others are drawn at once.

    Args:
        pipe: a text-to-image, image-to-image or inpainting pipeline.
        prompt: a text, or several with a seed for each.
        seeds: one picture for each; with one prompt, that many pictures of it.
        **arguments: of the pipeline's call: num_inference_steps, guidance_scale, negative_prompt,
            height, width, and where the task has them image, mask_image (PIL pictures) and
            strength.

    Returns:
        RGB pictures, one for each seed, in order.

    Raises:
        ValueError: an argument that does not fit; the sentence says which and what to do.
        MemoryError: the pictures do not fit into the memory of the device.
    """
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    check_call(pipe, prompt, seeds, arguments)
    if isinstance(prompt, str):
        arguments["num_images_per_prompt"] = len(seeds)
    else:
        prompt = list(prompt)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with out_of_memory_in_a_sentence(len(seeds)):
        return list(pipe(prompt, generator=generators, **arguments).images)


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
