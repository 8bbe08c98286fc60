"""A pipeline for a task."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import transformers
from transformers import AutoImageProcessor

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
    given: dict[str, Any] = {}
    if old := _has_old_extractor(folder):
        given["feature_extractor"] = None
    pipe = loader.from_pretrained(folder, dtype=p.dtype, use_safetensors=True, **given)
    if old:
        processor = AutoImageProcessor.from_pretrained(Path(folder) / "feature_extractor")
        pipe.register_modules(feature_extractor=processor)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(p.device)


def _has_old_extractor(folder: str | Path) -> bool:
    """Whether a model names a class that transformers 5 has not, as stable-diffusion-2-depth does.

    Diffusers 0.42 finds the successor of CLIP's by itself, and of no other.
    """
    index = json.loads((Path(folder) / "model_index.json").read_text())
    name = (index.get("feature_extractor") or [None, None])[1]
    return name not in (None, "CLIPFeatureExtractor") and not hasattr(transformers, name)


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
