"""`companion train`: train a diffusion model on pictures of one's own."""

import argparse
from pathlib import Path
from typing import Any

from .device import check_folder


def add(commands: Any) -> None:
    """Add the command to the parser."""
    train = commands.add_parser(
        "train",
        help="train a model on a folder of pictures, a dataset, or the scenes",
        description="Train an unconditional diffusion model. On several GPUs: `accelerate launch"
        " --multi_gpu -m companion train ...` with the same arguments. On several CPUs:"
        " `ACCELERATE_USE_CPU=true torchrun --nproc_per_node=2 -m companion train ...`.",
    )
    train.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="a folder of pictures or of a dataset, the id of one, or scenes:SUBSET (default: the"
        " settings')",
    )
    train.add_argument(
        "--config", type=Path, help="a toml file of settings, see companion.training.TrainingConfig"
    )
    train.add_argument(
        "--dataset-config-name", metavar="NAME", help="which configuration of a dataset"
    )
    train.add_argument(
        "--dataset-split", metavar="NAME", help="which split of a dataset (default: train)"
    )
    train.add_argument("--output", metavar="FOLDER", help="folder of the run")
    train.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in that folder"
    )
    train.set_defaults(
        run=_train, goes_on="with --resume the same command goes on from the newest checkpoint"
    )


def _train(arguments: argparse.Namespace) -> None:
    check_folder()
    changes = {
        name: value
        for name, value in (
            ("dataset_name", arguments.data),
            ("dataset_config_name", arguments.dataset_config_name),
            ("dataset_split", arguments.dataset_split),
            ("output_dir", arguments.output),
            ("resume", arguments.resume or None),
        )
        if value is not None
    }
    from companion.training import TrainingConfig, load_config, train
    from companion.training.order import processes

    if arguments.config:
        config = load_config(arguments.config, **changes)
    else:
        config = TrainingConfig(**changes)
    run = train(config)
    if processes().is_main_process:
        if run.steps:
            print(f"{run.steps[-1]:,} steps done, loss {run.losses[-1]:.4f}; see {run.folder}.")
        else:  # a run that was done before, and whose log is gone
            print(f"Nothing was left to do; see {run.folder}.")
    processes().destroy_process_group()
