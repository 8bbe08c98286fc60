"""Checkpoints: all that a run needs to go on, whole or not there, the last two of them."""

import json
import logging
import math
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel
from pydantic import Field, JsonValue
from safetensors.torch import save_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from companion.door import Untrusted, printable
from companion.door.documents import read_json

from .changes import SOURCE, compare
from .checksums import SUMS, Damaged, check_sums, write_sums
from .config import shown
from .files import explained, fsync_tree, remove
from .state import (
    DoesNotFit,
    RandomState,
    Tensors,
    kept_of_each,
    lacks_state,
    optimizer_groups,
    optimizer_state,
    plain,
    put_optimizer_groups,
    put_optimizer_state,
    put_random_state,
    put_schedule_state,
    random_state,
    read_tensors,
    schedule_state,
)

logger = logging.getLogger(__name__)

KEPT = 2
# What is said of a change whose value says nothing to a reader.
_PLAIN = {
    "content": "other pictures than before",
    "schedule": "another schedule of the learning rate",
}
_NAME = re.compile(r"checkpoint-(\d{8,18})")
_RUN, _MODEL, _AVERAGE = "run.json", "model.safetensors", "average.safetensors"
_OPTIMIZER, _RANDOM = "optimizer.safetensors", "random.safetensors"
_FIRST_SCALE = 2.0**16  # of fp16's gradient scaler; it is halved where a step is left out
_PICKLES = (".bin", ".pkl", ".pt", ".pth")
Count = Annotated[int, Field(ge=0, lt=2**62)]


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

    step: Count = 0
    epoch: Count = 0
    batch: Count = 0
    best: float | None = None
    loss_sum: float = 0.0
    loss_count: Count = 0

    @property
    def where(self) -> str:
        """Where in the data it is, for a sentence."""
        return f"batch {self.batch} of epoch {self.epoch + 1}"


@dataclass
class Record:
    """What `run.json` holds: all of a checkpoint that is no tensor.

    Attributes:
        version: of this form.
        progress: how far the run is.
        settings: what decided it, see `changes.describe`.
        began: settings of the optimiser's groups before the first step.
        groups: the same now: some optimisers and schedules change them.
        optimizer: what an optimiser keeps besides tensors.
        schedule: how far the learning rate is.
        scaler: the gradient scaler of fp16, or None.
        averaged: steps that the average has seen, or None without one.
        random: the generators of each process.
    """

    version: Literal[2]
    progress: Progress
    settings: dict[str, JsonValue]
    began: list[dict[str, JsonValue]]
    groups: list[dict[str, JsonValue]]
    optimizer: dict[str, JsonValue]
    schedule: dict[str, JsonValue]
    scaler: dict[str, int | float] | None
    averaged: Count | None
    random: list[RandomState]


class Checkpoints:
    """The checkpoints of a run: `checkpoint-STEP` folders of safetensors, JSON and checksums.

    Args:
        accelerator: knows the processes and the gradient scaler.
        folder: where they lie.
        settings: what decides the run, see `changes.describe`.
        batches: micro-batches of an epoch in each process.
        unet: the model.
        ema: its averaged weights, or None.
        optimizer: as it came, before its first step.
        lr_scheduler: counts its steps.

    Raises:
        ValueError: an optimiser or schedule whose state neither JSON nor safetensors holds.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        settings: dict[str, Any],
        batches: int,
        unet: UNet2DModel,
        ema: EMAModel | None,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler,
    ) -> None:
        self._accelerator, self._folder, self._settings = accelerator, folder, settings
        self._batches, self._unet, self._ema = batches, unet, ema
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        self._began = optimizer_groups(optimizer)
        schedule_state(lr_scheduler)  # fails now, not after the first hundred steps
        self._loaded: Path | None = None  # until its moments were looked at

    def newest(self) -> Path | None:
        """The newest checkpoint, or None."""
        return max(all_in(self._folder), key=_step, default=None)

    def last_good(self) -> str:
        """What there is to go on from, for a sentence."""
        last = self.newest()
        return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, then remove all but the last two.

        It is written beside its place, and takes it by a rename when every byte is on the disk.

        Raises:
            OSError: it could not be written; the earlier ones are still there.
            ValueError: the optimiser's state holds what neither JSON nor safetensors do.
        """
        place = self._folder / f"checkpoint-{progress.step:08d}"
        accelerator, beside = self._accelerator, place.with_name(f".{place.name}.new")
        last = self.newest()
        if place == last:
            return
        kept = f"the last whole checkpoint is {last}" if last else "nothing else was changed"
        chance = gather_object([random_state(accelerator.device)])
        if accelerator.is_main_process:
            began = time.monotonic()
            files, record = self._state(progress, chance)
            with explained(f"checkpoint of step {progress.step}", self._folder, kept):
                try:
                    self._folder.mkdir(exist_ok=True)
                    beside.mkdir()
                    for name, tensors in files.items():
                        save_file(plain(tensors), beside / name)
                    text = json.dumps(asdict(record), indent=1)
                    (beside / _RUN).write_text(text, encoding="utf-8", newline="\n")
                    write_sums(beside)
                    fsync_tree(beside)
                    beside.rename(place)
                    fsync_tree(self._folder)
                except BaseException:
                    shutil.rmtree(beside, ignore_errors=True)
                    raise
            logger.debug("%s written in %.2f s", place, time.monotonic() - began)
            for old in sorted(all_in(self._folder), key=_step)[:-KEPT]:
                remove(old)
        accelerator.wait_for_everyone()

    def load(self, place: Path) -> Progress:
        """Put everything back to where a checkpoint was made.

        What it finds is compared before anything is loaded, so a run that is refused has touched
        nothing.

        Raises:
            ValueError: it was made by a run with other settings, or is damaged.
            OSError: it cannot be read.
        """
        with self._read(place):
            _refuse_pickles(place)
            files = check_sums(place)
            record = read_json(Record, place / _RUN, _RUN)
            self._compare(place, record)
            expected = {_RUN, _MODEL, _OPTIMIZER, _RANDOM} | ({_AVERAGE} if self._ema else set())
            if files != expected:
                raise Damaged(f"{SUMS} does not list the right files: {min(files ^ expected)}")
            self._place(record.progress)
            self._put(place, record)
        self._loaded = place
        logger.debug("goes on from %s", place)
        progress = record.progress
        if bool(self._settings["kid_samples"]) != bool(record.settings.get("kid_samples")):
            progress.best = None  # it was another measure
        return progress

    def require_moments(self) -> None:
        """Refuse what was loaded if it lacks the optimiser's state of a parameter: only the
        gradients of the first step after `load` say which ones have to have it.

        Raises:
            ValueError: it is damaged.
        """
        if self._loaded is None:
            return
        with self._read(self._loaded):
            if self._optimizer.state and lacks_state(self._optimizer):
                raise Damaged("of some parameters the optimiser's state is missing")
        self._loaded = None

    def _state(
        self, progress: Progress, chance: list[tuple[Tensors, RandomState]]
    ) -> tuple[dict[str, Tensors], Record]:
        """The files of tensors, and the record."""
        kept, values = optimizer_state(self._optimizer)
        files = {
            _MODEL: self._unet.state_dict(),
            _OPTIMIZER: kept,
            _RANDOM: {
                f"{process}.{name}": tensor
                for process, (tensors, _) in enumerate(chance)
                for name, tensor in tensors.items()
            },
        }
        averaged = None
        if self._ema is not None:
            files[_AVERAGE] = self._average()
            averaged = self._ema.optimization_step
        scaler = self._accelerator.scaler
        return files, Record(
            2,
            progress,
            self._settings,
            self._began,
            optimizer_groups(self._optimizer),
            values,
            schedule_state(self._lr_scheduler),
            scaler.state_dict() if scaler is not None else None,
            averaged,
            [state for _, state in chance],
        )

    def _average(self) -> Tensors:
        assert self._ema is not None
        names = [name for name, _ in self._unet.named_parameters()]
        return dict(zip(names, self._ema.shadow_params, strict=True))

    def _compare(self, place: Path, record: Record) -> None:
        """Refuse what makes another run, say what is taken over."""
        before, now = record.settings, self._settings
        refused, said = compare(before, now)
        if "content" in refused:
            changed = [name for name in SOURCE if before.get(name) != now[name]]
            refused = [name for name in refused if name != "content"] + changed
        if "method" in refused:  # fine-tuning by another one, or none: all else follows from it
            refused = ["method"]
        if refused:
            old = " and ".join(f"{printable(name)} = {shown(before.get(name))}" for name in refused)
            new = " and ".join(shown(now.get(name)) for name in refused)
            raise _Refused(
                f"The checkpoint {place} was made with {old}, but this run has {new}: set it back, "
                "or begin anew in another output_dir."
            )
        epochs, progress = now["num_epochs"], record.progress
        if progress.epoch + bool(progress.batch) > epochs:
            raise _Refused(
                f"The checkpoint {place} is beyond its {progress.epoch} whole epochs, but "
                f"num_epochs is {epochs}: raise it, or begin anew in another output_dir."
            )
        if said and self._accelerator.is_main_process:
            told = [
                _PLAIN.get(name)
                or f"{name} = {shown(now.get(name))} (it was {shown(before.get(name))})"
                for name in said
            ]
            warnings.warn(
                f"Going on from {place} with other settings: {', '.join(told)}.", stacklevel=6
            )

    def _place(self, progress: Progress) -> None:
        """Steps, epochs and batches have to say the same."""
        together = self._settings["gradient_accumulation_steps"]
        steps = progress.epoch * math.ceil(self._batches / together)
        if progress.batch > self._batches or progress.step != steps + math.ceil(
            progress.batch / together
        ):
            raise DoesNotFit(f"it is at batch {progress.batch} of epoch {progress.epoch + 1}")

    def _put(self, place: Path, record: Record) -> None:
        accelerator, unet, optimizer = self._accelerator, self._unet, self._optimizer
        weights = read_tensors(place / _MODEL, unet.state_dict())
        kept = read_tensors(place / _OPTIMIZER)
        chance = read_tensors(place / _RANDOM)
        if self._ema is not None:
            average = read_tensors(place / _AVERAGE, self._average())
            if record.averaged is None:
                raise DoesNotFit("it does not say how long its average is")
            self._ema.shadow_params = [
                average[name].to(accelerator.device) for name, _ in unet.named_parameters()
            ]
            self._ema.optimization_step = record.averaged
        unet.load_state_dict(weights)
        put_optimizer_groups(optimizer, self._began, record.began, record.groups)
        put_optimizer_state(optimizer, kept, record.optimizer)
        put_schedule_state(optimizer, self._lr_scheduler, record.schedule)
        if not kept and kept_of_each(optimizer) and not _all_left_out(record):
            raise DoesNotFit("its optimiser has no state")
        if accelerator.scaler is not None and record.scaler is not None:
            _check_scaler(record.scaler, accelerator.scaler.state_dict())
            accelerator.scaler.load_state_dict(record.scaler)
        if len(record.random) != accelerator.num_processes:
            raise DoesNotFit("it has the generators of another number of processes")
        mine = accelerator.process_index
        words = {
            name.removeprefix(f"{mine}."): tensor
            for name, tensor in chance.items()
            if name.startswith(f"{mine}.")
        }
        put_random_state(accelerator.device, words, record.random[mine])

    @contextmanager
    def _read(self, place: Path) -> Iterator[None]:
        """Turn what goes wrong while a checkpoint is read into its cause and its remedy."""
        try:
            yield
        except (Damaged, Untrusted) as error:
            others = sorted(all_in(self._folder), key=_step)
            before = [other for other in others if _step(other) < _step(place)]
            then = (
                f"goes on from the one before, {before[-1].name}"
                if before
                else "begins anew, as there is no other"
            )
            raise ValueError(
                f"The checkpoint {place} is damaged ({str(error).rstrip('.')}): remove this "
                f"folder, and the run {then}."
            ) from error
        except DoesNotFit as error:
            raise ValueError(
                f"The checkpoint {place} does not fit this run ({printable(str(error))}): give it "
                "the model, the optimiser and the lr_scheduler that it was made with, or begin "
                "anew in another output_dir."
            ) from error
        except torch.OutOfMemoryError:
            raise  # of the device: the loop says what to lower
        except (MemoryError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else "no memory"
            raise RuntimeError(
                f"The checkpoint {place} is whole, but could not be put back ({reason}): make room "
                "in the memory, then resume."
            ) from error
        except OSError as error:
            raise OSError(
                f"The checkpoint {place} cannot be read ({error.strerror or error}): see to it "
                "that you may read it, then resume."
            ) from error


def all_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder; what bears another name is none of ours."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]


def _step(place: Path) -> int:
    match = _NAME.fullmatch(place.name)
    return int(match[1]) if match else -1


class _Refused(ValueError):
    """A sentence of its own."""


def _all_left_out(record: Record) -> bool:
    """Whether the run took no step: fp16's scaler leaves one out, and halves its scale, where a
    gradient is too large."""
    step, scaler = record.progress.step, record.scaler
    halved = _FIRST_SCALE * 0.5 ** min(step, 1000)
    return not step or (scaler is not None and scaler.get("scale") == halved)


def _check_scaler(found: dict[str, int | float], own: dict[str, Any]) -> None:
    scale, since = found.get("scale", -1), found.get("_growth_tracker", -1)
    settings = {"growth_factor", "backoff_factor", "growth_interval"}
    if (
        set(found) != set(own)
        or any(found[name] != own[name] for name in settings)
        or not 0 <= scale <= torch.finfo(torch.float32).max
        or type(since) is not int
        or not 0 <= since < own["growth_interval"]
    ):
        raise DoesNotFit("it has another gradient scaler")


def _refuse_pickles(place: Path) -> None:
    pickles = sorted(path.name for path in place.iterdir() if path.suffix in _PICKLES)
    if pickles:
        remedy = (
            "no checkpoint needs it, remove that file"
            if (place / SUMS).exists()
            else "an earlier version wrote it, so finish the run with that one, or begin anew in "
            "another output_dir"
        )
        raise _Refused(
            f"The checkpoint {place} holds the pickle {printable(pickles[0])}, which could run "
            f"code when it is read, so nothing was read: {remedy}."
        )
