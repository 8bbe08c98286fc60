"""The training loop, with the tutorial's signature."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from .checks import check_arguments, warn_if_imitated
from .config import TrainingConfig
from .loss import diffusion_loss, draw_noise, target
from .setup import set_up
from .upload import check_hub, push


@dataclass(frozen=True)
class TrainingRun:
    """What a run leaves behind.

    Attributes:
        folder: its folder; `DDPMPipeline.from_pretrained` reads it.
        steps: numbers of the optimiser steps, from 1.
        losses: mean loss of each step.
        learning_rates: learning rate of each step.
        best: lowest score of an evaluation: KID where it was measured, else the mean loss.
    """

    folder: Path
    steps: list[int]
    losses: list[float]
    learning_rates: list[float]
    best: float | None


def train_loop(
    config: TrainingConfig,
    model: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    optimizer: Optimizer,
    train_dataloader: DataLoader[Any],
    lr_scheduler: LRScheduler,
) -> TrainingRun:
    """Train an unconditional diffusion model; write samples, checkpoints and the pipeline.

    The loop of the Diffusers tutorial, "Train a diffusion model", made exact and able to go on
    after any end. The same script runs in one process, or in several by `accelerate launch` or
    `torchrun`. Chapter 5, "The loop".

    Args:
        config: the settings.
        model: trained in place; it ends with the last weights, the pipeline has the averaged ones.
        noise_scheduler: adds the noise; its `prediction_type` is what the model learns.
        optimizer: over the model's parameters.
        train_dataloader: its batches have `images`, floats of shape (batch, channels, height,
            width) in -1..1.
        lr_scheduler: counted in optimiser steps, see `optimizer_steps`.

    Raises:
        ValueError: settings or arguments that do not fit together, or to the checkpoint.
        FileExistsError: `output_dir` holds a run, and neither `resume` nor `overwrite_output_dir`
            was set; or other files that a run would replace.
        BlockingIOError: another run is at work in `output_dir`.
        FloatingPointError: the loss is not a number any more.
        RuntimeError: the device has too little memory.
        OSError: a checkpoint, the pipeline or the upload failed.
    """
    check_hub(config)
    check_arguments(config, model, noise_scheduler)
    warn_if_imitated(config)
    with set_up(config, model, noise_scheduler, optimizer, train_dataloader, lr_scheduler) as run:
        accelerator, progress, log = run.accelerator, run.progress, run.log
        # `run.model` is `model` as accelerate prepared it; so are `run.optimizer` and the others.
        timesteps = noise_scheduler.config.num_train_timesteps
        tried: tuple[Tensor, ...] = ()  # the last batch, for a look whether the weights are sound
        while progress.epoch < config.num_epochs:
            step_loss = torch.zeros((), device=accelerator.device)
            for clean in run.rest_of_epoch():
                noise, t = draw_noise(clean, timesteps, seed=config.seed, first=run.first_picture())
                noisy = noise_scheduler.add_noise(clean, noise, t)  # Ho et al. 2020, equation 4
                wanted = target(noise_scheduler, clean, noise, t)
                tried = noisy, t, wanted
                with accelerator.accumulate(run.model):
                    with run.attention():
                        predicted = run.model(noisy, t, return_dict=False)[0]
                    loss = diffusion_loss(predicted, wanted, t, noise_scheduler, config.snr_gamma)
                    # accelerate divides by the setting, but an epoch's last step may hold fewer.
                    share = 1 / run.batches_of_step()
                    accelerator.backward(loss * share * config.gradient_accumulation_steps)
                    step_loss += loss.detach() * share
                    if accelerator.sync_gradients:
                        run.checkpoints.require_moments()
                        norm = accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm)
                    run.optimizer.step()
                    run.optimizer.zero_grad()
                progress.batch += 1
                if not accelerator.sync_gradients:
                    continue
                progress.step += 1
                log.note(run.lr_scheduler.get_last_lr()[0], step_loss, norm)
                step_loss = torch.zeros_like(step_loss)
                run.lr_scheduler.step()
                if run.ema is not None:
                    run.ema.step(model.parameters())
                if progress.step % config.log_every == 0:
                    log.write()
                if config.checkpoint_every and progress.step % config.checkpoint_every == 0:
                    log.write()
                    run.require_sound(tried)
                    run.checkpoints.save(progress)
                    log.leave_out_time()
            log.write()
            if run.evaluation.due(progress.epoch):
                run.require_sound(tried)
                run.evaluation.after_epoch(progress)
            log.leave_out_time()
            progress.epoch, progress.batch = progress.epoch + 1, 0
        run.checkpoints.save(progress)
        accelerator.wait_for_everyone()
        if config.push_to_hub and accelerator.is_main_process:
            push(config, run.folder, f"{config.num_epochs} epochs, {run.steps} steps")
    return TrainingRun(
        run.folder,
        [step for step, _, _ in log.rows],
        [loss for _, loss, _ in log.rows],
        [rate for _, _, rate in log.rows],
        progress.best,
    )
