"""The `companion` command: a thin face on the package."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 could not be done, 2 called wrongly."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except KeyboardInterrupt:
        print(
            "Stopped. What was saved is kept; the same command goes on from there.", file=sys.stderr
        )
        return 1
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        print(f"companion: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="companion", description="The companion of the book.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    zoo = commands.add_parser("zoo", help="the embedded models").add_subparsers(
        required=True, metavar="COMMAND"
    )

    listing = zoo.add_parser(
        "list", help="the models, their sizes and whether their files are whole"
    )
    listing.add_argument(
        "--names", action="store_true", help="names only, in the order of training"
    )
    listing.set_defaults(run=_zoo_list)

    training = zoo.add_parser("train", help="train a model from its recipe, or go on training it")
    training.add_argument("name", metavar="NAME", help="see `companion zoo list`")
    training.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    training.add_argument(
        "--minutes", type=float, help="stop after so many minutes; run again to go on"
    )
    training.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of the runs (default: %(default)s)"
    )
    training.set_defaults(run=_zoo_train)

    evaluating = zoo.add_parser("evaluate", help="measure a model and write its card")
    evaluating.add_argument("name", metavar="NAME", help="see `companion zoo list`")
    evaluating.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    evaluating.set_defaults(run=_zoo_evaluate)
    return parser


def _zoo_list(arguments: argparse.Namespace) -> None:
    from companion.zoo import entries, verify
    from companion.zoo.recipe import recipe_names

    if arguments.names:
        print("\n".join(recipe_names()))
        return
    for entry in entries().values():
        faults = verify(entry.name)
        state = "; ".join(faults) if faults else "files whole"
        print(f"{entry.name:18}{entry.bytes / 2**20:6.1f} MiB  {entry.summary} ({state})")


def _zoo_train(arguments: argparse.Namespace) -> None:
    from companion.zoo.recipe import load_recipe

    recipe, device = load_recipe(arguments.name), _device(arguments.device)
    # After the arguments are known to be right: these load diffusers, which takes seconds.
    from companion.zoo.tasks import make_task
    from companion.zoo.trainer import train

    folder = arguments.runs / arguments.name
    task = make_task(recipe, device, folder)
    done = train(task, minutes=arguments.minutes)
    print(f"{recipe.name}: {done:,} of {recipe.steps:,} steps done, see {folder}.")


def _zoo_evaluate(arguments: argparse.Namespace) -> None:
    from companion.zoo.recipe import load_recipe
    from companion.zoo.registry import entry, folder

    model, recipe = entry(arguments.name), load_recipe(arguments.name)
    # After the name is known to be right: these load torch and diffusers, which takes seconds.
    from companion.zoo.card import write_card
    from companion.zoo.measure import measure

    device = _device(arguments.device)
    figures = measure(recipe, folder(arguments.name), device)
    for name, value in figures.items():
        print(f"{value:12.4f}  {name}")
    print(f"Written to {write_card(model, recipe, figures, device.type.upper())}.")


def _device(name: str | None) -> "torch.device":
    import torch

    from companion.profile import best_device

    try:
        return torch.device(name or best_device())
    except RuntimeError as error:
        raise ValueError(f"There is no device {name!r}; choose cuda, mps or cpu.") from error


if __name__ == "__main__":
    raise SystemExit(main())
