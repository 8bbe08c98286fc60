"""The zoo's Stable Diffusion, loaded once, and a quiet call of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

transformers.logging.set_verbosity_error()  # the pipeline's import speaks of torchvision
from diffusers import StableDiffusionPipeline  # noqa: E402

from companion.zoo import folder  # noqa: E402

Draw = Callable[..., np.ndarray]


def quiet(pipe: Any) -> Any:
    """The pipeline without its progress bar."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def loaded() -> StableDiffusionPipeline:
    """The zoo's model in float32; tests take `pipe`."""
    path = str(folder("stable-diffusion"))
    return quiet(StableDiffusionPipeline.from_pretrained(path, dtype=torch.float32))


@pytest.fixture
def pipe(loaded: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline of its own for each test; the networks are shared."""
    return quiet(StableDiffusionPipeline(**loaded.components, requires_safety_checker=False))


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Draw with any pipeline: few steps, seed 7, pictures as floats (pictures, h, w, 3)."""

    def draw(pipe: Any, prompt: Any = "a cat on a blue background", **given: Any) -> np.ndarray:
        given = {
            "num_inference_steps": 3,
            "generator": torch.Generator().manual_seed(7),
            "output_type": "np",
            **given,
        }
        return pipe(prompt, **given).images

    return draw
