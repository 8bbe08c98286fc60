"""A run: what it works with, which batch is next, and whether its weights are sound."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor

from .checkpoint import Checkpoints, Progress
from .config import TrainingConfig
from .evaluation import Evaluation
from .log import Log
from .loss import diffusion_loss, gradient_norm
from .order import RepeatableItems, RunOrder


@dataclass(kw_only=True)
class Run:
    """What a run works with.

    Attributes:
        config: the settings.
        accelerator: knows the processes, the device and the precision.
        folder: of the run.
        unet: the model that is trained, as it was given.
        noise_scheduler: adds the noise.
        model: the same as accelerate prepared it, which is what a step calls.
        optimizer: prepared, too.
        train_dataloader: prepared, too.
        lr_scheduler: prepared, too.
        order: the order of the pictures; told at which epoch and batch to go on.
        items: the pictures; what their random transforms draw follows from `items.epoch`.
        batch_size: pictures of a micro-batch, in each process.
        batches: micro-batches of an epoch, in each process.
        steps: optimiser steps of the whole run.
        attention: around each call of the model: how attention is computed.
        ema: the averaged weights, or None.
        checkpoints: of the run, also those of an earlier one that goes on.
        progress: how far the run is.
        log: what is written down of each step.
        evaluation: draws, scores and saves between two epochs.
        sound: the last step whose weights are known to give numbers.
    """

    config: TrainingConfig
    accelerator: Accelerator
    folder: Path
    unet: UNet2DModel
    noise_scheduler: DDPMScheduler
    model: Any
    optimizer: Any
    train_dataloader: Any
    lr_scheduler: Any
    order: RunOrder
    items: RepeatableItems
    batch_size: int
    batches: int
    steps: int
    attention: Callable[[], AbstractContextManager[None]]
    ema: EMAModel | None
    checkpoints: Checkpoints
    progress: Progress
    log: Log
    evaluation: Evaluation
    sound: int

    def rest_of_epoch(self) -> Iterator[Tensor]:
        """The epoch's batches that are still to come: pictures, (batch, channels, height, width)
        in -1..1."""
        self.items.epoch = self.progress.epoch
        self.order.start_at(self.progress.epoch, self.progress.batch)
        for batch in self.train_dataloader:
            images = batch["images"]
            if self.config.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            yield images

    def first_picture(self) -> int:
        """The number in the run of this process's first picture in the batch at hand."""
        done = self.progress.epoch * self.batches + self.progress.batch
        accelerator = self.accelerator
        together = self.batch_size * accelerator.num_processes
        return done * together + accelerator.process_index * self.batch_size

    def batches_of_step(self) -> int:
        """How many micro-batches make the optimiser step that the one at hand belongs to: an
        epoch's last step may hold fewer than the setting."""
        whole = self.config.gradient_accumulation_steps
        return min(whole, self.batches - self.progress.batch // whole * whole)

    def require_sound(self, tried: tuple[Tensor, ...]) -> None:
        """Save nothing that a run could only go on from to no number: try a step, once.

        Args:
            tried: a batch with its noise, its timesteps, and what is to be predicted there.

        Raises:
            FloatingPointError: its loss or its gradient is not a number.
        """
        accelerator, progress = self.accelerator, self.progress
        if self.sound == progress.step:
            return
        noisy, t, wanted = tried
        devices = [accelerator.device] if accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # dropout draws
            with self.attention():
                predicted = self.unet(noisy, t, return_dict=False)[0]
            gamma = self.config.snr_gamma
            loss = diffusion_loss(predicted, wanted, t, self.noise_scheduler, gamma)
            norm = gradient_norm(loss, self.unet)
        both = accelerator.reduce(torch.stack([loss.detach(), norm]), reduction="mean").tolist()
        when = f"after step {progress.step} ({progress.where}), whose weights are not saved"
        self.log.refuse_nonsense(both[0], both[1], when)
        self.sound = progress.step
