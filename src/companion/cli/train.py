"""`companion train`: train a model on pictures of one's own, or teach one something new."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from companion.finetuning.config import METHODS, FinetuneConfig, load_finetune_config
from companion.finetuning.config import ON_THE_COMMAND_LINE as TO_FINETUNE
from companion.training.config import (
    CHOICES,
    IN_WORDS,
    ON_THE_COMMAND_LINE,
    TrainingConfig,
    explanations,
    load_config,
)

from .device import check_working_folder
from .quiet import quiet_libraries

METAVAR = {int: "N", float: "X", str: "NAME"}
# Defaults that follow from other settings.
TAUGHT = {"learning_rate": "the method's own", "output_dir": "named after DATA and the method"}
OF_METHODS = {method: f"--{method.replace('_', '-')}" for method in METHODS}
ANY_METHOD = " or ".join([", ".join([*OF_METHODS.values()][:-1]), [*OF_METHODS.values()][-1]])


def add(commands: Any) -> None:
    """Add the command to the parser."""
    train = commands.add_parser(
        "train",
        help="train a model on pictures, or teach one something new from a few",
        description="Train an unconditional diffusion model; or, with"
        f" {ANY_METHOD}, teach a Stable Diffusion an object or a style from a few pictures. An"
        " option goes before the settings file; what neither says is the default. Without them, on"
        " several GPUs: `accelerate launch --multi_gpu -m companion train ...` with the same"
        " arguments. On several CPUs: `ACCELERATE_USE_CPU=true torchrun --nproc_per_node=2 -m"
        " companion train ...`.",
    )
    train.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a toml file of settings, of these and of many more: see"
        " companion.training.TrainingConfig and companion.finetuning.FinetuneConfig",
    )
    for name in ON_THE_COMMAND_LINE:
        _add_setting(train, name, TrainingConfig)
    teach = train.add_argument_group(
        "teach a model something new",
        "DATA is then object:NAME of the book's atlas, such as object:fox, style:flat, or a folder"
        " of a few pictures.",
    )
    one = teach.add_mutually_exclusive_group()
    for method, told in (
        ("lora", "LoRA: thin matrices beside the attention layers"),
        ("textual_inversion", "the embedding of a new word alone"),
        ("dreambooth", "all weights of the UNet"),
    ):
        one.add_argument(
            OF_METHODS[method], dest="method", action="store_const", const=method, help=told
        )
    for name in TO_FINETUNE:
        _add_setting(teach, name, FinetuneConfig)
    train.set_defaults(
        run=_train, goes_on="with --resume the same command goes on from the newest checkpoint"
    )


def _add_setting(place: Any, name: str, of: type) -> None:
    """Make a field of the settings an option: its type, choices, default and meaning."""
    hint = get_type_hints(of)[name]
    kind = next(iter(get_args(hint)), hint)  # of `str | None` the first
    option, default = f"--{name.replace('_', '-')}", getattr(of, name)
    meaning = explanations(of).get(name, "").removesuffix(".")
    meaning = meaning.replace("%", "%%").replace("`output_dir`", "--output")
    if kind is bool:
        place.add_argument(option, action="store_true", default=None, help=meaning)
        return
    shown = [] if default in (None, "") else [f"default: {default}"]
    taught = TAUGHT.get(name, getattr(FinetuneConfig, name, default))
    if taught != default:
        shown.append(f"with --lora and the like: {taught}")
    choices = CHOICES | {"layers": ("all", "cross", "self")}
    settings: dict[str, Any] = {
        "type": _reader(kind),
        "choices": choices.get(name),
        "metavar": None if name in choices else METAVAR[kind],
        "help": f"{meaning} ({'; '.join(shown)})" if shown else meaning,
    }
    if name == "dataset_name":
        place.add_argument(name, nargs="?", **settings | {"metavar": "DATA"})
    elif name == "output_dir":
        place.add_argument("--output", dest=name, **settings | {"metavar": "FOLDER"})
    else:
        place.add_argument(option, **settings)


def _reader(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {IN_WORDS[kind]}") from None

    return read


def _train(arguments: argparse.Namespace) -> None:
    check_working_folder()
    names = (*ON_THE_COMMAND_LINE, *TO_FINETUNE)
    given = {name: getattr(arguments, name) for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.method:
        _finetune(arguments.method, arguments.config, changes)
        return
    if odd := [name for name in TO_FINETUNE if name in changes]:
        raise ValueError(
            f"{_option(odd[0])} is for teaching a model something new: add {ANY_METHOD}, or leave "
            "it out."
        )
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


def _finetune(method: str, file: Path | None, changes: dict[str, Any]) -> None:
    known = FinetuneConfig.__dataclass_fields__
    if odd := [name for name in changes if name not in known]:
        raise ValueError(f"{_option(odd[0])} does not go with {OF_METHODS[method]}: leave it out.")
    changes["method"] = method
    config = load_finetune_config(file, **changes) if file else FinetuneConfig(**changes)
    quiet_libraries()  # before the pipelines are imported, which warn at once
    from companion.door import printable
    from companion.finetuning import finetune

    run = finetune(config)
    done = f"{config.steps:,} steps done, {run.weights:,} weights trained"
    loss = f", loss {run.losses[-1]:.4f}" if run.losses else ""
    print(printable(f"{done}{loss}; see {run.folder}."))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
