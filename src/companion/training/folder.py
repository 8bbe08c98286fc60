"""The folder of a run: what is in it, and what becomes of an earlier run there."""

import shutil
from pathlib import Path

from .config import TrainingConfig

FOLDERS = ("checkpoints", "samples", "logs", "best", "unet", "scheduler")
FILES = ("log.csv", "best.json", "model_index.json")


def prepare_folder(config: TrainingConfig, folder: Path) -> None:
    """Make the folder; an earlier run in it is gone on with, removed, or refused.

    Raises:
        FileExistsError: there is one, and the settings say neither.
    """
    there = any((folder / name).exists() for name in ("checkpoints", *FILES))
    if there and not config.resume:
        if not config.overwrite_output_dir:
            raise FileExistsError(
                f"The folder {folder} holds a training run already: resume goes on with it, "
                "overwrite_output_dir removes it, another output_dir leaves it alone."
            )
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
