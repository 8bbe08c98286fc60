"""Which class trains which kind of model."""

from importlib import import_module
from pathlib import Path

import torch

from .recipe import Recipe
from .trainer import Task

# Module and class; imported when asked for, since each brings its own part of diffusers.
TASKS = {
    "autoencoder": ("autoencoder", "Autoencoder"),
    "classifier": ("classifier", "Classifier"),
    "depth-estimation": ("depth_estimator", "DepthEstimator"),
    "depth-to-image": ("depth_to_image", "DepthToImage"),
    "text-to-image": ("text_to_image", "TextToImage"),
    "unconditional": ("unconditional", "Unconditional"),
    "upscaling": ("upscaler", "Upscaler"),
}


def make_task(recipe: Recipe, device: torch.device, folder: Path) -> Task:
    """The task of a recipe, with the model freshly made from the recipe's seed; the run is kept in
    the folder."""
    if recipe.task not in TASKS:
        raise ValueError(
            f"The recipe {recipe.name} names the task {recipe.task!r}; there are: "
            f"{', '.join(TASKS)}."
        )
    module, name = TASKS[recipe.task]
    task: Task = getattr(import_module(f".{module}", __package__), name)(recipe, device, folder)
    return task
