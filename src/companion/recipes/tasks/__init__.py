"""A file for each kind of model; the class in it trains one: `text-to-image` is `TextToImage` in
`text_to_image.py`."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import torch

from ..recipe import Recipe
from ..trainer import Task, make_run_folder

TASKS = tuple(sorted(module.name.replace("_", "-") for module in iter_modules(__path__)))


def make_task(recipe: Recipe, device: torch.device, folder: Path) -> Task:
    """The task of a recipe, with the model freshly made from the recipe's seed; the run is kept in
    the folder.

    The reader's own random numbers go on as if nothing had been drawn.

    Raises:
        ValueError: the recipe names a task that is not there, or the folder cannot be written.
    """
    if recipe.task not in TASKS:
        raise ValueError(
            f"The recipe {recipe.name} names the task {recipe.task!r}; there are: "
            f"{', '.join(TASKS)}."
        )
    make_run_folder(folder)
    # Imported when asked for, since each brings its own part of diffusers.
    module = import_module(f".{recipe.task.replace('-', '_')}", __name__)
    task: type[Task] = getattr(module, recipe.task.title().replace("-", ""))
    with torch.random.fork_rng(devices=[]):  # models are made on the CPU, then moved
        torch.default_generator.manual_seed(recipe.seed)
        return task(recipe, device, folder)
