"""Which class trains which kind of model."""

from pathlib import Path

import torch

from .recipe import Recipe
from .trainer import Task


def make_task(recipe: Recipe, device: torch.device, folder: Path) -> Task:
    """The task of a recipe, with the model freshly made from the recipe's seed; the run is kept in
    the folder."""
    # Imported here: each brings its own part of diffusers or transformers.
    if recipe.task == "autoencoder":
        from .autoencoder import Autoencoder

        return Autoencoder(recipe, device, folder)
    if recipe.task == "classifier":
        from .classifier import Classifier

        return Classifier(recipe, device, folder)
    if recipe.task == "text-to-image":
        from .text_to_image import TextToImage

        return TextToImage(recipe, device, folder)
    if recipe.task == "unconditional":
        from .unconditional import Unconditional

        return Unconditional(recipe, device, folder)
    if recipe.task == "upscaling":
        from .upscaler import Upscaler

        return Upscaler(recipe, device, folder)
    if recipe.task == "depth-to-image":
        from .depth_to_image import DepthToImage

        return DepthToImage(recipe, device, folder)
    if recipe.task == "depth-estimation":
        from .depth_estimator import DepthEstimator

        return DepthEstimator(recipe, device, folder)
    raise ValueError(
        f"The recipe {recipe.name} names the task {recipe.task!r}, which is not known."
    )
