"""A recipe: everything that made a model of the zoo, read from `NAME.toml`."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from companion.door import Untrusted
from companion.door.documents import parse_json
from companion.zoo.registry import entries

RECIPES = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        name: the model's name in the zoo.
        task: which of `companion.recipes.tasks` trains it.
        subset: which scenes it learns from.
        seed: decides the first weights, the scenes and the noise of every step.
        steps: optimiser steps in all.
        batch_size: scenes a step.
        learning_rate: highest rate of AdamW, reached after `warmup_steps`.
        cooldown: last part of the steps, 0..1, over which the rate falls to zero in a straight
            line.
        weight_decay: AdamW's.
        ema_decay: decay of the exponential moving average of the weights; 0 for none.
        sample_every: steps between two sample grids.
        settings: what only this task needs, such as the architecture.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # when it comes from a file

    name: str
    task: str
    subset: str
    seed: int
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    cooldown: float
    weight_decay: float
    ema_decay: float
    sample_every: int
    settings: dict[str, Any]

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up, plateau, cool-down to zero."""
        warm = (step + 1) / max(1, self.warmup_steps)
        cool = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return self.learning_rate * min(1.0, warm, cool)


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes, in the order in which they are trained: later ones need earlier
    ones."""
    return tuple(entries())


def load_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none, and the message lists those there are; or its file is no TOML,
            lacks a setting, or has one that is unknown or wrong.
    """
    if name not in recipe_names():
        known = ", ".join(recipe_names())
        raise ValueError(f"There is no recipe {name!r} in the zoo; choose one of: {known}.")
    path = RECIPES / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Untrusted(f"The recipe {path} cannot be read: {error}.") from error
    return parse_json(Recipe, json.dumps(table | {"name": name}, default=str), f"The recipe {path}")
