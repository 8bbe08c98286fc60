"""A pipeline for a task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import transformers
from transformers import AutoImageProcessor

from companion.door import Untrusted, printable
from companion.door.documents import read_json
from companion.door.models import check_model_folder, check_weights
from companion.door.numbers import shown
from companion.door.text import fault_of
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

    Chapter 4, "Three lines".

    Args:
        task: a name of `TASKS`.
        profile: by default `companion.profile()`.

    Returns:
        The pipeline, without a progress bar. For the first three tasks AutoPipeline finds its
        class, by the model's `model_index.json`.

    Raises:
        ValueError: an unknown task, or no profile.
        FileNotFoundError: the model is not here and cannot be fetched.
        Untrusted: the model's folder holds something else than settings that can be right, and
            safetensors; or it cannot be loaded.
    """
    if not isinstance(task, str) or task not in TASKS:
        known = ", ".join(TASKS)
        raise ValueError(f"There is no task {shown(task)}; choose one of: {known}.")
    p = default_profile() if profile is None else profile
    if not isinstance(p, Profile):
        raise ValueError(
            f"{shown(p)} is no profile: leave it out, or give companion.profile('full')."
        )
    chosen = TASKS[task]
    loader = getattr(diffusers, chosen.loader)
    folder = Path(p.folder(chosen.model))
    check_model_folder(folder)
    given: dict[str, Any] = {}
    if old := _has_old_extractor(folder):
        given["feature_extractor"] = None
    try:
        pipe = loader.from_pretrained(folder, dtype=p.dtype, use_safetensors=True, **given)
        if old:
            processor = AutoImageProcessor.from_pretrained(
                folder / "feature_extractor", trust_remote_code=False
            )
            pipe.register_modules(feature_extractor=processor)
        check_weights(pipe, folder)
    except (MemoryError, Untrusted):
        raise
    except Exception as error:  # what the door lets through, the libraries may still refuse
        raise Untrusted(
            f"The model in {printable(str(folder))} cannot be loaded as {task} "
            f"({fault_of(error)}): take another model, or fetch it again."
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(p.device)


def _has_old_extractor(folder: Path) -> bool:
    """Whether a model names a class that transformers 5 has not, as stable-diffusion-2-depth does.

    Diffusers 0.42 finds the successor of CLIP's by itself, and of no other.
    """
    index = read_json(dict[str, Any], folder / "model_index.json", "The list of the model's parts")
    part = index.get("feature_extractor")
    name = part[1] if isinstance(part, list) else None  # a pair then: the door has looked
    return name not in (None, "CLIPFeatureExtractor") and not hasattr(transformers, name)


def task_of(pipe: Any) -> str:
    """The task that a pipeline does, by the mappings that AutoPipeline itself chooses from.

    Chapter 4, "Which class, and why".

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
