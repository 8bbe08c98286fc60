"""`companion zoo`: list, train and measure the embedded models."""

import argparse
import math
from pathlib import Path
from typing import Any

from .device import choose_device


def add(commands: Any) -> None:
    """Add the command to the parser."""
    zoo = commands.add_parser("zoo", help="the embedded models").add_subparsers(
        required=True, metavar="COMMAND"
    )

    listing = zoo.add_parser(
        "list", help="the models, their sizes and whether their files are whole"
    )
    listing.add_argument(
        "--names", action="store_true", help="names only, in the order of training"
    )
    listing.set_defaults(run=_zoo_list, goes_on="")

    training = zoo.add_parser("train", help="train a model from its recipe, or go on training it")
    training.add_argument("name", metavar="NAME", help="see `companion zoo list`")
    training.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    training.add_argument(
        "--minutes", type=_minutes, help="stop after so many minutes; run again to go on"
    )
    training.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of the runs (default: %(default)s)"
    )
    training.set_defaults(run=_zoo_train)

    evaluating = zoo.add_parser("evaluate", help="measure a model and write its card")
    evaluating.add_argument("name", metavar="NAME", help="see `companion zoo list`")
    evaluating.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    evaluating.set_defaults(run=_zoo_evaluate, goes_on="the same command begins anew")

    exporting = zoo.add_parser("export", help="write a model as the pages of the book run it")
    exporting.add_argument(
        "name", metavar="NAME", help="of a Stable Diffusion in the zoo, or the folder of one"
    )
    exporting.add_argument(
        "--to", type=Path, default=Path("exported"), help="a folder (default: %(default)s)"
    )
    exporting.set_defaults(run=_zoo_export, goes_on="")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes, 0 or more")
    return minutes


def _zoo_list(arguments: argparse.Namespace) -> None:
    from companion.recipes.recipe import recipe_names
    from companion.zoo import entries, verify

    if arguments.names:
        print("\n".join(recipe_names()))
        return
    for entry in entries().values():
        faults = verify(entry.name)
        state = "; ".join(faults) if faults else "files whole"
        print(f"{entry.name:18}{entry.bytes / 2**20:6.1f} MiB  {entry.summary} ({state})")


def _zoo_train(arguments: argparse.Namespace) -> None:
    from companion.recipes.recipe import load_recipe

    recipe, device = load_recipe(arguments.name), choose_device(arguments.device)
    # After the arguments are known to be right: these load diffusers, which takes seconds.
    from companion.recipes.tasks import make_task
    from companion.recipes.trainer import train

    task = make_task(recipe, device, arguments.runs / recipe.name)
    done = train(task, minutes=arguments.minutes)
    print(f"{recipe.name}: {done:,} of {recipe.steps:,} steps done, see {task.folder}.")


def _zoo_evaluate(arguments: argparse.Namespace) -> None:
    from companion.recipes.recipe import load_recipe
    from companion.zoo.registry import entry

    model, recipe = entry(arguments.name), load_recipe(arguments.name)
    # After the name is known to be right: these load torch and diffusers, which takes seconds.
    from companion.evaluation.card import write_card
    from companion.evaluation.measures import measure

    device = choose_device(arguments.device)
    figures = measure(recipe, model, device)
    for name, value in figures.items():
        print(f"{value:12.4f}  {name}")
    print(f"Written to {write_card(model, recipe, figures, device.type.upper())}.")


def _zoo_export(arguments: argparse.Namespace) -> None:
    from companion.door import is_folder
    from companion.zoo import folder
    from companion.zoo.export import export

    given = Path(arguments.name)
    files = export(given if is_folder(given) else folder(arguments.name), arguments.to)
    for path in files.values():
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  {path}")
