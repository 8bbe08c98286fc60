"""A pipeline for a task."""

from dataclasses import dataclass
from typing import Any

import diffusers

from companion.profile import Profile
from companion.profile import profile as default_profile


@dataclass(frozen=True)
class Task:
    """What can be done with a model.

    Attributes:
        loader: the class of Diffusers whose `from_pretrained` finds the pipeline's class.
        model: the profile's model for it.
        inputs: the pictures that a call needs beside the prompt.
    """

    loader: str
    model: str
    inputs: tuple[str, ...] = ()


TASKS = {
    "text-to-image": Task("AutoPipelineForText2Image", "autopipeline"),
    "image-to-image": Task("AutoPipelineForImage2Image", "autopipeline", ("image",)),
    "inpainting": Task("AutoPipelineForInpainting", "autopipeline", ("image", "mask_image")),
    # AutoPipeline has no task for these two: their own class loads them.
    "super-resolution": Task("StableDiffusionUpscalePipeline", "upscaler", ("image",)),
    "depth-to-image": Task("StableDiffusionDepth2ImgPipeline", "depth", ("image",)),
}


def load(task: str, profile: Profile | None = None) -> Any:
    """Load the profile's pipeline for a task onto the profile's device, in its precision.

    Args:
        task: a name of `TASKS`.
        profile: by default `companion.profile()`.

    Returns:
        The pipeline, without a progress bar. For the first three tasks AutoPipeline finds its
        class, by the model's `model_index.json`.

    Raises:
        ValueError: an unknown task.
        FileNotFoundError: the model is not here and cannot be fetched.
    """
    if task not in TASKS:
        known = ", ".join(TASKS)
        raise ValueError(f"There is no task {task!r}; choose one of: {known}.")
    p = profile or default_profile()
    chosen = TASKS[task]
    loader = getattr(diffusers, chosen.loader)
    folder = p.models[chosen.model].folder()
    pipe = loader.from_pretrained(folder, dtype=p.dtype, use_safetensors=True).to(p.device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def task_of(pipe: Any) -> str:
    """The task that a pipeline does, by the mappings that AutoPipeline itself chooses from.

    Raises:
        ValueError: a pipeline of no task of `TASKS`.
    """
    from diffusers.pipelines import auto_pipeline

    for task, entry in TASKS.items():
        if type(pipe).__name__ == entry.loader:
            return task
    for task, mapping in (
        ("inpainting", auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING),
        ("image-to-image", auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING),
        ("text-to-image", auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING),
    ):
        if type(pipe) in mapping.values():
            return task
    raise ValueError(
        f"{type(pipe).__name__} is no pipeline of {', '.join(TASKS)}; load one with "
        f"companion.autopipeline.load."
    )
