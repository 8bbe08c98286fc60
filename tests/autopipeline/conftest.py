"""One pipeline for each task, and copies of it that may be changed."""

import copy
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import transformers

transformers.logging.set_verbosity_error()  # the pipelines' import speaks of torchvision

from companion import profile  # noqa: E402
from companion.autopipeline import load, make_scheduler  # noqa: E402

AUTO = {
    "text-to-image": diffusers.AutoPipelineForText2Image,
    "image-to-image": diffusers.AutoPipelineForImage2Image,
    "inpainting": diffusers.AutoPipelineForInpainting,
}


@pytest.fixture(scope="session")
def pipes() -> dict[str, Any]:
    """A pipeline for each task, with the weights of one, and UniPC, which needs few steps."""
    first = load("text-to-image", profile("small"))
    first.to("cpu")
    first.scheduler = make_scheduler("UniPC", first.scheduler)
    made = {task: auto.from_pipe(first) for task, auto in AUTO.items()}
    for pipe in made.values():
        pipe.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def pipe(pipes: dict[str, Any]) -> Any:
    return pipes["text-to-image"]


@pytest.fixture(scope="session")
def copied() -> Callable[[Any], Any]:
    """Make a pipeline that may be changed: with networks and scheduler of its own."""

    def make(pipe: Any) -> Any:
        parts = {name: copy.deepcopy(part) for name, part in pipe.components.items()}
        made = type(pipe)(**parts, requires_safety_checker=False)
        made.set_progress_bar_config(disable=True)
        made.register_to_config(_name_or_path=pipe.config._name_or_path)
        return made

    return make


@pytest.fixture
def own(copied: Callable[[Any], Any], pipe: Any) -> Any:
    """A text-to-image pipeline that may be changed."""
    return copied(pipe)
