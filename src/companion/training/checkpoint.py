"""Checkpoints: all that a run needs to go on, whole or not there, the last two of them."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from .files import explained, remove, to_disk

KEPT = 2
_RUN = "run.json"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        epoch: whole epochs done.
        batch: micro-batches done in the epoch after them, in each process.
        best: lowest score of an evaluation so far, or None.
        loss_sum: sum of the losses since the last evaluation.
        loss_count: how many they are.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    loss_sum: float = 0.0
    loss_count: int = 0


class Checkpoints:
    """The checkpoints of a run, `checkpoint-STEP` folders made by accelerate's `save_state`.

    Args:
        accelerator: knows the model, optimiser, schedule, scaler and what else was registered.
        folder: where they lie.
        same: settings that must not change between a checkpoint and the run that goes on from it.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, same: dict[str, Any]) -> None:
        self._accelerator = accelerator
        self._folder = folder
        self._same = same
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*"):  # of a run that was killed while it wrote or removed
                shutil.rmtree(left, ignore_errors=True)
        accelerator.wait_for_everyone()

    def newest(self) -> Path | None:
        """The newest checkpoint, or None."""
        return max(self._folder.glob("checkpoint-*"), default=None)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, then remove all but the last two.

        It is written beside its place, and takes it by a rename when every byte is on the disk.

        Raises:
            OSError: it could not be written; the earlier ones are still there.
        """
        place = self._folder / f"checkpoint-{progress.step:08d}"
        if place.exists():
            return
        accelerator, beside = self._accelerator, place.with_name(f".{place.name}.new")
        last = self.newest()
        kept = f"the last whole checkpoint is {last}" if last else "nothing else was changed"
        try:
            with explained(f"checkpoint of step {progress.step}", self._folder, kept):
                if accelerator.is_main_process:
                    beside.mkdir()
                accelerator.wait_for_everyone()
                accelerator.save_state(str(beside))
                accelerator.wait_for_everyone()
                if accelerator.is_main_process:
                    state = {"progress": asdict(progress), "settings": self._same}
                    (beside / _RUN).write_text(json.dumps(state, indent=1), encoding="utf-8")
                    to_disk(beside)
                    beside.rename(place)
                    to_disk(self._folder)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if accelerator.is_main_process:
            for old in sorted(self._folder.glob("checkpoint-*"))[:-KEPT]:
                remove(old)
        accelerator.wait_for_everyone()

    def load(self, place: Path) -> Progress:
        """Put everything back to where a checkpoint was made.

        Raises:
            ValueError: it was made by a run with other settings, or cannot be read.
        """
        try:
            state = json.loads((place / _RUN).read_text(encoding="utf-8"))
            progress, settings = Progress(**state["progress"]), state["settings"]
        except Exception as error:
            raise _damaged(place, error) from error
        for name, value in self._same.items():
            if settings.get(name) != value:
                raise ValueError(
                    f"The checkpoint {place} was made with {name} = {settings.get(name)}, but this "
                    f"run has {value}: set it back, or begin anew with overwrite_output_dir."
                )
        try:
            self._accelerator.load_state(str(place))
        except Exception as error:  # of any kind: unpickling rubbish raises what it likes
            raise _damaged(place, error) from error
        return progress


def _damaged(place: Path, error: Exception) -> ValueError:
    return ValueError(
        f"The checkpoint {place} is damaged ({type(error).__name__}): remove this folder, and the "
        "run goes on from the one before."
    )
