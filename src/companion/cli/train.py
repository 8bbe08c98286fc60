"""`companion train`: train a diffusion model on pictures of one's own."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from companion.training.config import (
    CHOICES,
    IN_WORDS,
    ON_THE_COMMAND_LINE,
    TrainingConfig,
    explanations,
    load_config,
)

from .device import check_working_folder

METAVAR = {int: "N", float: "X", str: "NAME"}


def add(commands: Any) -> None:
    """Add the command to the parser."""
    train = commands.add_parser(
        "train",
        help="train a model on a folder of pictures, a dataset, or the scenes",
        description="Train an unconditional diffusion model. An option goes before the settings"
        " file; what neither says is the default. On several GPUs: `accelerate launch"
        " --multi_gpu -m companion train ...` with the same arguments. On several CPUs:"
        " `ACCELERATE_USE_CPU=true torchrun --nproc_per_node=2 -m companion train ...`.",
    )
    train.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a toml file of settings, of these and of many more: see"
        " companion.training.TrainingConfig",
    )
    hints, meanings = get_type_hints(TrainingConfig), explanations()
    for name in ON_THE_COMMAND_LINE:
        kind = next(iter(get_args(hints[name])), hints[name])  # of `str | None` the first
        _add_setting(train, name, kind, meanings.get(name, ""))
    train.set_defaults(
        run=_train, goes_on="with --resume the same command goes on from the newest checkpoint"
    )


def _add_setting(train: argparse.ArgumentParser, name: str, kind: type, meaning: str) -> None:
    """Make a field of the settings an option: its type, choices, default and meaning."""
    option, default = f"--{name.replace('_', '-')}", getattr(TrainingConfig, name)
    meaning = meaning.removesuffix(".").replace("%", "%%").replace("`output_dir`", "--output")
    if kind is bool:
        train.add_argument(option, action="store_true", default=None, help=meaning)
        return
    settings: dict[str, Any] = {
        "type": _reader(kind),
        "choices": CHOICES.get(name),
        "metavar": None if name in CHOICES else METAVAR[kind],
        "help": meaning if default is None else f"{meaning} (default: {default})",
    }
    if name == "dataset_name":
        train.add_argument(name, nargs="?", **settings | {"metavar": "DATA"})
    elif name == "output_dir":
        train.add_argument("--output", dest=name, **settings | {"metavar": "FOLDER"})
    else:
        train.add_argument(option, **settings)


def _reader(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {IN_WORDS[kind]}") from None

    return read


def _train(arguments: argparse.Namespace) -> None:
    check_working_folder()
    given = {name: getattr(arguments, name) for name in ON_THE_COMMAND_LINE}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.config:
        config = load_config(arguments.config, **changes)
    else:
        config = TrainingConfig(**changes)
    from companion.training import train
    from companion.training.order import processes

    run = train(config)
    if processes().is_main_process:
        if run.steps:
            print(f"{run.steps[-1]:,} steps done, loss {run.losses[-1]:.4f}; see {run.folder}.")
        else:  # a run that was done before, and whose log is gone
            print(f"Nothing was left to do; see {run.folder}.")
    processes().destroy_process_group()
