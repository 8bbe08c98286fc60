"""A model's card: a README.md beside its weights that says what it is, what made it and how good
it is."""

import json
from pathlib import Path

from companion.recipes.recipe import RECIPES, Recipe
from companion.scenes import Subset, subset
from companion.zoo.registry import Entry

Figures = dict[str, float]  # what was measured, and its value

# Of a model that learned from the scenes; another has its own words in the registry.
LICENCE = (
    "Weights: Apache-2.0, trained by this project from nothing but the scenes. The scenes are made"
    " of Microsoft Fluent Emoji (MIT) and Noto Emoji (Apache-2.0), see NOTICE."
)


# A card names so many objects at most: three cards of one page with all 81 of them tire.
LISTED = 20


def write_card(entry: Entry, recipe: Recipe, figures: Figures, device: str) -> Path:
    """Write `README.md` and `evaluation.json` into the model's folder; returns the card's path."""
    told = json.dumps(figures, indent=2) + "\n"
    (entry.path / "evaluation.json").write_text(told, encoding="utf-8")
    comment = (RECIPES / f"{recipe.name}.toml").read_text(encoding="utf-8").splitlines()[0]
    world = subset(recipe.subset)
    lines = [
        f"# {entry.name}",
        "",
        comment.removeprefix("# "),
        "",
        _loading(entry),
        "",
        "## Data",
        "",
        f"Scenes of the subset `{world.name}` ({', '.join(world.styles)} style): {_named(world)}.",
        "",
        "## Recipe",
        "",
        f"`companion zoo train {recipe.name}`: seed {recipe.seed}, {recipe.steps:,} steps of "
        f"{recipe.batch_size} scenes, AdamW at {recipe.learning_rate:g}, "
        f"EMA {recipe.ema_decay or 'none'}.",
        "",
        "## Quality",
        "",
        f"Measured by `companion zoo evaluate {recipe.name}` on the {device}, on scenes and seeds "
        "that training never saw.",
        "",
        "| what | figure |",
        "|---|---|",
        *(f"| {name} | {_short(value)} |" for name, value in figures.items()),
        "",
        "## Licence",
        "",
        entry.licence or LICENCE,
        "",
    ]
    path = entry.path / "README.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _named(world: Subset) -> str:
    """The objects by name; where they are many, how many, and what lists them."""
    if len(world.objects) <= LISTED:
        return ", ".join(world.objects)
    return (
        f"{len(world.objects)} objects, which "
        f'`companion.scenes.subset("{world.name}").objects` lists'
    )


def _loading(entry: Entry) -> str:
    loader = f"`{entry.loads_with}.from_pretrained`"
    if entry.absent:
        loader += f" and {', '.join(f'`{part}=None`' for part in entry.absent)}"
    if not entry.shared:
        return f"Load it with {loader}."
    parts = ", ".join(f"`{part}`" for part in dict.fromkeys(p.split("/")[0] for p in entry.shared))
    return (
        f'Load the folder that `companion.zoo.folder("{entry.name}")` puts together with '
        f"{loader}: parts that lie elsewhere belong to it ({parts})."
    )


def _short(value: float) -> str:
    """A figure at the precision that means something."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.4f}"
