"""A file for each task, as in `companion.recipes.tasks`; its `measure` says how good a model of it
is, on scenes and prompts that training never saw."""

from importlib import import_module

import torch

from companion.recipes.recipe import Recipe
from companion.zoo.assembled import folder
from companion.zoo.registry import Entry

from ..card import Figures


def measure(recipe: Recipe, model: Entry, device: torch.device) -> Figures:
    """The figures of a model's card; example pictures are written beside the model's files.

    Args:
        recipe: what made the model.
        model: the model.
        device: where the model runs; the classifier always runs on the CPU.
    """
    # Imported when asked for, since each brings its own part of diffusers.
    module = import_module(f".{recipe.task.replace('-', '_')}", __name__)
    figures: Figures = module.measure(recipe, folder(model.name), model.path, device)
    return figures
